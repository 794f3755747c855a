//! ScheduleTimeout: no worker took a task in time. That is not retried: another try would wait in the same queue.

use super::{Decider, reserved};
use crate::{Failure, Rejection, StepId, StepStatus, Timestamp, failure_type};

pub(super) fn schedule_timeout(decider: &mut Decider<'_, '_, '_>, step: &StepId, deadline: Timestamp) -> Result<(), Rejection> {
    decider.running_or_stopping()?;
    let planned = decider.planned(step)?;
    let Some(state) = decider.draft.step(step) else { return Err(Rejection::StaleTimer) };
    if state.status != StepStatus::Queued || state.schedule_deadline != Some(deadline) {
        return Err(Rejection::StaleTimer);
    }
    if decider.context.now < deadline {
        return Err(Rejection::TimerNotDue(deadline));
    }
    let message = format!("no worker took the task from queue `{}` in time", state.queue);
    let failure = reserved(failure_type::SCHEDULE_TIMEOUT, message);
    decider.fail_step(&planned.id, Failure { non_retryable: true, nothing_done: true, ..failure });
    decider.settle();
    Ok(())
}
