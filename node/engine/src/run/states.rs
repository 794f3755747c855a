//! The stored entries of a run, as the working memory reads them: those of a run, or of a draft.

use super::Instance;
use crate::{Phase, Plan, Role, RunHead, RunStatus, StepId, StepState, StepStatus};

/// Stored entries.
pub(crate) trait States {
    fn plan(&self) -> &Plan;
    fn head(&self) -> &RunHead;
    /// The entry, whatever generation it is from.
    fn entry(&self, id: &StepId) -> Option<&StepState>;

    /// The entry, unless it is left from an earlier generation.
    fn current(&self, instance: &Instance<'_>) -> Option<&StepState> {
        let state = self.entry(&instance.id)?;
        (self.epoch(instance) == Some(state.epoch)).then_some(state)
    }

    /// The generation that the entry has to belong to, see [`StepState::epoch`]; `None` if there is no such scope now.
    fn epoch(&self, instance: &Instance<'_>) -> Option<u32> {
        let owner = match &instance.scope {
            _ if instance.undoes => instance.id.undoes()?,
            Some(scope) => scope.clone(),
            None => {
                return Some(match instance.step.role {
                    Role::Finally => self.head().generation,
                    Role::OnAttention => self.head().attentions.saturating_sub(1),
                    Role::Body | Role::Compensation { .. } | Role::Guard { .. } => 0,
                });
            }
        };
        let owner = Instance::of(self.plan(), &owner)?;
        Some(self.current(&owner)?.generation)
    }

    /// True if steps of a scope may begin.
    fn may_begin(&self, instance: &Instance<'_>) -> bool {
        let Some(scope) = &instance.scope else {
            let head = self.head();
            return match (head.status, instance.step.role) {
                (RunStatus::NeedsAttention, role) => role == Role::OnAttention,
                (RunStatus::Queued, _) => false,
                (status, _) if status.is_final() => false,
                (_, Role::Finally) => head.phase() == Phase::Finally,
                (_, Role::Body) => matches!(head.phase(), Phase::Forward | Phase::Observing),
                (_, Role::OnAttention | Role::Compensation { .. } | Role::Guard { .. }) => false,
            };
        };
        self.entry(scope).is_some_and(|state| {
            let phase = state.scope.as_ref().map_or(Phase::Stopping, |scope| scope.phase);
            state.status == StepStatus::Running
                && match instance.step.role {
                    Role::Guard { .. } => phase == Phase::Forward,
                    Role::Body | Role::Finally | Role::OnAttention => matches!(phase, Phase::Forward | Phase::Observing),
                    Role::Compensation { .. } => false,
                }
        })
    }

    /// True if what the step did is undone already.
    fn is_undone(&self, id: &StepId, state: &StepState) -> bool {
        if state.scope.as_ref().is_some_and(|scope| scope.phase == Phase::Compensated) {
            return true;
        }
        self.entry(&id.compensation()).is_some_and(|undoing| {
            undoing.epoch == state.generation && matches!(undoing.status, StepStatus::Succeeded | StepStatus::Skipped)
        })
    }
}
