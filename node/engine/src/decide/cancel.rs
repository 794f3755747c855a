//! Cancel: stop in order, undo what was done unless told otherwise, and come to the end by way of `finally`.

use quorus_mutants::{Mutant, active};

use super::Decider;
use crate::{AttentionCause, EventKind, Phase, Principal, Rejection, RunStatus};

/// Asking again, or while the run is failing or undoing anyway, changes nothing. A run that is held turns back.
pub(super) fn cancel(decider: &mut Decider<'_, '_, '_>, principal: &Principal, reason: &str, compensate: bool) -> Result<(), Rejection> {
    let head = decider.draft.head();
    match head.status {
        RunStatus::Running if head.phase() == Phase::Finally => return Ok(()),
        RunStatus::Running | RunStatus::Queued => {}
        RunStatus::NeedsAttention => {
            let cause = head.attention.as_ref().map(|attention| attention.cause).unwrap_or_default();
            match cause {
                AttentionCause::Hold => {}
                // Without going backwards there is a way to the end.
                AttentionCause::NoReturn if !compensate => {}
                AttentionCause::NoReturn | AttentionCause::CompensationFailed | AttentionCause::CompensationTimeout => return Ok(()),
            }
            decider.push(EventKind::RunReopened { phase: Phase::Forward, deadline: None, notify: None });
        }
        RunStatus::Failing | RunStatus::Cancelling | RunStatus::Compensating | RunStatus::Cancelled => return Ok(()),
        status @ (RunStatus::Succeeded | RunStatus::Failed | RunStatus::Terminated) => return Err(Rejection::RunEnded(status)),
    }
    if active(Mutant::LostCancel) && decider.draft.index.has_open(&None) {
        return Ok(());
    }
    decider.push(EventKind::RunCancelRequested { principal: principal.clone(), reason: reason.to_owned(), compensate });
    decider.stop_steps(&None, if reason.is_empty() { "the run was cancelled" } else { reason });
    decider.settle();
    Ok(())
}
