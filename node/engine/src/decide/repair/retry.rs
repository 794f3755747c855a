//! Retry: go on from what failed. On a run that was undone, from what was undone, too.

use super::super::Decider;
use super::Why;
use crate::{AttentionCause, Phase, Rejection, Repair, RunStatus};

pub(in super::super) fn retry(decider: &mut Decider<'_, '_, '_>, why: Why<'_>) -> Result<(), Rejection> {
    let head = decider.draft.head();
    let cause = head.attention.as_ref().map(|attention| attention.cause);
    let phase = head.phase();
    match head.status {
        RunStatus::Failed | RunStatus::Cancelled | RunStatus::Terminated | RunStatus::NeedsAttention => {}
        status @ RunStatus::Succeeded => return Err(Rejection::NothingToRetry(status)),
        status => return Err(Rejection::RunActive(status)),
    }
    decider.repaired(Repair::Retry, None, why, false);
    match cause {
        Some(AttentionCause::CompensationFailed | AttentionCause::CompensationTimeout) => {
            decider.reopen_run(phase);
            decider.fail_again();
        }
        Some(AttentionCause::Hold | AttentionCause::NoReturn) | None => {
            decider.reopen_run(Phase::Forward);
            decider.reopen_failed(&None, None);
        }
    }
    decider.review_everything();
    decider.catch_up()?;
    decider.settle();
    Ok(())
}
