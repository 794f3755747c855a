//! What events do to a run's head.

use crate::{Failure, Payload, Principal, RunHead, RunInfo, RunStatus, Timestamp};

pub(super) fn started(head: &mut RunHead, time: Timestamp, info: &RunInfo) {
    head.status = RunStatus::Running;
    head.started_at = time;
    head.deadline = info.deadline;
}

/// The run's timer is gone: from here on each live attempt has a deadline of its own.
pub(super) fn failing(head: &mut RunHead, failure: &Failure) {
    head.status = RunStatus::Failing;
    head.failure = Some(failure.clone());
    head.deadline = None;
}

pub(super) fn cancel_requested(head: &mut RunHead, principal: &Principal, reason: &str) {
    head.status = RunStatus::Cancelling;
    head.cancelled_by = Some((principal.clone(), reason.to_owned()));
    head.deadline = None;
}

pub(super) fn ended(
    head: &mut RunHead,
    time: Timestamp,
    status: RunStatus,
    output: &Option<Payload>,
    failure: &Option<Failure>,
    principal: &Option<Principal>,
    reason: &str,
) {
    head.status = status;
    head.ended_at = Some(time);
    head.deadline = None;
    head.output.clone_from(output);
    if failure.is_some() {
        head.failure.clone_from(failure);
    }
    if let Some(principal) = principal {
        head.cancelled_by = Some((principal.clone(), reason.to_owned()));
    }
}
