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
        let notify = self.draft.head().notify.clone();
        self.reopen_run_for(phase, notify);
    }

    /// One that had ended has no slot any more.
    fn reopen_run_for(&mut self, phase: Phase, notify: Option<StepId>) {
        let had_ended = self.draft.head().ended_at.is_some();
        let deadline = match phase {
            Phase::Forward => self.forward_deadline(),
            Phase::Compensating => self.compensation_deadline(),
            _ => None,
        };
        self.push(EventKind::RunReopened { phase, deadline, notify });
        if had_ended {
            self.retake_slot();
        }
    }

    fn forward_deadline(&self) -> Option<Timestamp> {
        self.draft.run.plan().timeout.map(|timeout| self.context.now.plus(timeout))
    }

    pub(super) fn compensation_deadline(&self) -> Option<Timestamp> {
        self.draft.run.plan().compensation_timeout.map(|timeout| self.context.now.plus(timeout))
    }
}
