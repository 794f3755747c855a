//! FireTimer: a durable timer is due. One that the state no longer has is stale.

use super::schedule::FirstTime;
use super::{Decider, reserved};
use crate::{
    EventKind, Failure, Outcome, PlannedKind, PlannedStep, Rejection, StepId, StepState, StepStatus, TimerKind, Timestamp, failure_type,
};

pub(super) fn fire_timer(
    decider: &mut Decider<'_, '_, '_>,
    step: Option<&StepId>,
    kind: TimerKind,
    due: Timestamp,
) -> Result<(), Rejection> {
    decider.running_or_stopping()?;
    match (step, kind) {
        (None, TimerKind::RunTimeout) => {
            check(decider, decider.draft.head().deadline, due)?;
            decider.fail_run(reserved(failure_type::RUN_TIMEOUT, "the run took longer than its timeout"));
        }
        (Some(step), TimerKind::Due) => {
            let (step, state) = started(decider, step)?;
            check(decider, state.due, due)?;
            wake(decider, step, &state);
        }
        (Some(step), TimerKind::StepTimeout) => {
            let (step, state) = started(decider, step)?;
            check(decider, state.step_deadline, due)?;
            time_out(decider, step, &state);
        }
        (Some(step), TimerKind::CancelGrace) => {
            let (step, state) = started(decider, step)?;
            check(decider, state.cancel_deadline, due)?;
            decider.end_attempt(step, &state, Outcome::Cancelled { nothing_done: false });
        }
        _ => return Err(Rejection::StaleTimer),
    }
    decider.settle();
    Ok(())
}

/// The timer must be armed for that time, and the time must have come.
fn check(decider: &Decider<'_, '_, '_>, armed: Option<Timestamp>, due: Timestamp) -> Result<(), Rejection> {
    if armed != Some(due) {
        return Err(Rejection::StaleTimer);
    }
    if decider.context.now < due {
        return Err(Rejection::TimerNotDue(due));
    }
    Ok(())
}

fn started<'d>(decider: &Decider<'_, 'd, '_>, step: &StepId) -> Result<(&'d PlannedStep, StepState), Rejection> {
    let planned = decider.planned(step)?;
    decider.draft.step(step).map(|state| (planned, state.clone())).ok_or(Rejection::StaleTimer)
}

/// A wait or a back-off is over, or the turn has come of a step that was postponed.
fn wake(decider: &mut Decider<'_, '_, '_>, step: &PlannedStep, state: &StepState) {
    match (&step.kind, is_postponed(state)) {
        (PlannedKind::Task(_) | PlannedKind::Wait(_), true) | (PlannedKind::Set(_), _) => decider.activate(step.index),
        (PlannedKind::Task(task), false) => decider.schedule(step, task, FirstTime::default()),
        (PlannedKind::Wait(_), false) => decider.succeed(step, None),
        // No other kind sleeps.
        (_, _) => {}
    }
}

/// A wait that was due when it began would have ended at once; so this one is no wait.
fn is_postponed(state: &StepState) -> bool {
    state.status == StepStatus::Waiting && state.due == state.ready_at
}

/// The live attempt, if any, is cut; nothing is tried again.
fn time_out(decider: &mut Decider<'_, '_, '_>, step: &PlannedStep, state: &StepState) {
    let failure = reserved(failure_type::STEP_TIMEOUT, "the step took longer than its timeout");
    let failure = Failure { non_retryable: true, ..failure };
    if state.status == StepStatus::Leased {
        let outcome = Outcome::TimedOut(failure.clone());
        decider.push(EventKind::AttemptEnded { step: step.id.clone(), attempt: state.attempt, outcome, retry_at: None });
    }
    decider.fail_step(&step.id, failure);
}
