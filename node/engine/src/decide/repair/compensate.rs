//! Compensate: undo what was done, of a run that is held or has ended. A parent asks for it, too.

use super::super::Decider;
use super::Why;
use crate::{AttentionCause, EventKind, Phase, Rejection, Repair, RunStatus, StepId};

pub(in super::super) fn compensate(decider: &mut Decider<'_, '_, '_>, notify: Option<&StepId>, why: Why<'_>) -> Result<(), Rejection> {
    let head = decider.draft.head();
    let status = head.status;
    let cause = head.attention.as_ref().map(|attention| attention.cause);
    match (status, cause) {
        (RunStatus::NeedsAttention, Some(AttentionCause::Hold | AttentionCause::NoReturn)) => {}
        (status, _) if status.is_final() => {}
        (status, _) => return Err(Rejection::RunActive(status)),
    }
    if head.no_return > 0 {
        return Err(Rejection::PastNoReturn(decider.bound_step().unwrap_or_else(|| StepId::from(""))));
    }
    let nothing = decider.draft.index.undo_in(&None).next().is_none();
    if nothing && status.is_final() && notify.is_none() {
        return Err(Rejection::NothingToCompensate(status));
    }
    decider.repaired(Repair::Compensate, None, why, false);
    if status == RunStatus::Succeeded {
        // A run whose work was undone has not succeeded.
        let (principal, reason) = (why.principal.clone(), why.reason.to_owned());
        decider.push(EventKind::RunCancelRequested { principal, reason, compensate: true });
    }
    decider.reopen_run_for(Phase::Compensating, notify.cloned());
    decider.settle();
    Ok(())
}

impl Decider<'_, '_, '_> {
    fn bound_step(&self) -> Option<StepId> {
        self.draft.run.steps().iter().find(|(_, state)| state.no_return).map(|(id, _)| id.clone())
    }
}
