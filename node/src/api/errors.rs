//! Answers that say no: a gRPC code, a reason from a fixed list, and what to do. `docs/errors.md` is the table.

use std::time::Duration;

use quorus_engine::Rejection;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::leader::Refusal;

/// Where our reasons belong to.
pub const DOMAIN: &str = "quorus.dev";

/// Details travel in a header, whose size clients bound; mistakes beyond are counted, not told.
const DETAILS_BYTES_MAX: usize = 3000;

/// The reasons, fixed for ever.
pub mod reason {
    /// A definition has mistakes; they are the field violations.
    pub const INVALID_WORKFLOW: &str = "INVALID_WORKFLOW";
    /// A request has mistakes; they are the field violations.
    pub const INVALID_ARGUMENT: &str = "INVALID_ARGUMENT";
    /// There is no such workflow or version.
    pub const WORKFLOW_NOT_FOUND: &str = "WORKFLOW_NOT_FOUND";
    /// There is no such schedule.
    pub const SCHEDULE_NOT_FOUND: &str = "SCHEDULE_NOT_FOUND";
    /// There is no such trigger.
    pub const TRIGGER_NOT_FOUND: &str = "TRIGGER_NOT_FOUND";
    /// Runs or schedules use the workflow.
    pub const WORKFLOW_IN_USE: &str = "WORKFLOW_IN_USE";
    /// There is no such run.
    pub const RUN_NOT_FOUND: &str = "RUN_NOT_FOUND";
    /// A run of this id exists and the policy forbids another.
    pub const RUN_EXISTS: &str = "RUN_EXISTS";
    /// What was posted to a trigger is not what it takes.
    pub const INVALID_EVENT: &str = "INVALID_EVENT";
    /// The sender of an event did not prove who it is.
    pub const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
    /// The node does not find the secret with which it would check a sender.
    pub const SECRET_UNAVAILABLE: &str = "SECRET_UNAVAILABLE";
    /// The trigger takes no events for now.
    pub const TRIGGER_PAUSED: &str = "TRIGGER_PAUSED";
    /// The request started a run that has ended and is not kept any more.
    pub const RUN_PURGED: &str = "RUN_PURGED";
    /// What is to be discarded is no dead letter.
    pub const NO_DEAD_LETTER: &str = "NO_DEAD_LETTER";
    /// The run goes on, and only ended ones can be removed.
    pub const RUN_NOT_ENDED: &str = "RUN_NOT_ENDED";
    /// The node has no replica of the shard.
    pub const REPLICA_NOT_FOUND: &str = "REPLICA_NOT_FOUND";
    /// There is no such limit.
    pub const LIMIT_NOT_FOUND: &str = "LIMIT_NOT_FOUND";
    /// The run has ended.
    pub const RUN_ENDED: &str = "RUN_ENDED";
    /// The run is going on: it is not repaired like this.
    pub const RUN_ACTIVE: &str = "RUN_ACTIVE";
    /// The run is paused.
    pub const RUN_PAUSED: &str = "RUN_PAUSED";
    /// The run's plan has no such step.
    pub const UNKNOWN_STEP: &str = "UNKNOWN_STEP";
    /// The step does not wait, or not for this.
    pub const STEP_NOT_WAITING: &str = "STEP_NOT_WAITING";
    /// The workflow declares its signals, and this is none of them.
    pub const UNKNOWN_SIGNAL: &str = "UNKNOWN_SIGNAL";
    /// Nobody takes the run's signals.
    pub const TOO_MANY_SIGNALS: &str = "TOO_MANY_SIGNALS";
    /// The person may not give this approval, nor pass it by.
    pub const NOT_AN_APPROVER: &str = "NOT_AN_APPROVER";
    /// Nobody vouches for the person.
    pub const UNVERIFIED_PRINCIPAL: &str = "UNVERIFIED_PRINCIPAL";
    /// The person has decided already.
    pub const ALREADY_DECIDED: &str = "ALREADY_DECIDED";
    /// Nothing failed and nothing was undone.
    pub const NOT_RETRYABLE: &str = "NOT_RETRYABLE";
    /// The run can't be restarted from this step.
    pub const NOT_RESTARTABLE: &str = "NOT_RESTARTABLE";
    /// There is nothing to undo.
    pub const NOT_COMPENSABLE: &str = "NOT_COMPENSABLE";
    /// Steps that have begun differ between the versions.
    pub const NOT_MIGRATABLE: &str = "NOT_MIGRATABLE";
    /// What is beyond it can't be undone.
    pub const POINT_OF_NO_RETURN: &str = "POINT_OF_NO_RETURN";
    /// A payload is larger than 2 MiB.
    pub const PAYLOAD_TOO_LARGE: &str = "PAYLOAD_TOO_LARGE";
    /// The node has as much to do as it takes.
    pub const OVERLOADED: &str = "OVERLOADED";
    /// The shard has no leader that this node can reach. Nothing was done.
    pub const NO_LEADER: &str = "NO_LEADER";
    /// The leader was lost or silent in the middle. It may have been done.
    pub const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";
    /// The node is about to stop. Nothing was done.
    pub const DRAINING: &str = "DRAINING";
    /// The node has a fault of its own.
    pub const INTERNAL: &str = "INTERNAL";
}

/// A status with its reason.
pub fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    with_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, std::collections::HashMap::new()))
}

fn with_details(code: Code, message: impl Into<String>, details: ErrorDetails) -> Status {
    Status::with_error_details(code, message, details)
}

/// A request with mistakes: (field, what is wrong with it).
pub fn invalid(violations: Vec<(String, String)>) -> Status {
    let message = violations.iter().map(|(field, what)| format!("{field}: {what}")).collect::<Vec<_>>().join("; ");
    let mut details = ErrorDetails::with_error_info(reason::INVALID_ARGUMENT, DOMAIN, std::collections::HashMap::new());
    for (field, what) in violations {
        details.add_bad_request_violation(field, what);
    }
    with_details(Code::InvalidArgument, message, details)
}

/// A definition with mistakes.
pub fn invalid_workflow(problems: &[quorus_proto::v1::Problem]) -> Status {
    let errors: Vec<_> = problems.iter().filter(|problem| !problem.warning).collect();
    let mut details = ErrorDetails::with_error_info(reason::INVALID_WORKFLOW, DOMAIN, std::collections::HashMap::new());
    let mut message = match errors.len() {
        1 => "the workflow has a mistake".to_owned(),
        count => format!("the workflow has {count} mistakes"),
    };
    let mut room = DETAILS_BYTES_MAX;
    for (told, problem) in errors.iter().enumerate() {
        let place = if problem.line > 0 { format!("{}:{}: ", problem.line, problem.column) } else { String::new() };
        let hint = if problem.hint.is_empty() { String::new() } else { format!(" ({})", problem.hint) };
        let what = format!("{place}{}{hint}", problem.message);
        let line = format!("\n  {}: {what}", problem.path);
        let Some(left) = room.checked_sub(line.len()) else {
            message.push_str(&format!("\n  and {} more", errors.len() - told));
            break;
        };
        room = left;
        message.push_str(&line);
        details.add_bad_request_violation(problem.path.clone(), what);
    }
    with_details(Code::InvalidArgument, message, details)
}

/// Nothing was done, and asking again in a moment may help.
pub fn retry_later(code: Code, reason: &str, message: impl Into<String>, after: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, std::collections::HashMap::new());
    details.set_retry_info(Some(after));
    with_details(code, message, details)
}

/// The shard has no leader that can be reached.
pub fn no_leader(group: u32) -> Status {
    let message = format!("shard {group} has no leader that this node can reach; a majority of its nodes may be down");
    retry_later(Code::Unavailable, reason::NO_LEADER, message, Duration::from_millis(200))
}

/// The sender took this node for one of its own cluster.
pub fn misdirected() -> Status {
    let message = "this node belongs to another cluster than the node that sent the request; its address was another's before";
    retry_later(Code::Unavailable, reason::NO_LEADER, message, Duration::from_millis(200))
}

/// It may have been done.
pub fn outcome_unknown() -> Status {
    let message =
        "the shard's leader was lost or silent in the middle, so it may have been done or not; ask again with the same request id";
    retry_later(Code::Unavailable, reason::OUTCOME_UNKNOWN, message, Duration::from_millis(200))
}

/// The node has as much to do as it takes.
pub fn overloaded(what: &str) -> Status {
    retry_later(Code::ResourceExhausted, reason::OVERLOADED, format!("too many {what} at a time on this node"), Duration::from_millis(100))
}

/// There is no such run.
pub fn run_not_found(namespace: &str, run_id: &str) -> Status {
    status(Code::NotFound, reason::RUN_NOT_FOUND, format!("there is no run {run_id:?} in namespace {namespace:?}"))
}

/// The run that a repeated request started is not kept any more.
pub fn run_purged(run_id: &str, uid: quorus_engine::RunUid) -> Status {
    let message = format!("the request started run {run_id:?} ({uid}), which has ended and is not kept any more; nothing was started now");
    status(Code::NotFound, reason::RUN_PURGED, message)
}

/// The run goes on, or owes something to another one.
pub fn run_not_ended(run_id: &str) -> Status {
    let message = format!("run {run_id:?} has not ended, or another run has yet to hear of its end; only then it can be removed");
    status(Code::FailedPrecondition, reason::RUN_NOT_ENDED, message)
}

/// There is no such workflow.
pub fn workflow_not_found(namespace: &str, name: &str, version: u64) -> Status {
    let version = if version == 0 { String::new() } else { format!(" version {version} of") };
    status(Code::NotFound, reason::WORKFLOW_NOT_FOUND, format!("there is no{version} workflow {name:?} in namespace {namespace:?}"))
}

/// The node has a fault of its own: logged here, since it is handled here.
pub fn internal(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error, "request failed by a fault of the node");
    status(Code::Internal, reason::INTERNAL, format!("the node has a fault: {error}"))
}

/// The reason in a status, if it has one of ours.
pub fn reason_of(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some(info.reason)
}

/// How a client sees what the engine says no with.
fn code_of(rejection: &Rejection) -> (Code, &'static str) {
    match rejection {
        Rejection::UnknownRun => (Code::NotFound, reason::RUN_NOT_FOUND),
        Rejection::UnknownStep(_) => (Code::NotFound, reason::UNKNOWN_STEP),
        Rejection::RunExists => (Code::AlreadyExists, reason::RUN_EXISTS),
        Rejection::RunEnded(_) => (Code::FailedPrecondition, reason::RUN_ENDED),
        Rejection::Paused | Rejection::HeldBack(_) => (Code::FailedPrecondition, reason::RUN_PAUSED),
        Rejection::UnknownSignal(_) => (Code::InvalidArgument, reason::UNKNOWN_SIGNAL),
        Rejection::TooManySignals => (Code::ResourceExhausted, reason::TOO_MANY_SIGNALS),
        Rejection::NotAwaitingApproval(_) | Rejection::CantSkip { .. } => (Code::FailedPrecondition, reason::STEP_NOT_WAITING),
        Rejection::NotAnApprover { .. } | Rejection::StarterExcluded(_) => (Code::PermissionDenied, reason::NOT_AN_APPROVER),
        Rejection::Unverified(_) => (Code::PermissionDenied, reason::UNVERIFIED_PRINCIPAL),
        Rejection::AlreadyApproved { .. } => (Code::FailedPrecondition, reason::ALREADY_DECIDED),
        Rejection::RunActive(_) => (Code::FailedPrecondition, reason::RUN_ACTIVE),
        Rejection::NothingToRetry(_) => (Code::FailedPrecondition, reason::NOT_RETRYABLE),
        Rejection::NothingToCompensate(_) => (Code::FailedPrecondition, reason::NOT_COMPENSABLE),
        Rejection::CantRestartFrom { .. } => (Code::FailedPrecondition, reason::NOT_RESTARTABLE),
        Rejection::PastNoReturn(_) => (Code::FailedPrecondition, reason::POINT_OF_NO_RETURN),
        Rejection::CantMigrate(_) => (Code::FailedPrecondition, reason::NOT_MIGRATABLE),
        // What only the node itself asks for.
        Rejection::StaleLease { .. }
        | Rejection::StaleTimer
        | Rejection::TimerNotDue(_)
        | Rejection::NotQueued(_)
        | Rejection::UnknownChild(_)
        | Rejection::UnexpectedAnswer => (Code::FailedPrecondition, reason::INVALID_ARGUMENT),
    }
}

/// What a run's actor says no with.
pub fn refused(namespace: &str, run_id: &str, refusal: &Refusal) -> Status {
    match refusal {
        Refusal::NotLeader { shard } => no_leader(*shard),
        Refusal::OutcomeUnknown => outcome_unknown(),
        Refusal::Broken(_) => internal(refusal),
        Refusal::Rejected(rejection) => match rejection {
            Rejection::UnknownRun => run_not_found(namespace, run_id),
            Rejection::RunExists => {
                let message =
                    format!("a run {run_id:?} exists already in namespace {namespace:?}; choose another id, or a policy for conflicts");
                status(Code::AlreadyExists, reason::RUN_EXISTS, message)
            }
            other => {
                let (code, reason) = code_of(other);
                status(code, reason, other.to_string())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_its_reason_and_what_to_do() {
        let status = no_leader(3);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(reason_of(&status).as_deref(), Some("NO_LEADER"));
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    }

    #[test]
    fn a_thousand_mistakes_still_fit_into_a_header() {
        let problem =
            |index| quorus_proto::v1::Problem { path: format!("spec.steps[{index}]"), message: "is wrong".repeat(5), ..Default::default() };
        let status = invalid_workflow(&(0..1000).map(problem).collect::<Vec<_>>());
        assert!(status.details().len() + status.message().len() < 10_000);
        assert!(status.message().ends_with("more"), "{}", status.message());
    }

    #[test]
    fn every_reason_is_documented() {
        let documented = include_str!("../../../docs/errors.md");
        let source = include_str!("errors.rs");
        let reasons =
            source.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split_once(": &str = \"")?.1.strip_suffix("\";"));
        let reasons: Vec<_> = reasons.filter(|reason| reason.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')).collect();
        assert!(reasons.len() > 20, "{reasons:?}");
        for reason in reasons {
            assert!(documented.contains(&format!("| `{reason}` |")), "docs/errors.md does not know {reason}");
        }
    }

    #[test]
    fn every_mistake_of_a_request_is_named() {
        let status = invalid(vec![("run_id".into(), "is too long".into()), ("workflow".into(), "is required".into())]);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>(), ["run_id", "workflow"]);
    }
}
