//! Stops what is executing in a scope.

use super::{Decider, End};
use crate::run::{Instance, ScopeId, States, entry_at};
use crate::{EventKind, Failure, OnParentClose, Phase, PlannedKind, RunStatus, StepStatus};

impl<'d> Decider<'_, 'd, '_> {
    /// Something in a scope failed for good. Nothing new if it is being stopped already.
    pub(super) fn fail_scope(&mut self, scope: &ScopeId, failure: Failure) {
        let Some(id) = scope else { return self.fail_run(failure) };
        if matches!(self.phase(scope), Phase::Forward | Phase::Closing) {
            self.push(EventKind::PhaseChanged { scope: scope.clone(), phase: Phase::Stopping, failure: Some(failure), deadline: None });
            self.stop_steps(scope, &format!("{id} is failing"));
        }
    }

    pub(super) fn fail_run(&mut self, failure: Failure) {
        if self.draft.head().status == RunStatus::Running && self.draft.head().phase() == Phase::Forward {
            self.push(EventKind::RunFailing { failure });
            self.stop_steps(&None, "the run is failing");
        }
    }

    /// Ends or interrupts everything in a scope that was started. Steps without an entry stay without one: in an ended run they show as
    /// cancelled.
    pub(super) fn stop_steps(&mut self, scope: &ScopeId, reason: &str) {
        let plan = self.draft.run.plan();
        let open: Vec<u32> = self.draft.index.open_in(scope).collect();
        for position in open {
            if let Some(instance) = entry_at(plan, scope, position).and_then(|id| Instance::of(plan, &id)) {
                self.stop(&instance, reason);
            }
        }
    }

    fn stop(&mut self, instance: &Instance<'d>, reason: &str) {
        let deadline = self.context.now.plus(self.context.cancel_grace);
        let Some(state) = self.draft.current(instance) else { return };
        // What is being undone goes on being undone.
        if instance.undoes {
            return;
        }
        match state.status {
            StepStatus::Queued | StepStatus::Waiting | StepStatus::BackingOff | StepStatus::Awaiting => {
                self.end(instance, End::of(StepStatus::Cancelled));
            }
            StepStatus::Leased => {
                if state.cancel_deadline.is_none() {
                    self.push(EventKind::StepCancelRequested { step: instance.id.clone(), deadline, reason: reason.to_owned() });
                }
            }
            StepStatus::Running if state.child.is_some() => self.stop_child(instance, reason),
            StepStatus::Running => {
                let scope = Some(instance.id.clone());
                match self.phase(&scope) {
                    Phase::Forward | Phase::Closing | Phase::Observing => {
                        self.push(EventKind::PhaseChanged { scope: scope.clone(), phase: Phase::Stopping, failure: None, deadline: None });
                        self.stop_steps(&scope, reason);
                    }
                    // It stops by itself; what observes a failure further inside did not stop for that.
                    Phase::Stopping => self.stop_steps(&scope, reason),
                    Phase::Compensating | Phase::Compensated | Phase::Finally | Phase::Rewinding => {}
                }
            }
            StepStatus::Pending | StepStatus::Succeeded | StepStatus::Failed | StepStatus::Skipped | StepStatus::Cancelled => {}
        }
    }

    /// The step goes on waiting until the child has ended, unless the child is none of its business any more.
    fn stop_child(&mut self, instance: &Instance<'d>, reason: &str) {
        let close = match &instance.step.kind {
            PlannedKind::Workflow(child) => child.on_parent_close,
            _ => OnParentClose::Cancel,
        };
        match close {
            OnParentClose::Abandon => self.end(instance, End::of(StepStatus::Cancelled)),
            OnParentClose::Cancel => self.cancel_child(instance, reason),
        }
    }

    /// Once.
    pub(super) fn cancel_child(&mut self, instance: &Instance<'d>, reason: &str) {
        let child = self.draft.current(instance).and_then(|state| state.child.as_ref());
        if child.is_some_and(|child| child.cancel.is_none()) {
            self.push(EventKind::ChildCancelRequested { step: instance.id.clone(), reason: reason.to_owned() });
        }
    }
}
