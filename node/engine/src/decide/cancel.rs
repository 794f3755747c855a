//! Cancel: stop in order. What was started gets a grace period to stop by itself.

use super::Decider;
use crate::{EventKind, Principal, Rejection, RunStatus};

/// Asking again, or while the run is failing anyway, changes nothing.
pub(super) fn cancel(decider: &mut Decider<'_, '_, '_>, principal: &Principal, reason: &str, compensate: bool) -> Result<(), Rejection> {
    match decider.draft.head().status {
        RunStatus::Running | RunStatus::Queued | RunStatus::NeedsAttention => {
            decider.push(EventKind::RunCancelRequested { principal: principal.clone(), reason: reason.to_owned(), compensate });
            decider.stop_steps(if reason.is_empty() { "the run was cancelled" } else { reason });
            decider.settle();
            Ok(())
        }
        RunStatus::Failing | RunStatus::Compensating | RunStatus::Cancelling | RunStatus::Cancelled => Ok(()),
        status @ (RunStatus::Succeeded | RunStatus::Failed | RunStatus::Terminated) => Err(Rejection::RunEnded(status)),
    }
}
