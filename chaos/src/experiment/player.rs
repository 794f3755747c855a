//! Plays an experiment: hypothesis, method, hypothesis, rollbacks.
//!
//! As the Chaos Toolkit does it, with one difference: when somebody stops an experiment in the middle of its method, or the hypothesis can't be tested
//! after it, rollbacks are done by default too: what was broken is mended. Invariants: if the hypothesis does not hold at the start, nothing is done.
//! Rollbacks are done at most once, and are not stopped by what stopped the method; only a second request stops them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    activity::{Context, Dry, Observer},
    journal::{Journal, Run, RunStatus, Status, SteadyState, now},
    model::{Activity, Experiment, Hypothesis, HypothesisStrategy, RollbackStrategy, Setting},
    scope::{Scope, plain},
};

/// How it is played.
#[derive(Clone, Debug)]
pub struct Options {
    /// When rollbacks are done.
    pub rollbacks: RollbackStrategy,
    /// When the hypothesis is tested.
    pub hypothesis: HypothesisStrategy,
    /// Between two tests during the method.
    pub frequency: Duration,
    /// The first test that fails during the method ends it.
    pub fail_fast: bool,
    /// What is left out.
    pub dry: Option<Dry>,
    /// Values for the configuration.
    pub vars: BTreeMap<String, Value>,
    /// For processes.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rollbacks: RollbackStrategy::Default,
            hypothesis: HypothesisStrategy::Default,
            frequency: Duration::from_secs(1),
            fail_fast: false,
            dry: None,
            vars: BTreeMap::new(),
            environment: Vec::new(),
        }
    }
}

/// How somebody stops it.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    /// Ends the method; rollbacks are done.
    pub method: CancellationToken,
    /// Ends the rollbacks, too.
    pub rollbacks: CancellationToken,
}

/// Plays it. Fails only if the configuration can't be looked up: then nothing was done.
pub async fn play(experiment: &Experiment, options: &Options, stops: &Stops, observer: Arc<dyn Observer>) -> anyhow::Result<Journal> {
    let scope = Scope::load(experiment, &options.vars)?;
    let context = |scope: Scope, stop: &CancellationToken| Context {
        scope,
        dry: options.dry,
        environment: options.environment.clone(),
        stop: stop.clone(),
        observer: observer.clone(),
    };
    let scope = settings_of_probes(experiment, options, context(scope, &stops.method)).await;
    let mut journal = Journal::begin(scope.mask(experiment.raw.clone()));
    let begun = Instant::now();
    let player = Player { experiment, options, context: Arc::new(context(scope.clone(), &stops.method)), stop: &stops.method };
    let touched = player.method_between_hypotheses(&mut journal).await;
    // What a stop made fail was not failing by itself. Failing fast uses the same stop, and deviates.
    if stops.method.is_cancelled() && !journal.deviated {
        journal.status = Status::Interrupted;
    }
    let wanted = match options.rollbacks {
        RollbackStrategy::Always => true,
        RollbackStrategy::Never => false,
        RollbackStrategy::Default => touched,
        RollbackStrategy::Deviated => journal.deviated,
    };
    if wanted && !experiment.rollbacks.is_empty() {
        observer.part("rollbacks");
        let player = Player { experiment, options, context: Arc::new(context(scope, &stops.rollbacks)), stop: &stops.rollbacks };
        journal.rollbacks = player.activities(&experiment.rollbacks).await;
        if stops.rollbacks.is_cancelled() {
            journal.status = Status::Interrupted;
        }
    }
    journal.end = now();
    journal.duration = begun.elapsed().as_secs_f64();
    Ok(journal)
}

/// Values that probes give. One that can't be asked is left out, and told.
async fn settings_of_probes(experiment: &Experiment, options: &Options, mut context: Context) -> Scope {
    for (name, setting) in &experiment.configuration {
        if let (Setting::Probe(probe), None) = (setting, options.vars.get(name)) {
            match context.perform(probe, None).await {
                Ok(answer) if answer["stdout"].is_string() && answer["status"] == 0 => {
                    let said = plain(&answer["stdout"]);
                    context.scope.set(name, Value::from(said.trim()));
                }
                Ok(answer) if !answer["body"].is_null() => context.scope.set(name, answer["body"].clone()),
                Ok(answer) => context.observer.note(&context.scope.mask_text(&format!("the configuration {name} is not known: {answer}"))),
                Err(error) => context.observer.note(&context.scope.mask_text(&format!("the configuration {name} is not known: {error:#}"))),
            }
        }
    }
    context.scope
}

struct Player<'a> {
    experiment: &'a Experiment,
    options: &'a Options,
    context: Arc<Context>,
    stop: &'a CancellationToken,
}

impl Player<'_> {
    /// True if the method was begun.
    async fn method_between_hypotheses(&self, journal: &mut Journal) -> bool {
        let hypothesis = self.experiment.hypothesis.as_ref().filter(|hypothesis| !hypothesis.probes.is_empty());
        let strategy = self.options.hypothesis;
        if let Some(hypothesis) = hypothesis.filter(|_| strategy.before()) {
            self.context.observer.part(&format!("hypothesis before: {}", hypothesis.title));
            let state = self.test(hypothesis).await;
            let met = state.steady_state_met;
            if !met {
                // As the Chaos Toolkit has it: a wrong answer completes an experiment, a probe that could not be asked fails it.
                journal.status = if state.could_not_ask() { Status::Failed } else { Status::Completed };
                self.context.observer.note("the hypothesis does not hold at the start: nothing is done");
            }
            journal.steady_states.before = Some(state);
            if !met {
                return false;
            }
        }
        if self.stop.is_cancelled() {
            return false;
        }
        self.context.observer.part("method");
        let over = CancellationToken::new();
        let during = async {
            match hypothesis.filter(|_| strategy.during()) {
                Some(hypothesis) => self.test_until(hypothesis, &over).await,
                None => (Vec::new(), false),
            }
        };
        let method = async {
            let runs = self.activities(&self.experiment.method).await;
            over.cancel();
            runs
        };
        let (runs, (states, failed)) = tokio::join!(method, during);
        journal.run = runs;
        journal.steady_states.during = states;
        if failed {
            journal.status = Status::Failed;
            journal.deviated = true;
        } else if let Some(hypothesis) = hypothesis.filter(|_| strategy.after() && !self.stop.is_cancelled()) {
            self.context.observer.part(&format!("hypothesis after: {}", hypothesis.title));
            let state = self.test(hypothesis).await;
            if !state.steady_state_met {
                journal.deviated = true;
                journal.status = if state.could_not_ask() { Status::Failed } else { Status::Completed };
            }
            journal.steady_states.after = Some(state);
        }
        true
    }

    /// Asks all probes, up to the first whose answer is not allowed.
    async fn test(&self, hypothesis: &Hypothesis) -> SteadyState {
        let mut probes = Vec::new();
        for probe in &hypothesis.probes {
            let run = self.context.ask(probe).await;
            let met = run.tolerance_met == Some(true);
            probes.push(run);
            if !met {
                return SteadyState { steady_state_met: false, probes };
            }
        }
        SteadyState { steady_state_met: true, probes }
    }

    /// Tests again and again until the method is over. True if a failure ended the method.
    async fn test_until(&self, hypothesis: &Hypothesis, over: &CancellationToken) -> (Vec<SteadyState>, bool) {
        let mut states = Vec::new();
        while !over.is_cancelled() && !self.stop.is_cancelled() {
            let state = self.test(hypothesis).await;
            let met = state.steady_state_met;
            states.push(state);
            if !met && self.options.fail_fast {
                self.context.observer.note("the hypothesis no longer holds: the method is ended");
                self.stop.cancel();
                return (states, true);
            }
            tokio::select! {
                () = sleep(self.options.frequency) => {}
                () = over.cancelled() => {}
            }
        }
        (states, false)
    }

    /// Does activities in their order; those in the background go on beside the next ones, and are waited for at the end.
    async fn activities(&self, activities: &[Activity]) -> Vec<Run> {
        let mut runs: Vec<Option<Run>> = Vec::new();
        let mut background = Vec::new();
        for activity in activities {
            if self.stop.is_cancelled() {
                self.context.observer.note("stopped: the rest is left out");
                break;
            }
            if activity.background {
                let (context, activity) = (self.context.clone(), activity.clone());
                background.push((runs.len(), tokio::spawn(async move { context.execute(&activity).await })));
                runs.push(None);
            } else {
                runs.push(Some(self.context.execute(activity).await));
            }
        }
        for (at, task) in background {
            // A task that panicked left no record; the panic itself was shown.
            if let (Some(slot), Ok(run)) = (runs.get_mut(at), task.await) {
                *slot = Some(run);
            }
        }
        runs.into_iter().flatten().collect()
    }
}

impl SteadyState {
    fn could_not_ask(&self) -> bool {
        self.probes.iter().any(|run| run.status == RunStatus::Failed)
    }
}

#[cfg(test)]
mod tests;
