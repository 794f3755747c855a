//! ScheduleTimeout: no worker took a task in time. The next pool is tried, if there is one; the same queue is not.

use super::schedule::FirstTime;
use super::{Decider, reserved};
use crate::run::{Instance, States};
use crate::{EventKind, Failure, Rejection, StepId, StepStatus, Timestamp, failure_type};

pub(super) fn schedule_timeout(decider: &mut Decider<'_, '_, '_>, step: &StepId, deadline: Timestamp) -> Result<(), Rejection> {
    decider.alive()?;
    let instance = decider.instance(step)?;
    let Some(state) = decider.draft.current(&instance) else { return Err(Rejection::StaleTimer) };
    if state.status != StepStatus::Queued || state.schedule_deadline != Some(deadline) {
        return Err(Rejection::StaleTimer);
    }
    if decider.context.now < deadline {
        return Err(Rejection::TimerNotDue(deadline));
    }
    decider.not_paused()?;
    decider.not_taken(&instance);
    decider.settle();
    Ok(())
}

impl<'d> Decider<'_, 'd, '_> {
    pub(super) fn not_taken(&mut self, instance: &Instance<'d>) {
        let Some((state, task)) = self.draft.current(instance).zip(instance.step.kind.task()) else { return };
        let pool = state.pool + 1;
        if (pool as usize) < task.pools.len() {
            self.push(EventKind::PoolChanged { step: instance.id.clone(), pool });
            return self.schedule(instance, task, FirstTime::default());
        }
        let message = format!("no worker took the task from queue `{}` in time", state.queue);
        let failure = reserved(failure_type::SCHEDULE_TIMEOUT, message);
        self.fail_step(instance, Failure { non_retryable: true, nothing_done: true, ..failure });
    }
}
