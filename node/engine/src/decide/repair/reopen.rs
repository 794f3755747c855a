//! Which steps begin anew when a run goes forward again: those that failed or were stopped, those that were blocked by them, and those
//! whose work was undone.

use super::super::Decider;
use crate::run::{Instance, ScopeId, States, in_scope};
use crate::{EventKind, PlannedKind, SkipCause, StepState, StepStatus};

impl<'d> Decider<'_, 'd, '_> {
    /// In plan order, from the outside to the inside.
    pub(super) fn reopen_failed(&mut self, scope: &ScopeId) {
        let plan = self.draft.run.plan();
        let container = scope.as_ref().and_then(|id| Instance::of(plan, id));
        let inner: Vec<Instance<'d>> = match &container {
            Some(container) if container.has_items() => (0..)
                .map_while(|position| Instance::of(plan, &container.id.item(position)).filter(|item| self.draft.current(item).is_some()))
                .collect(),
            _ => {
                let body = container.as_ref().map_or(&plan.body, |container| &container.step.body);
                let guard = container.as_ref().and_then(|container| match &container.step.kind {
                    PlannedKind::Group(group) => group.guard,
                    _ => None,
                });
                body.iter().chain(&guard).filter_map(|&index| Instance::of(plan, &in_scope(scope, &plan.steps[index]))).collect()
            }
        };
        for instance in inner {
            let Some(state) = self.draft.current(&instance).cloned() else { continue };
            if self.draft.is_undone(&instance.id, &state) {
                self.reopen(&instance, &state);
            } else if instance.item.is_some() || instance.step.kind.is_container() {
                if stopped_short(&state) || was_being_undone(&state) {
                    self.push(EventKind::ScopeReopened { step: instance.id.clone() });
                    self.reopen_failed(&Some(instance.id.clone()));
                }
            } else if stopped_short(&state) {
                self.reopen(&instance, &state);
            }
        }
    }

    pub(super) fn reopen(&mut self, instance: &Instance<'d>, state: &StepState) {
        self.push(EventKind::StepReopened { step: instance.id.clone(), generation: state.generation + 1, epoch: state.epoch });
    }

    /// While the run needed attention a step may have failed for which nothing was left to fail.
    pub(super) fn fail_again(&mut self) {
        let plan = self.draft.run.plan();
        let failed = plan.body.iter().filter_map(|&index| {
            let id = &plan.steps[index].id;
            let state = self.draft.current(&Instance::of(plan, id)?)?;
            let failure = state.failure.clone().filter(|_| state.status == StepStatus::Failed && !state.handled)?;
            Some((id.clone(), failure))
        });
        let first = failed.into_iter().next();
        if let Some((id, failure)) = first
            && let Some(instance) = Instance::of(plan, &id)
        {
            self.failed(&instance, failure);
        }
    }
}

/// It ended otherwise than planned, and nothing goes on without it.
fn stopped_short(state: &StepState) -> bool {
    match state.status {
        StepStatus::Failed => !state.handled,
        StepStatus::Cancelled => true,
        StepStatus::Skipped => matches!(state.skip, Some(SkipCause::Upstream | SkipCause::UpstreamFailure | SkipCause::RunOn)),
        StepStatus::Pending
        | StepStatus::Queued
        | StepStatus::Leased
        | StepStatus::Waiting
        | StepStatus::BackingOff
        | StepStatus::Succeeded
        | StepStatus::Running
        | StepStatus::Awaiting => false,
    }
}

/// It ended well, and a part of it may be undone.
fn was_being_undone(state: &StepState) -> bool {
    state.scope.as_ref().is_some_and(|scope| matches!(scope.phase, crate::Phase::Compensating | crate::Phase::Stopping))
}
