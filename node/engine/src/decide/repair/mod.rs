//! Repair: what people do to a run that failed, ended or hangs. Each is recorded with who and why before what it leads to.

mod compensate;
mod migrate;
mod reopen;
mod restart;
mod retry;
mod skip;

pub(super) use compensate::compensate;
pub(super) use migrate::migrate;
pub(super) use restart::restart_from;
pub(super) use retry::retry;
pub(super) use skip::skip;

use super::Decider;
use crate::{AttentionCause, EventKind, Phase, Principal, Rejection, Repair, RunStatus, StepId, Timestamp};

/// Who repairs, and why.
#[derive(Clone, Copy)]
pub(super) struct Why<'w> {
    pub(super) principal: &'w Principal,
    pub(super) reason: &'w str,
}

/// Somebody wrote something down.
pub(super) fn annotate(decider: &mut Decider<'_, '_, '_>, principal: &Principal, text: &str) -> Result<(), Rejection> {
    decider.push(EventKind::RunAnnotated { principal: principal.clone(), text: text.to_owned() });
    Ok(())
}

impl Decider<'_, '_, '_> {
    /// True if the run waits for people before it turned back.
    fn is_held(&self) -> bool {
        let head = self.draft.head();
        let cause = head.attention.as_ref().map(|attention| attention.cause);
        head.status == RunStatus::NeedsAttention && matches!(cause, Some(AttentionCause::Hold | AttentionCause::NoReturn))
    }

    fn repaired(&mut self, repair: Repair, step: Option<StepId>, why: Why<'_>, overrides: bool) {
        let (principal, reason) = (why.principal.clone(), why.reason.to_owned());
        self.push(EventKind::Repaired { repair, step, principal, reason, overrides });
    }

    fn reopen_run(&mut self, phase: Phase) {
        let plan = self.draft.run.plan();
        let timeout = match phase {
            Phase::Forward => plan.timeout,
            Phase::Compensating => plan.compensation_timeout,
            _ => None,
        };
        let deadline = timeout.map(|timeout| self.context.now.plus(timeout));
        let notify = self.draft.head().notify.clone();
        self.push(EventKind::RunReopened { phase, deadline, notify });
    }

    fn forward_deadline(&self) -> Option<Timestamp> {
        self.draft.run.plan().timeout.map(|timeout| self.context.now.plus(timeout))
    }
}
