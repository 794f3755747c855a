//! Ends a step: one place that records it, with whether something may have to undo it, and what its failure means for its scope.

use quorus_mutants::{Mutant, active};

use super::Decider;
use crate::run::{Instance, States};
use crate::{EventKind, Failure, Payload, PlannedKind, Role, SkipCause, StepStatus};

/// How a step ends.
pub(super) struct End {
    pub(super) status: StepStatus,
    pub(super) output: Option<Payload>,
    pub(super) failure: Option<Failure>,
    pub(super) skip: Option<SkipCause>,
    pub(super) handled: bool,
}

impl End {
    pub(super) fn of(status: StepStatus) -> Self {
        Self { status, output: None, failure: None, skip: None, handled: false }
    }
}

impl<'d> Decider<'_, 'd, '_> {
    pub(super) fn end(&mut self, instance: &Instance<'d>, end: End) {
        let undo = self.may_need_undoing(instance, end.status);
        let End { status, output, failure, skip, handled } = end;
        self.push(EventKind::StepEnded { step: instance.id.clone(), status, output, failure, skip, handled, undo });
    }

    pub(super) fn succeed(&mut self, instance: &Instance<'d>, output: Option<Payload>) {
        self.end(instance, End { output, ..End::of(StepStatus::Succeeded) });
    }

    /// A step failed for good.
    pub(super) fn fail_step(&mut self, instance: &Instance<'d>, failure: Failure) {
        let handled = !instance.undoes && instance.step.continue_on_error.matches(&failure.kind);
        self.end(instance, End { failure: Some(failure.clone()), handled, ..End::of(StepStatus::Failed) });
        if !handled {
            self.failed(instance, failure);
        }
    }

    /// A step failed for good, nothing handled that, and its end is recorded: its scope fails, unless that is being stopped already.
    pub(super) fn failed(&mut self, instance: &Instance<'d>, failure: Failure) {
        if instance.undoes {
            return self.compensation_failed(instance, failure);
        }
        // The end of the run has its status whatever its last steps come to.
        if instance.scope.is_none() && !matches!(instance.step.role, Role::Body) {
            return;
        }
        // The details stay with the step.
        let failure = Failure { message: format!("step {} failed: {}", instance.id, failure.message), details: None, ..failure };
        self.fail_scope(&instance.scope, failure);
    }

    /// Completed, or in doubt, and something would undo it.
    fn may_need_undoing(&self, instance: &Instance<'d>, status: StepStatus) -> bool {
        if instance.undoes || instance.step.role != Role::Body {
            return false;
        }
        let Some(state) = self.draft.current(instance) else { return false };
        if self.draft.is_undone(&instance.id, state) {
            return false;
        }
        let done = status == StepStatus::Succeeded || state.in_doubt || active(Mutant::CompensatesUnfinished);
        match &instance.step.kind {
            PlannedKind::Group(_) | PlannedKind::ForEach(_) | PlannedKind::Repeat(_) => {
                if instance.item.is_none() && instance.step.compensation.is_some() {
                    status == StepStatus::Succeeded || self.has_begun(instance)
                } else {
                    self.draft.index.undo_in(&Some(instance.id.clone())).next().is_some()
                }
            }
            PlannedKind::Workflow(child) => {
                (instance.step.compensation.is_some() && done) || (child.compensate_child && status == StepStatus::Succeeded)
            }
            _ => instance.step.compensation.is_some() && done,
        }
    }

    /// True if something in the container was executed.
    pub(super) fn has_begun(&self, instance: &Instance<'d>) -> bool {
        if instance.has_items() {
            return Instance::of(self.draft.run.plan(), &instance.id.item(0)).is_some_and(|item| self.draft.current(&item).is_some());
        }
        let scope = Some(instance.id.clone());
        instance.step.body.iter().any(|&index| {
            let id = crate::run::in_scope(&scope, &self.draft.run.plan().steps[index]);
            let state = Instance::of(self.draft.run.plan(), &id).and_then(|inner| self.draft.current(&inner));
            state.is_some_and(|state| state.status == StepStatus::Succeeded || state.in_doubt || state.scope.is_some())
        })
    }
}
