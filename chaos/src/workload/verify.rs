//! Compares what runs came to with what was foreseen: the first look at a workload's results. The checkers look again, with all the evidence.

use quorus_client::{
    is_final,
    v1::{Run, RunStatus, StepState},
};

use super::{
    driver::Outcome,
    plan::Catalogue,
    runs::{Act, RunPlan},
};
use crate::record::Prediction;

/// What was compared, and what is not as foreseen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Runs.
    pub runs: u64,
    /// Statuses of their steps.
    pub steps: u64,
    /// Runs that were cancelled or terminated, or not accepted.
    pub set_aside: u64,
    /// Runs that had not ended when they were last seen: nothing is known of them.
    pub unfinished: u64,
    /// What differs, a sentence each.
    pub misses: Vec<String>,
}

/// Compares the last that was seen of each run with its prediction.
pub fn against_predictions(catalogue: &Catalogue, runs: &[RunPlan], outcome: &Outcome) -> Compared {
    let mut compared = Compared::default();
    for plan in runs {
        let stopped = plan.acts.iter().any(|(_, act)| matches!(act, Act::Cancel | Act::Terminate));
        let prediction = catalogue.get(&plan.workflow).and_then(|planned| planned.predictions.get(usize::try_from(plan.variant).ok()?));
        match (outcome.runs.get(&plan.run_id), prediction) {
            (Some(run), _) if !is_final(run.status()) && run.status() != RunStatus::NeedsAttention => compared.unfinished += 1,
            (Some(run), Some(prediction)) if !stopped => {
                compared.runs += 1;
                compared.steps += compare(run, prediction, &mut compared.misses);
            }
            _ => compared.set_aside += 1,
        }
    }
    compared
}

/// Compares a run; returns how many steps were compared. Steps that an answer leaves out are not.
pub fn compare(run: &Run, prediction: &Prediction, misses: &mut Vec<String>) -> u64 {
    let about = |what: &str| format!("run {} of {}{what}", run.run_id, run.workflow);
    let status = run.status().as_str_name();
    if !prediction.status.is_empty() && prediction.status != status {
        misses.push(format!("{} is {status}, not {}", about(""), prediction.status));
    }
    let mut steps = 0;
    for (path, expected) in &prediction.steps {
        let Some(step) = run.steps.iter().find(|step: &&StepState| step.step == *path) else { continue };
        steps += 1;
        let status = step.status().as_str_name();
        if status != expected {
            misses.push(format!("{} is {status}, not {expected}", about(&format!(": step {path}"))));
        }
    }
    steps
}
