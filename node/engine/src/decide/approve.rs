//! Approve: a person's word. As many different people as the step wants must say yes; one no fails it.

use serde_json::json;

use super::{Decider, permanent};
use crate::run::{Instance, States};
use crate::{
    Approval, EventKind, Payload, PlannedApproval, PlannedKind, Principal, Rejection, StepId, StepState, StepStatus, failure_type,
};

pub(super) fn approve(
    decider: &mut Decider<'_, '_, '_>,
    step: &StepId,
    approve: bool,
    principal: &Principal,
    reason: &str,
) -> Result<(), Rejection> {
    decider.alive()?;
    let instance = decider.instance(step)?;
    let state = decider.draft.current(&instance).filter(|state| state.status == StepStatus::Awaiting);
    let (PlannedKind::Approval(approval), Some(state)) = (&instance.step.kind, state) else {
        return Err(Rejection::NotAwaitingApproval(step.clone()));
    };
    decider.may_approve(&instance, approval, principal)?;
    let digest = decider.draft.digest();
    if counted(state, digest).any(|given| given.principal.subject == principal.subject) {
        return Err(Rejection::AlreadyApproved { step: step.clone(), subject: principal.subject.clone() });
    }
    let word = Approval { principal: principal.clone(), approve, reason: reason.to_owned(), time: decider.context.now, digest };
    decider.push(EventKind::ApprovalRecorded { step: step.clone(), approval: word });
    decider.weigh(&instance, approval);
    decider.settle();
    Ok(())
}

/// A word on another definition does not count.
fn counted(state: &StepState, digest: [u8; 32]) -> impl Iterator<Item = &Approval> {
    state.approvals.iter().filter(move |given| given.digest == digest)
}

impl<'d> Decider<'_, 'd, '_> {
    /// Only people with one of the roles decide, for whom somebody vouches.
    pub(super) fn may_approve(&self, instance: &Instance<'d>, approval: &PlannedApproval, principal: &Principal) -> Result<(), Rejection> {
        if !principal.verified && !self.context.allow_unverified {
            return Err(Rejection::Unverified(principal.subject.clone()));
        }
        if !approval.approvers.iter().any(|role| principal.roles.contains(role)) {
            return Err(Rejection::NotAnApprover { step: instance.id.clone(), roles: approval.approvers.clone() });
        }
        if approval.exclude_starter && principal.subject == self.draft.run.info().starter().subject {
            return Err(Rejection::StarterExcluded(instance.id.clone()));
        }
        Ok(())
    }

    /// Ends the approval if enough was said.
    fn weigh(&mut self, instance: &Instance<'d>, approval: &PlannedApproval) {
        let Some(state) = self.draft.current(instance) else { return };
        let given: Vec<&Approval> = counted(state, self.draft.digest()).collect();
        if let Some(no) = given.iter().find(|given| !given.approve) {
            let message = format!("{} rejected it: {}", no.principal.subject, no.reason);
            return self.fail_step(instance, permanent(failure_type::REJECTED, &message));
        }
        if given.len() >= approval.required as usize {
            let who: Vec<&str> = given.iter().map(|given| given.principal.subject.as_str()).collect();
            let output = Payload::json(&json!({"approved_by": who}));
            self.succeed(instance, Some(output));
        }
    }
}
