//! Makes state of events. Frozen: what is on disk was written by this, and every replica, in life and in recovery, runs it.
//!
//! Invariants: reads nothing but the event and the state it changes; touches the head, at most one step and at most one signal; never fails
//! by itself (an error comes from the store behind [`StateMut`]); keeps the invariants written in `state.rs`. A changed meaning is a new
//! event kind, never a changed fold; a field that was added to a kind means the old behaviour where it is absent.
//!
//! Between two events of one decision a step may stand in an odd place (an attempt ended, what follows is in the next event); a
//! decision is folded whole or not at all, so nobody sees that.

mod run;
mod scope;
mod step;

use crate::{ChildState, Event, EventKind, Migrated, RunHead, SignalKey, SignalState, StepId, StepState, StepStatus};

/// Where the state of one run lives: a [`crate::Run`] in memory, or a write batch over a store.
pub trait StateMut {
    /// What can go wrong with the store; [`std::convert::Infallible`] in memory.
    type Error;

    /// The run's head. Before the first event the caller has made an empty one.
    fn head(&mut self) -> Result<&mut RunHead, Self::Error>;

    /// The step's entry. One that is not there is made empty.
    fn step(&mut self, id: &StepId) -> Result<&mut StepState, Self::Error>;

    /// The signal's entry. One that is not there is made empty.
    fn signal(&mut self, key: &SignalKey) -> Result<&mut SignalState, Self::Error>;
}

/// Folds one event into the state of its run.
pub fn fold<S: StateMut>(state: &mut S, event: &Event) -> Result<(), S::Error> {
    let head = state.head()?;
    head.seq += 1;
    match &event.kind {
        EventKind::RunStarted(info) => run::started(head, event.time, info),
        EventKind::RunFailing { failure } => run::failing(head, failure),
        EventKind::RunCancelRequested { principal, reason, compensate } => run::cancel_requested(head, principal, reason, *compensate),
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
        EventKind::StepEnded { step, status, output, failure, skip, handled, undo } => {
            let seq = head.seq;
            let state_of_step = state.step(step)?;
            let first = !state_of_step.status.is_final();
            let kept = undo.then(|| step::Kept::of(state_of_step, seq));
            step::ended(state_of_step, event.time, *status, output, failure, *skip);
            state_of_step.handled = *handled;
            if let Some(kept) = kept {
                kept.restore(state_of_step);
            }
            if first && step.is_plain() {
                state.head()?.steps_ended += 1;
            }
        }
        EventKind::ScopeStarted { step, attempt, input, total, step_deadline } => {
            let state = state.step(step)?;
            step::ready(state, event.time, input, *step_deadline);
            scope::started(state, event.time, *attempt, *total);
        }
        EventKind::PhaseChanged { scope: None, phase, failure: _, deadline } => run::phase_changed(head, *phase, *deadline),
        EventKind::PhaseChanged { scope: Some(step), phase, failure, deadline: _ } => {
            scope::phase_changed(state.step(step)?, *phase, failure);
        }
        EventKind::ScopeRetried { step, failure, retry_at } => scope::retried(state.step(step)?, failure, *retry_at),
        EventKind::StepReopened { step, generation, epoch } => {
            let state_of_step = state.step(step)?;
            let (was_final, bound) = (state_of_step.status.is_final(), state_of_step.no_return);
            scope::step_reopened(state_of_step, *generation, *epoch);
            let head = state.head()?;
            head.steps_ended = head.steps_ended.saturating_sub(u32::from(was_final && step.is_plain()));
            head.no_return = head.no_return.saturating_sub(u32::from(bound));
        }
        EventKind::ScopeReopened { step } => {
            let state_of_step = state.step(step)?;
            let was_final = state_of_step.status.is_final();
            scope::reopened(state_of_step);
            let head = state.head()?;
            head.steps_ended = head.steps_ended.saturating_sub(u32::from(was_final && step.is_plain()));
        }
        EventKind::StepAwaiting { step, step_deadline } => {
            let state = state.step(step)?;
            step::ready(state, event.time, &None, *step_deadline);
            state.status = StepStatus::Awaiting;
            state.due = None;
        }
        EventKind::SignalReceived { name, id, payload, principal } => {
            head.signals_unread += 1;
            let key = SignalKey { name: name.as_str().into(), seq: head.seq };
            *state.signal(&key)? = SignalState {
                id: id.clone(),
                payload: payload.clone(),
                principal: principal.clone(),
                received_at: event.time,
                consumed_by: None,
            };
        }
        EventKind::SignalConsumed { signal, step } => {
            head.signals_unread = head.signals_unread.saturating_sub(1);
            let signal = state.signal(signal)?;
            signal.payload = None;
            signal.consumed_by = Some(step.clone());
        }
        EventKind::ApprovalRecorded { step, approval } => state.step(step)?.approvals.push(approval.clone()),
        EventKind::ChildRequested { step, attempt, child, run_id, workflow, version, input, step_deadline } => {
            let state = state.step(step)?;
            step::ready(state, event.time, input, *step_deadline);
            let child =
                ChildState { uid: *child, run_id: run_id.clone(), workflow: workflow.clone(), version: *version, ..ChildState::default() };
            scope::child_requested(state, event.time, *attempt, child);
        }
        EventKind::ChildCompensationRequested { step, child, run_id } => {
            let state = state.step(step)?;
            step::ready(state, event.time, &None, None);
            let child = ChildState { uid: *child, run_id: run_id.clone(), compensates: true, ..ChildState::default() };
            scope::child_requested(state, event.time, 1, child);
        }
        EventKind::ChildStarted { step } => scope::with_child(state.step(step)?, |child| child.started = true),
        EventKind::ChildCancelRequested { step, reason } => {
            let state = state.step(step)?;
            state.step_deadline = None;
            scope::with_child(state, |child| child.cancel = Some(reason.clone()));
        }
        EventKind::ChildEnded { step, status, failure } => scope::child_ended(state.step(step)?, *status, failure),
        EventKind::ParentNotified => head.parent_notified = true,
        EventKind::SlotRequested { key, limit, on_conflict, deadline } => run::slot_requested(head, key, *limit, *on_conflict, *deadline),
        EventKind::SlotGranted => run::slot_granted(head),
        EventKind::SlotReleased => run::slot_released(head),
        EventKind::RunPaused { principal, reason } => head.paused_by = Some((principal.clone(), reason.clone())),
        EventKind::RunResumed { .. } => head.paused_by = None,
        EventKind::NoReturnBound { step } => {
            head.no_return += 1;
            state.step(step)?.no_return = true;
        }
        EventKind::NoReturnLifted { step } => {
            head.no_return = head.no_return.saturating_sub(1);
            state.step(step)?.no_return = false;
        }
        EventKind::AttentionRequested { cause, step, failure } => run::attention_requested(head, event.time, *cause, step, failure),
        EventKind::Repaired { repair, step, .. } => run::repaired(head, *repair, step),
        EventKind::RunReopened { phase, deadline, notify } => run::reopened(head, *phase, *deadline, notify),
        EventKind::RunMigrated { version, digest, steps_total } => {
            head.migrated = Some(Migrated { version: *version, digest: *digest, steps_total: *steps_total });
        }
        EventKind::RunAnnotated { .. } => {}
        EventKind::PoolChanged { step, pool } => {
            let state = state.step(step)?;
            state.pool = *pool;
            state.pool_preemptions = state.preemptions;
        }
    }
    Ok(())
}
