//! Retry: go on from what failed. On a run that was undone, from what was undone, too.

use super::super::Decider;
use super::Why;
use crate::run::{Instance, States, entry_at};
use crate::{AttentionCause, Phase, Rejection, Repair, RunStatus, StepStatus};

pub(in super::super) fn retry(decider: &mut Decider<'_, '_, '_>, why: Why<'_>) -> Result<(), Rejection> {
    let head = decider.draft.head();
    let cause = head.attention.as_ref().map(|attention| attention.cause);
    let phase = head.phase;
    match head.status {
        RunStatus::Failed | RunStatus::Cancelled | RunStatus::Terminated | RunStatus::NeedsAttention => {}
        status @ RunStatus::Succeeded => return Err(Rejection::NothingToRetry(status)),
        status => return Err(Rejection::RunActive(status)),
    }
    decider.repaired(Repair::Retry, None, why, false);
    match cause {
        Some(AttentionCause::CompensationFailed | AttentionCause::CompensationTimeout) => {
            decider.reopen_run(phase);
            decider.reopen_failed_compensations();
            decider.fail_again();
        }
        Some(AttentionCause::Hold | AttentionCause::NoReturn) | None => {
            decider.reopen_run(Phase::Forward);
            decider.reopen_failed(&None);
        }
    }
    decider.review_everything();
    decider.settle();
    Ok(())
}

impl Decider<'_, '_, '_> {
    /// What was not undone yet because its compensation failed.
    fn reopen_failed_compensations(&mut self) {
        let plan = self.draft.run.plan();
        let undo = self.draft.index.undo.from(std::ops::Bound::Unbounded);
        let undo: Vec<_> = undo.filter_map(|((scope, _), position)| entry_at(plan, scope, *position)).collect();
        for id in undo {
            let Some(compensation) = Instance::of(plan, &id.compensation()) else { continue };
            let failed =
                self.draft.current(&compensation).filter(|state| matches!(state.status, StepStatus::Failed | StepStatus::Cancelled));
            if let Some(state) = failed.cloned() {
                self.reopen(&compensation, &state);
            }
        }
        // A scope that undoes itself by its own compensation is not listed, since it has not ended.
        for instance in self.open_scopes() {
            let Some(compensation) = Instance::of(plan, &instance.id.compensation()).filter(|_| instance.item.is_none()) else { continue };
            let failed = self.draft.current(&compensation).filter(|state| state.status == StepStatus::Failed);
            if let Some(state) = failed.cloned() {
                self.reopen(&compensation, &state);
            }
        }
    }
}
