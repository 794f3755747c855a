//! LimitExceeded: a waiting task found no room in a limit that does not let it wait. That is not retried, and nothing was done.

use super::{Decider, reserved};
use crate::run::States;
use crate::{Failure, Rejection, StepId, StepStatus, failure_type};

pub(super) fn limit_exceeded(decider: &mut Decider<'_, '_, '_>, step: &StepId, limit: &str) -> Result<(), Rejection> {
    decider.alive()?;
    let instance = decider.instance(step)?;
    if decider.draft.current(&instance).is_none_or(|state| state.status != StepStatus::Queued) {
        return Err(Rejection::NotQueued(step.clone()));
    }
    decider.not_paused()?;
    let failure = reserved(failure_type::LIMIT_EXCEEDED, format!("the limit `{limit}` has no room"));
    decider.fail_step(&instance, Failure { non_retryable: true, nothing_done: true, ..failure });
    decider.settle();
    Ok(())
}
