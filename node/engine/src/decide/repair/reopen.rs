//! Which steps begin anew when a run goes forward again: those that failed or were stopped, those that were blocked by them, and those
//! whose work was undone.

use std::collections::BTreeSet;

use super::super::Decider;
use crate::run::{Instance, ScopeId, States, in_scope};
use crate::{EventKind, PlannedKind, SkipCause, StepId, StepState, StepStatus};

impl<'d> Decider<'_, 'd, '_> {
    /// In plan order, from the outside to the inside. A container that is passed over is entered, and left as it is.
    pub(super) fn reopen_failed(&mut self, scope: &ScopeId, passed: Option<&StepId>) {
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
        let inner: Vec<_> =
            inner.into_iter().filter_map(|instance| Some((instance.clone(), self.draft.current(&instance)?.clone()))).collect();
        let of_step = |instance: &Instance<'d>| instance.item.is_none().then_some(instance.step.index);
        let begins = |(instance, state): &(Instance<'d>, StepState)| self.begins_anew(instance, state) || goes_on(state);
        let first: BTreeSet<usize> = inner.iter().filter(|entry| begins(entry)).filter_map(|(instance, _)| of_step(instance)).collect();
        for (instance, state) in inner {
            // What waits for something that begins again can't go on where it was.
            let waits = instance.item.is_none() && instance.step.needs.iter().any(|need| first.contains(&need.index));
            let only_anew = waits || state.scope.is_none() || self.is_used_up(&instance);
            if self.begins_anew(&instance, &state) || (goes_on(&state) && only_anew) {
                self.reopen(&instance, &state);
            } else if goes_on(&state) {
                self.push(EventKind::ScopeReopened { step: instance.id.clone() });
                if passed != Some(&instance.id) {
                    self.reopen_failed(&Some(instance.id.clone()), passed);
                }
            }
        }
    }

    /// True if the step, and each container around it, ended otherwise than planned, and would go on where it was: not with something
    /// that it needs, and not from the beginning.
    pub(super) fn goes_on_alone(&self, instance: &Instance<'d>) -> bool {
        let plan = self.draft.run.plan();
        let mut next = Some(instance.clone());
        while let Some(instance) = next {
            let Some(state) = self.draft.current(&instance) else { return false };
            let is_container = instance.item.is_some() || instance.step.kind.is_container();
            let anew = self.begins_anew(&instance, state) || (is_container && (state.scope.is_none() || self.is_used_up(&instance)));
            let waits = instance.item.is_none()
                && instance.step.needs.iter().any(|need| {
                    let need = Instance::of(plan, &in_scope(&instance.scope, &plan.steps[need.index]));
                    let state = need.as_ref().and_then(|need| Some((need, self.draft.current(need)?)));
                    state.is_none_or(|(need, state)| self.begins_anew(need, state) || goes_on(state))
                });
            if !stopped_short(state) || anew || waits {
                return false;
            }
            next = instance.scope.as_ref().and_then(|scope| Instance::of(plan, scope));
        }
        true
    }

    /// Its work was undone. What was handled undid itself, and that was the end of it.
    fn begins_anew(&self, instance: &Instance<'d>, state: &StepState) -> bool {
        self.draft.is_undone(&instance.id, state) && !state.handled
    }

    /// A `repeat` whose iterations all ended well can only begin anew.
    fn is_used_up(&self, instance: &Instance<'d>) -> bool {
        let PlannedKind::Repeat(repeat) = &instance.step.kind else { return false };
        let last = repeat.max_iterations.checked_sub(1).filter(|_| instance.item.is_none());
        let last = last.and_then(|last| Instance::of(self.draft.run.plan(), &instance.id.item(last)));
        last.and_then(|last| self.draft.current(&last)).is_some_and(|state| state.status == StepStatus::Succeeded)
    }

    pub(in super::super) fn reopen(&mut self, instance: &Instance<'d>, state: &StepState) {
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

fn goes_on(state: &StepState) -> bool {
    stopped_short(state) || was_being_undone(state)
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
    let phase = state.scope.as_ref().map(|scope| scope.phase);
    state.status == StepStatus::Succeeded && matches!(phase, Some(crate::Phase::Compensating | crate::Phase::Stopping))
}
