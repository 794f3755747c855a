//! What clients and workers send, as the engine reads it.

use quorus_engine::{Failure, Millis, Outcome, Payload, Principal, RunStatus};
use quorus_proto::{peer, v1};

use crate::leader::{OnConflict, OnReuse};

/// A payload, without a copy.
pub(crate) fn payload(payload: v1::Payload) -> Payload {
    Payload { data: payload.data, encoding: payload.encoding }
}

/// Who asks. What a client says of itself is never verified.
pub(crate) fn principal(principal: Option<v1::Principal>) -> Principal {
    let v1::Principal { subject, roles, issuer, verified: _ } = principal.unwrap_or_default();
    Principal { subject, roles, issuer, verified: false }
}

/// Why it failed.
pub(crate) fn failure(failure: v1::Failure) -> Failure {
    let v1::Failure { r#type, message, details, non_retryable, nothing_done, retry_after_ms } = failure;
    let kind = if r#type.is_empty() { "Error".to_owned() } else { r#type };
    let retry_after = (retry_after_ms > 0).then_some(Millis(retry_after_ms));
    Failure { kind, message, details: details.map(payload), non_retryable, nothing_done, retry_after }
}

/// How an attempt ended; `None` if the message does not say.
pub(crate) fn outcome(result: Option<v1::task_outcome::Result>) -> Option<Outcome> {
    use v1::task_outcome::Result;
    Some(match result? {
        Result::Succeeded(output) => {
            let empty = output.data.is_empty() && output.encoding.is_empty();
            Outcome::Succeeded((!empty).then(|| payload(output)))
        }
        Result::Failed(reported) => Outcome::Failed(failure(reported)),
        Result::Cancelled(cancelled) => Outcome::Cancelled { nothing_done: cancelled.nothing_done },
        Result::Released(released) => Outcome::Released(released.checkpoint.map(payload)),
    })
}

/// What to do when a run of the id is going on; `None` for a number that this version does not know.
pub(crate) fn on_conflict(policy: i32) -> Option<OnConflict> {
    Some(match v1::ConflictPolicy::try_from(policy).ok()? {
        v1::ConflictPolicy::Unspecified | v1::ConflictPolicy::Reject => OnConflict::Reject,
        v1::ConflictPolicy::UseExisting => OnConflict::UseExisting,
        v1::ConflictPolicy::TerminateExisting => OnConflict::TerminateExisting,
    })
}

/// What to do when a run of the id has ended; `None` for a number that this version does not know.
pub(crate) fn on_reuse(policy: i32) -> Option<OnReuse> {
    Some(match v1::ReusePolicy::try_from(policy).ok()? {
        v1::ReusePolicy::Unspecified | v1::ReusePolicy::Allow => OnReuse::Allow,
        v1::ReusePolicy::AllowIfFailed => OnReuse::AllowIfFailed,
        v1::ReusePolicy::Reject => OnReuse::Reject,
    })
}

/// How a run on another shard ended; `None` if it has not.
pub(crate) fn child_end(end: peer::ChildEnd) -> Option<(RunStatus, Option<Payload>, Option<Failure>)> {
    let status = crate::codec::run_status_from_proto(end.status).ok().filter(|status| status.is_final())?;
    Some((status, end.output.map(payload), end.failure.map(failure)))
}
