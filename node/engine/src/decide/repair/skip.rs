//! Skip: do without a step that waits, or without one (also a container) that failed and holds up the run.

use super::super::{Decider, End};
use super::Why;
use crate::run::{Instance, States, in_scope};
use crate::{Payload, Phase, PlannedKind, Rejection, Repair, Role, RunStatus, SkipCause, StepId, StepStatus};

pub(in super::super) fn skip(
    decider: &mut Decider<'_, '_, '_>,
    step: &StepId,
    output: Option<&Payload>,
    why: Why<'_>,
) -> Result<(), Rejection> {
    decider.alive()?;
    let instance = decider.instance(step)?;
    let status = decider.draft.current(&instance).map_or(StepStatus::Pending, |state| state.status);
    let waits = matches!(status, StepStatus::Queued | StepStatus::Waiting | StepStatus::BackingOff | StepStatus::Awaiting);
    let needs_attention = decider.draft.head().status == RunStatus::NeedsAttention;
    let holds_up = match instance.undoes {
        true => needs_attention && matches!(status, StepStatus::Failed | StepStatus::Cancelled),
        // Nothing waits for those who were called for help.
        false if instance.step.role == Role::OnAttention => false,
        false => decider.is_held() && decider.goes_on_alone(&instance),
    };
    let is_part = instance.item.is_some() || matches!(instance.step.role, Role::Guard { .. });
    if is_part || !(waits || holds_up) {
        return Err(Rejection::CantSkip { step: step.clone(), status });
    }
    let overrides = decider.passes_approval(&instance, why)?;
    decider.repaired(Repair::Skip, Some(step.clone()), why, overrides);
    if holds_up {
        decider.go_on_without(&instance);
    }
    decider.end(&instance, End { output: output.cloned(), skip: Some(SkipCause::Operator), ..End::of(StepStatus::Skipped) });
    decider.review_everything();
    if holds_up {
        decider.catch_up()?;
    }
    decider.settle();
    Ok(())
}

impl<'d> Decider<'_, 'd, '_> {
    /// Who passes an approval that was not given must be one who could have given it.
    /// Those in a container count, too.
    fn passes_approval(&self, instance: &Instance<'d>, why: Why<'_>) -> Result<bool, Rejection> {
        let plan = self.draft.run.plan();
        let scope = Some(instance.id.clone());
        let (mut overrides, mut next) = (false, vec![instance.step]);
        while let Some(step) = next.pop() {
            next.extend(step.body.iter().map(|&index| &plan.steps[index]));
            let PlannedKind::Approval(approval) = &step.kind else { continue };
            // Among items there is more than one, of which some may not have been asked for yet.
            let asked =
                if step.index == instance.step.index { Some(instance.clone()) } else { Instance::of(plan, &in_scope(&scope, step)) };
            let given =
                asked.as_ref().and_then(|asked| self.draft.current(asked)).is_some_and(|state| state.status == StepStatus::Succeeded);
            if !given {
                self.may_approve(asked.as_ref().unwrap_or(instance), approval, why.principal)?;
                overrides = true;
            }
        }
        Ok(overrides)
    }

    /// What was stopped for its sake begins again.
    fn go_on_without(&mut self, instance: &Instance<'d>) {
        if instance.undoes {
            let phase = self.draft.head().phase();
            self.reopen_run(phase);
            if let Some(state) = self.draft.current(instance).cloned() {
                self.reopen(instance, &state);
            }
            return self.fail_again();
        }
        self.reopen_run(Phase::Forward);
        self.reopen_failed(&None, Some(&instance.id));
    }
}
