//! What the runs of a seed went through: kinds of steps and how they ended, and paths that are worth something. A load that never comes there proves
//! nothing about it, so a sum over many seeds shows it, with what is missing as a zero.

use std::collections::BTreeMap;

use quorus_client::v1::{EventType, StepStatus};

use crate::{check::coverage::Coverage, check::in_shape, record::Evidence};

/// Ends of steps that are always there, so that a zero shows: each kind of the language that a simulated workload may have.
const ENDS: [&str; 10] = [
    "task.succeeded",
    "wait.succeeded",
    "set.succeeded",
    "signal.succeeded",
    "approval.succeeded",
    "group.succeeded",
    "for_each.succeeded",
    "repeat.succeeded",
    "workflow.succeeded",
    "fail.failed",
];
/// Counts of [`Coverage`] that tell a path.
const PATHS: [&str; 11] = [
    "retries",
    "lease_expiries",
    "stale_completions_refused",
    "compensations",
    "compensations_under_fault",
    "timers",
    "signals",
    "approvals",
    "children",
    "attempts.released",
    "attempts.cancelled",
];

/// Counts them.
pub(super) fn count(evidence: &Evidence, coverage: &Coverage) -> BTreeMap<String, u64> {
    let mut seen: BTreeMap<String, u64> = ENDS.iter().map(|end| ((*end).to_owned(), 0)).collect();
    for path in PATHS {
        seen.insert(path.to_owned(), coverage.get(path));
    }
    for run in evidence.histories().values() {
        let Some(shape) = evidence.shapes.get(&run.workflow) else { continue };
        let kinds: BTreeMap<&str, &str> = shape.steps.iter().map(|step| (step.step.as_str(), step.kind.as_str())).collect();
        for event in run.events.iter().filter(|event| event.r#type() == EventType::StepEnded) {
            let Some(kind) = kinds.get(in_shape(&event.step).as_str()) else { continue };
            let end = match event.step_status() {
                StepStatus::Succeeded => "succeeded",
                StepStatus::Failed => "failed",
                StepStatus::Skipped => "skipped",
                StepStatus::Cancelled => "cancelled",
                _ => continue,
            };
            *seen.entry(format!("{kind}.{end}")).or_default() += 1;
        }
    }
    seen
}
