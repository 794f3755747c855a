//! Lease: a waiting task met a worker.

use super::Decider;
use super::schedule::FirstTime;
use crate::{Rejection, StepId, StepStatus, WorkerId};

pub(super) fn lease(decider: &mut Decider<'_, '_, '_>, step: &StepId, worker: &WorkerId) -> Result<(), Rejection> {
    decider.running_or_stopping()?;
    let planned = decider.planned(step)?;
    let is_queued = decider.draft.step(step).is_some_and(|state| state.status == StepStatus::Queued);
    let Some(task) = planned.kind.task().filter(|_| is_queued) else {
        return Err(Rejection::NotQueued(step.clone()));
    };
    decider.lease(planned, task, worker, FirstTime::default());
    Ok(())
}
