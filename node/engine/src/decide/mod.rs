//! Turns a command into events, or a reason why not.
//!
//! Deciding is free to change between versions, since only its events are kept. It is a function of the run, the command and the
//! [`Context`]; each event that it adds is folded before the next is decided. One file per command; what they share:
//!
//! - [`activate`] starts a step that became ready;
//! - [`attempt`] is the table of outcomes;
//! - [`settle`] goes on until nothing more follows: starts what became ready, and ends the run.

mod activate;
mod advance;
mod attempt;
mod backoff;
mod cancel;
mod checkpoint;
mod complete;
mod fire_timer;
mod give_up;
mod lease;
mod schedule;
mod schedule_timeout;
mod settle;
mod start;
mod terminate;

use crate::run::Draft;
use crate::{
    AttemptRef, Command, Context, Decision, Event, Failure, PlannedStep, Rejection, Run, RunHead, StepId, StepState, StepStatus,
    failure_type,
};

/// Decides what a command leads to. Applying the decision's events to the run carries it out; until then nothing has happened.
///
/// A start needs a run made by [`Run::new`] with the same info; every other command needs a run that was started.
pub fn decide(run: &Run, command: &Command, context: &mut Context<'_>) -> Result<Decision, Rejection> {
    Decisions::new(run).decide(command, context)
}

/// Decides several commands one after another, each on the state that the decisions before it lead to, without changing the run: the
/// events of all can be committed together, and applied then.
pub struct Decisions<'d> {
    draft: Draft<'d>,
}

impl<'d> Decisions<'d> {
    /// Begins on a run as it is.
    pub fn new(run: &'d Run) -> Self {
        Self { draft: Draft::new(run) }
    }

    /// Decides the next command. The decision has only its own events. A rejection leaves everything as it was.
    pub fn decide(&mut self, command: &Command, context: &mut Context<'_>) -> Result<Decision, Rejection> {
        self.draft.now = context.now;
        let mut decider = Decider { draft: &mut self.draft, context };
        match command {
            Command::Start(info) => start::start(&mut decider, info)?,
            _ if decider.draft.head().seq == 0 => return Err(Rejection::UnknownRun),
            Command::Lease { step, worker } => lease::lease(&mut decider, step, worker)?,
            Command::Complete { attempt, outcome } => complete::complete(&mut decider, attempt, outcome)?,
            Command::Checkpoint { attempt, checkpoint } => checkpoint::checkpoint(&mut decider, attempt, checkpoint)?,
            Command::Abandon { attempt, reason } => give_up::abandon(&mut decider, attempt, reason)?,
            Command::AttemptTimeout { attempt } => give_up::time_out(&mut decider, attempt, failure_type::ATTEMPT_TIMEOUT)?,
            Command::HeartbeatTimeout { attempt } => give_up::time_out(&mut decider, attempt, failure_type::HEARTBEAT_TIMEOUT)?,
            Command::ScheduleTimeout { step, deadline } => schedule_timeout::schedule_timeout(&mut decider, step, *deadline)?,
            Command::FireTimer { step, kind, due } => fire_timer::fire_timer(&mut decider, step.as_ref(), *kind, *due)?,
            Command::Advance => advance::advance(&mut decider)?,
            Command::Cancel { principal, reason, compensate } => cancel::cancel(&mut decider, principal, reason, *compensate)?,
            Command::Terminate { principal, reason } => terminate::terminate(&mut decider, principal, reason)?,
            _ => return Err(Rejection::UnexpectedAnswer),
        }
        Ok(Decision { events: self.draft.take_events() })
    }

    /// The run's head after the decisions so far. Nothing of it has happened yet.
    pub fn head(&self) -> &RunHead {
        self.draft.head()
    }

    /// A step's entry after the decisions so far. Nothing of it has happened yet.
    pub fn step(&self, id: &StepId) -> Option<&StepState> {
        self.draft.step(id)
    }
}

/// A decision in the making, and what it may read.
struct Decider<'a, 'd, 'w> {
    draft: &'a mut Draft<'d>,
    context: &'a mut Context<'w>,
}

impl<'d> Decider<'_, 'd, '_> {
    fn push(&mut self, kind: crate::EventKind) {
        self.draft.push(kind);
    }

    fn planned(&self, id: &StepId) -> Result<&'d PlannedStep, Rejection> {
        self.draft.run.plan().step(id).ok_or_else(|| Rejection::UnknownStep(id.clone()))
    }

    /// The step of an attempt that holds its lease.
    fn live(&self, attempt: &AttemptRef) -> Result<(&'d PlannedStep, StepState), Rejection> {
        let planned = self.planned(&attempt.step)?;
        let Some(state) = self.draft.step(&attempt.step) else {
            return Err(self.stale(attempt, "the step was not leased yet".to_owned()));
        };
        match &state.lease {
            Some(lease) if lease.token == attempt.token && state.attempt == attempt.attempt => Ok((planned, state.clone())),
            Some(lease) => {
                let why = format!("attempt {} holds it with token {}", state.attempt, lease.token.0);
                Err(self.stale(attempt, why))
            }
            None => {
                let recorded =
                    state.outcomes.iter().find(|recorded| recorded.token == attempt.token && recorded.attempt == attempt.attempt);
                let why = match recorded {
                    Some(recorded) => format!("the attempt ended before: {}", recorded.kind.name()),
                    None => format!("the step is {}", state.status.name()),
                };
                Err(self.stale(attempt, why))
            }
        }
    }

    /// What holds in an ended run comes first.
    fn stale(&self, attempt: &AttemptRef, why: String) -> Rejection {
        let status = self.draft.head().status;
        if status.is_final() { Rejection::RunEnded(status) } else { Rejection::StaleLease { step: attempt.step.clone(), why } }
    }

    fn running_or_stopping(&self) -> Result<(), Rejection> {
        let status = self.draft.head().status;
        if status.is_final() { Err(Rejection::RunEnded(status)) } else { Ok(()) }
    }

    fn end_step(&mut self, step: &StepId, status: StepStatus, failure: Option<Failure>) {
        self.push(crate::EventKind::StepEnded { step: step.clone(), status, output: None, failure, skip: None, handled: false, undo: false });
    }

    /// A step failed for good, and with it the run, unless that is being stopped already.
    fn fail_step(&mut self, step: &StepId, failure: Failure) {
        self.end_step(step, StepStatus::Failed, Some(failure.clone()));
        if self.draft.is_running() {
            // The details stay with the step.
            let failure = Failure { message: format!("step {step} failed: {}", failure.message), details: None, ..failure };
            self.fail_run(failure);
        }
    }

    fn fail_run(&mut self, failure: Failure) {
        self.push(crate::EventKind::RunFailing { failure });
        self.stop_steps("the run is failing");
    }
}

/// A failure of our own making.
fn reserved(kind: &str, message: impl Into<String>) -> Failure {
    Failure { kind: kind.to_owned(), message: message.into(), ..Failure::default() }
}

/// Folds a decision's events into its run.
pub fn apply(run: &mut Run, events: &[Event]) {
    for event in events {
        run.apply(event);
    }
}
