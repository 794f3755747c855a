//! Terminate: stop at once. Live attempts lose their leases without being asked; each leaves its step in doubt. Nothing is undone.

use super::{Decider, End};
use crate::run::{Instance, States, entry_at};
use crate::{EventKind, Outcome, Principal, Rejection, RunStatus, StepStatus};

/// Asking again changes nothing.
pub(super) fn terminate(decider: &mut Decider<'_, '_, '_>, principal: &Principal, reason: &str) -> Result<(), Rejection> {
    match decider.draft.head().status {
        RunStatus::Running
        | RunStatus::Failing
        | RunStatus::Cancelling
        | RunStatus::Queued
        | RunStatus::Compensating
        | RunStatus::NeedsAttention => {}
        RunStatus::Terminated => return Ok(()),
        status @ (RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled) => return Err(Rejection::RunEnded(status)),
    }
    decider.cut_everything();
    decider.push(EventKind::RunEnded {
        status: RunStatus::Terminated,
        output: None,
        failure: None,
        principal: Some(principal.clone()),
        reason: reason.to_owned(),
    });
    Ok(())
}

impl<'d> Decider<'_, 'd, '_> {
    /// From the inside to the outside.
    fn cut_everything(&mut self) {
        let plan = self.draft.run.plan();
        let open = self.draft.index.open.from(std::ops::Bound::Unbounded);
        let mut instances: Vec<_> =
            open.filter_map(|((scope, position), ())| Instance::of(plan, &entry_at(plan, scope, *position)?)).collect();
        let depth = |instance: &Instance<'d>| {
            std::iter::successors(instance.scope.clone(), |scope| Instance::of(plan, scope).and_then(|around| around.scope)).count()
        };
        instances.sort_by_cached_key(|instance| std::cmp::Reverse(depth(instance)));
        for instance in instances {
            let Some(state) = self.draft.current(&instance) else { continue };
            match state.status {
                StepStatus::Leased => {
                    let outcome = Outcome::Cancelled { nothing_done: false };
                    self.push(EventKind::AttemptEnded { step: instance.id.clone(), attempt: state.attempt, outcome, retry_at: None });
                }
                // The child is told later; the run owes it.
                StepStatus::Running if state.child.is_some() => self.cancel_child(&instance, "the parent was terminated"),
                // It has ended, and was being undone.
                status if status.is_final() => {
                    let scope = Some(instance.id.clone());
                    self.push(EventKind::PhaseChanged { scope, phase: crate::Phase::Stopping, failure: None, deadline: None });
                    continue;
                }
                _ => {}
            }
            self.end(&instance, End::of(StepStatus::Cancelled));
        }
    }
}
