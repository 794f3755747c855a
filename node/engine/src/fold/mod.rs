//! Makes state of events. Frozen: what is on disk was written by this, and every replica, in life and in recovery, runs it.
//!
//! Invariants: reads nothing but the event and the state it changes; touches the head and at most one step; never fails by itself
//! (an error comes from the store behind [`StateMut`]); keeps the invariants written in `state.rs`. A changed meaning is a new event
//! kind, never a changed fold.
//!
//! Between two events of one decision a step may stand in an odd place (an attempt ended, what follows is in the next event); a
//! decision is folded whole or not at all, so nobody sees that.

mod run;
mod step;

use crate::{Event, EventKind, RunHead, StepId, StepState};

/// Where the state of one run lives: a [`crate::Run`] in memory, or a write batch over a store.
pub trait StateMut {
    /// What can go wrong with the store; [`std::convert::Infallible`] in memory.
    type Error;

    /// The run's head. Before the first event the caller has made an empty one.
    fn head(&mut self) -> Result<&mut RunHead, Self::Error>;

    /// The step's entry. One that is not there is made empty.
    fn step(&mut self, id: &StepId) -> Result<&mut StepState, Self::Error>;
}

/// Folds one event into the state of its run.
pub fn fold<S: StateMut>(state: &mut S, event: &Event) -> Result<(), S::Error> {
    let head = state.head()?;
    head.seq += 1;
    match &event.kind {
        EventKind::RunStarted(info) => run::started(head, event.time, info),
        EventKind::RunFailing { failure } => run::failing(head, failure),
        EventKind::RunCancelRequested { principal, reason } => run::cancel_requested(head, principal, reason),
        EventKind::RunEnded { status, output, failure, principal, reason } => {
            run::ended(head, event.time, *status, output, failure, principal, reason);
        }
        EventKind::StepQueued { step, input, queue, priority, schedule_deadline, step_deadline } => {
            let state = state.step(step)?;
            step::queued(state, event.time, input, queue, *priority, *schedule_deadline, *step_deadline);
        }
        EventKind::StepLeased { step, attempt, token, worker, queue, priority, lease, input, step_deadline, attempt_deadline } => {
            let state = state.step(step)?;
            step::ready(state, event.time, input, *step_deadline);
            step::leased(state, event.time, *attempt, *token, worker, *lease, *attempt_deadline);
            state.queue.clone_from(queue);
            state.priority = *priority;
        }
        EventKind::StepCheckpointed { step, attempt, checkpoint } => {
            let state = state.step(step)?;
            state.checkpoint = Some(checkpoint.clone());
            state.checkpoint_attempt = *attempt;
        }
        EventKind::AttemptEnded { step, attempt, outcome, retry_at } => {
            step::attempt_ended(state.step(step)?, *attempt, outcome, *retry_at);
        }
        EventKind::StepWaiting { step, until, step_deadline } => {
            let state = state.step(step)?;
            step::ready(state, event.time, &None, *step_deadline);
            step::waiting(state, *until);
        }
        EventKind::StepCancelRequested { step, deadline, reason: _ } => step::cancel_requested(state.step(step)?, *deadline),
        EventKind::StepEnded { step, status, output, failure, skip } => {
            let state_of_step = state.step(step)?;
            let first = !state_of_step.status.is_final();
            step::ended(state_of_step, event.time, *status, output, failure, *skip);
            if first {
                state.head()?.steps_ended += 1;
            }
        }
    }
    Ok(())
}
