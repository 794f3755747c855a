//! Turns a command into events, or a reason why not.
//!
//! Deciding is free to change between versions, since only its events are kept. It is a function of the run, the command and the
//! [`Context`]; each event that it adds is folded before the next is decided. One file per command; what they share:
//!
//! - [`activate`] begins a step that became ready, [`scope`] what is in a container, [`child`] a run of its own;
//! - [`attempt`] is the table of outcomes, [`end`] records ends, [`stop`] ends what is left;
//! - [`settle`] goes on until nothing more follows: begins what is ready, and draws the conclusions of what changed in a scope, which is
//!   [`review`] for containers and [`review_run`] for the run; [`unwind`] is how a scope undoes what it did.

mod activate;
mod advance;
mod approve;
mod attempt;
mod backoff;
mod cancel;
mod checkpoint;
mod child;
mod complete;
mod end;
mod fire_timer;
mod give_up;
mod lease;
mod limit_exceeded;
mod pause;
mod repair;
mod review;
mod review_run;
mod schedule;
mod schedule_timeout;
mod scope;
mod settle;
mod signal;
mod slot;
mod start;
mod stop;
mod terminate;
mod unwind;

use quorus_mutants::{Mutant, active};

use end::End;
use repair::Why;

use crate::run::{Draft, Instance, ScopeId, States, entry_at};
use crate::{
    AttemptRef, Command, Context, Decision, Event, Failure, Phase, Rejection, Run, RunHead, RunStatus, StepId, StepState, failure_type,
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
            _ => decider.carry_out(command)?,
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
    fn carry_out(&mut self, command: &Command) -> Result<(), Rejection> {
        match command {
            Command::Start(_) => Err(Rejection::RunExists),
            Command::Lease { step, worker } => lease::lease(self, step, worker),
            Command::Complete { attempt, outcome } => complete::complete(self, attempt, outcome),
            Command::Checkpoint { attempt, checkpoint } => checkpoint::checkpoint(self, attempt, checkpoint),
            Command::Abandon { attempt, reason } => give_up::abandon(self, attempt, reason),
            Command::AttemptTimeout { attempt } => give_up::time_out(self, attempt, failure_type::ATTEMPT_TIMEOUT),
            Command::HeartbeatTimeout { attempt } => give_up::time_out(self, attempt, failure_type::HEARTBEAT_TIMEOUT),
            Command::LimitExceeded { step, limit } => limit_exceeded::limit_exceeded(self, step, limit),
            Command::ScheduleTimeout { step, deadline } => schedule_timeout::schedule_timeout(self, step, *deadline),
            Command::FireTimer { step, kind, due } => fire_timer::fire_timer(self, step.as_ref(), *kind, *due),
            Command::Advance => advance::advance(self),
            Command::Cancel { principal, reason, compensate } => cancel::cancel(self, principal, reason, *compensate),
            Command::Terminate { principal, reason } => terminate::terminate(self, principal, reason),
            Command::Signal { name, id, payload, principal } => signal::signal(self, name, id, payload.as_ref(), principal),
            Command::Approve { step, approve, principal, reason } => approve::approve(self, step, *approve, principal, reason),
            Command::Pause { principal, reason } => pause::pause(self, principal, reason),
            Command::Resume { principal, reason } => pause::resume(self, principal, reason),
            Command::Retry { principal, reason } => repair::retry(self, Why { principal, reason }),
            Command::RestartFrom { step, principal, reason } => repair::restart_from(self, step, Why { principal, reason }),
            Command::Skip { step, output, principal, reason } => repair::skip(self, step, output.as_ref(), Why { principal, reason }),
            Command::Compensate { principal, reason, notify } => repair::compensate(self, notify.as_ref(), Why { principal, reason }),
            Command::Migrate { version, digest, plan, principal, reason } => {
                repair::migrate(self, *version, *digest, &plan.0, Why { principal, reason })
            }
            Command::Annotate { principal, text } => repair::annotate(self, principal, text),
            Command::ChildStarted { step, child } => child::started(self, step, *child),
            Command::ChildEnded { step, child, status, output, failure } => {
                let ended = child::Ended { status: *status, output: output.as_ref(), failure: failure.clone(), refused: false };
                child::ended(self, step, *child, ended)
            }
            Command::ChildRefused { step, child, failure } => {
                let failure = Failure { kind: failure_type::CHILD_REFUSED.to_owned(), ..failure.clone() };
                let ended = child::Ended { status: RunStatus::Failed, output: None, failure: Some(failure), refused: true };
                child::ended(self, step, *child, ended)
            }
            Command::ParentNotified => {
                let head = self.draft.head();
                match head.status.is_final() && head.parent.is_some() {
                    true if head.parent_notified => {}
                    true => self.push(crate::EventKind::ParentNotified),
                    false => return Err(Rejection::UnexpectedAnswer),
                }
                Ok(())
            }
            Command::SlotGranted => slot::granted(self),
            Command::SlotDenied { reason } => slot::denied(self, reason),
            Command::SlotReleased => slot::released(self),
        }
    }

    fn push(&mut self, kind: crate::EventKind) {
        self.draft.push(kind);
    }

    /// What the plan says about a step of this path.
    fn instance(&self, id: &StepId) -> Result<Instance<'d>, Rejection> {
        Instance::of(self.draft.run.plan(), id).ok_or_else(|| Rejection::UnknownStep(id.clone()))
    }

    /// What a scope does. One that does not run does nothing but stop.
    fn phase(&self, scope: &ScopeId) -> Phase {
        match scope {
            None => self.draft.head().phase(),
            Some(id) => self.draft.entry(id).and_then(|state| state.scope.as_ref()).map_or(Phase::Stopping, |scope| scope.phase),
        }
    }

    /// The step of an attempt that holds its lease.
    fn live(&self, attempt: &AttemptRef) -> Result<(Instance<'d>, StepState), Rejection> {
        let instance = self.instance(&attempt.step)?;
        let Some(state) = self.draft.step(&attempt.step) else {
            return Err(self.stale(attempt, "the step was not leased yet".to_owned()));
        };
        match &state.lease {
            Some(lease) if lease.token == attempt.token && state.attempt == attempt.attempt => Ok((instance, state.clone())),
            Some(_) if active(Mutant::NoFenceCheck) => Ok((instance, state.clone())),
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

    fn alive(&self) -> Result<(), Rejection> {
        let status = self.draft.head().status;
        if status.is_final() { Err(Rejection::RunEnded(status)) } else { Ok(()) }
    }

    fn not_paused(&self) -> Result<(), Rejection> {
        if self.draft.head().paused_by.is_some() { Err(Rejection::Paused) } else { Ok(()) }
    }

    /// While the run waits for people nothing begins that goes forward, in whatever scope: no step, item, iteration, try or attempt.
    /// What was begun comes to its end, and what is being undone goes on.
    fn is_held_back(&self, instance: &Instance<'_>) -> bool {
        self.draft.head().status == RunStatus::NeedsAttention && instance.goes_forward()
    }

    /// Something may follow anywhere: in the run, and in each scope that has not ended.
    fn review_everything(&mut self) {
        let scopes: Vec<ScopeId> = self.draft.index.tallies.from(std::ops::Bound::Unbounded).map(|(scope, _)| scope.clone()).collect();
        for scope in scopes {
            self.review_undoing(&scope);
            self.draft.touch(scope);
        }
    }

    /// Scopes that have ended are not counted any more; those among them that are being undone are found from above.
    fn review_undoing(&mut self, scope: &ScopeId) {
        let plan = self.draft.run.plan();
        let positions: Vec<u32> = self.draft.index.undo_in(scope).collect();
        for position in positions {
            let inner = entry_at(plan, scope, position).map(Some);
            if let Some(inner) = inner.filter(|inner| self.phase(inner) == Phase::Compensating) {
                self.review_undoing(&inner);
                self.draft.touch(inner);
            }
        }
    }
}

/// A failure of our own making.
fn reserved(kind: &str, message: impl Into<String>) -> Failure {
    Failure { kind: kind.to_owned(), message: message.into(), ..Failure::default() }
}

/// Nothing was done yet, and another try would see the same.
fn permanent(kind: &str, message: &str) -> Failure {
    Failure { non_retryable: true, nothing_done: true, ..reserved(kind, message) }
}

/// Folds a decision's events into its run.
pub fn apply(run: &mut Run, events: &[Event]) {
    for event in events {
        run.apply(event);
    }
}
