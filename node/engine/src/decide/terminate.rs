//! Terminate: stop at once. Live attempts lose their leases without being asked; each leaves its step in doubt.

use super::Decider;
use crate::{EventKind, Outcome, Principal, Rejection, RunStatus, StepStatus};

/// Asking again changes nothing.
pub(super) fn terminate(decider: &mut Decider<'_, '_, '_>, principal: &Principal, reason: &str) -> Result<(), Rejection> {
    match decider.draft.head().status {
        RunStatus::Queued | RunStatus::Compensating | RunStatus::NeedsAttention | RunStatus::Running | RunStatus::Failing | RunStatus::Cancelling => {}
        RunStatus::Terminated => return Ok(()),
        status @ (RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled) => return Err(Rejection::RunEnded(status)),
    }
    for index in decider.draft.open_steps() {
        let id = &decider.draft.run.plan().steps[index].id;
        if let Some(state) = decider.draft.step(id)
            && state.status == StepStatus::Leased
        {
            let outcome = Outcome::Cancelled { nothing_done: false };
            decider.push(EventKind::AttemptEnded { step: id.clone(), attempt: state.attempt, outcome, retry_at: None });
        }
        decider.end_step(id, StepStatus::Cancelled, None);
    }
    decider.push(EventKind::RunEnded {
        status: RunStatus::Terminated,
        output: None,
        failure: None,
        principal: Some(principal.clone()),
        reason: reason.to_owned(),
    });
    Ok(())
}
