//! Migrate: go on with another version, as long as what was done is the same in both.

use std::sync::Arc;

use super::super::Decider;
use super::Why;
use crate::expr::Template;
use crate::run::{Instance, States, steps_total};
use crate::{EventKind, Plan, PlannedKind, PlannedStep, Rejection, Repair, StepId, StepStatus};

/// Differences that are named in a refusal.
const NAMED_MAX: usize = 10;

pub(in super::super) fn migrate(
    decider: &mut Decider<'_, '_, '_>,
    version: u64,
    digest: [u8; 32],
    plan: &Arc<Plan>,
    why: Why<'_>,
) -> Result<(), Rejection> {
    decider.alive()?;
    if decider.draft.digest() == digest {
        return Ok(());
    }
    let differences = decider.differences(plan);
    if !differences.is_empty() {
        return Err(Rejection::CantMigrate(differences));
    }
    let overrides = decider.drops_approval(plan, why)?;
    decider.repaired(Repair::Migrate, None, why, overrides);
    decider.push(EventKind::RunMigrated { version, digest, steps_total: steps_total(plan) });
    Ok(())
}

impl Decider<'_, '_, '_> {
    /// What was started must be there and be the same.
    fn differences(&self, to: &Plan) -> Vec<String> {
        let from = self.draft.run.plan();
        let mut found = Vec::new();
        for id in self.draft.run.steps().keys() {
            let Some(instance) = Instance::of(from, id) else { continue };
            let status = self.draft.current(&instance).map_or(StepStatus::Pending, |state| state.status);
            if status == StepStatus::Pending {
                continue;
            }
            let before = instance.step;
            let difference = match to.step(&before.id) {
                None => Some(format!("step {id} was started, and is missing")),
                Some(after) => {
                    difference(from, before, to, after).map(|what| format!("step {id} was started, and its {what} differs")).or_else(|| {
                        has_other_input(status, before, after).then(|| format!("step {id} was given its input, and its `with` differs"))
                    })
                }
            };
            found.extend(difference.filter(|difference| !found.contains(difference)));
            if found.len() == NAMED_MAX {
                break;
            }
        }
        found
    }

    /// Who drops an approval that was not given must be one who could have given it.
    fn drops_approval(&self, to: &Plan, why: Why<'_>) -> Result<bool, Rejection> {
        let mut overrides = false;
        for step in &self.draft.run.plan().steps {
            let PlannedKind::Approval(approval) = &step.kind else { continue };
            let Some(instance) = Instance::of(self.draft.run.plan(), &step.id) else { continue };
            let given = self.draft.current(&instance).is_some_and(|state| state.status == StepStatus::Succeeded);
            let kept = to.step(&step.id).is_some_and(|after| {
                matches!(&after.kind, PlannedKind::Approval(other) if other.approvers == approval.approvers
                    && other.required >= approval.required
                    && (other.exclude_starter || !approval.exclude_starter))
            });
            if !given && !kept {
                self.may_approve(&instance, approval, why.principal)?;
                overrides = true;
            }
        }
        Ok(overrides)
    }
}

/// What a step was given is kept from its first attempt to its end, and what came out is due to it. A step that failed may be given something else when it
/// is retried: that is how a mistake in a definition is repaired.
fn has_other_input(status: StepStatus, before: &PlannedStep, after: &PlannedStep) -> bool {
    let given = matches!(status, StepStatus::Queued | StepStatus::Leased | StepStatus::BackingOff | StepStatus::Succeeded);
    given
        && match (given_to(before), given_to(after)) {
            (None, None) => false,
            (Some(before), Some(after)) => !before.is_same_as(after),
            (None, Some(_)) | (Some(_), None) => true,
        }
}

fn given_to(step: &PlannedStep) -> Option<&Template> {
    step.kind.task()?.with.as_ref()
}

fn difference(from: &Plan, before: &PlannedStep, to: &Plan, after: &PlannedStep) -> Option<&'static str> {
    let ids =
        |plan: &Plan, step: &PlannedStep| -> Vec<StepId> { step.needs.iter().map(|need| plan.steps[need.index].id.clone()).collect() };
    let parent = |plan: &Plan, step: &PlannedStep| step.parent.map(|parent| plan.steps[parent].id.clone());
    let task_type = |step: &PlannedStep| step.kind.task().map(|task| task.task_type.clone());
    if before.kind.name() != after.kind.name() {
        Some("kind")
    } else if task_type(before) != task_type(after) {
        Some("task type")
    } else if parent(from, before) != parent(to, after) || before.role.name() != after.role.name() {
        Some("place")
    } else if ids(from, before) != ids(to, after) {
        Some("needs")
    } else if before.condition() != after.condition() {
        Some("condition")
    } else if before.compensation.is_some() != after.compensation.is_some() {
        Some("compensation")
    } else {
        None
    }
}
