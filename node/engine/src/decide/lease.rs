//! Lease: a waiting task met a worker.

use super::Decider;
use super::schedule::FirstTime;
use crate::run::States;
use crate::{Rejection, StepId, StepStatus, WorkerId};

pub(super) fn lease(decider: &mut Decider<'_, '_, '_>, step: &StepId, worker: &WorkerId) -> Result<(), Rejection> {
    decider.alive()?;
    let instance = decider.instance(step)?;
    let is_queued = decider.draft.current(&instance).is_some_and(|state| state.status == StepStatus::Queued);
    let Some(task) = instance.step.kind.task().filter(|_| is_queued) else {
        return Err(Rejection::NotQueued(step.clone()));
    };
    decider.not_paused()?;
    if decider.is_held_back(&instance) {
        return Err(Rejection::HeldBack(step.clone()));
    }
    decider.lease(&instance, task, worker, FirstTime::default());
    Ok(())
}
