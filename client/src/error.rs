//! What can go wrong, in terms of what to do about it.
//!
//! A node's refusal arrives as a gRPC status with `google.rpc` details; [`ApiError`] is that, decoded. Whether a call may be repeated is
//! decided here too, because it depends on where an error comes from: a status that the transport made up has a source, a node's has none.

use std::{collections::BTreeMap, error::Error as StdError, fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Exit codes of the command line, stable and documented.
pub mod exit_code {
    /// Done.
    pub const OK: u8 = 0;
    /// Anything that has no code of its own.
    pub const ERROR: u8 = 1;
    /// The command line was wrong.
    pub const USAGE: u8 = 2;
    /// The run that was waited for did not succeed.
    pub const RUN_FAILED: u8 = 3;
    /// Not allowed.
    pub const DENIED: u8 = 4;
    /// What was asked for is not there.
    pub const NOT_FOUND: u8 = 5;
    /// No node could answer.
    pub const UNAVAILABLE: u8 = 6;
    /// The time that was given is over.
    pub const TIMED_OUT: u8 = 124;
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A node answered with an error that repeating does not change.
    #[error(transparent)]
    Api(#[from] Box<ApiError>),
    /// No node could do it until the deadline. What was asked for may have happened all the same.
    #[error("no answer from {endpoints} after {tries} tries: {last}")]
    Unavailable {
        /// Whom it asked.
        endpoints: String,
        /// How often.
        tries: u32,
        /// What the last one said.
        last: Box<ApiError>,
    },
    /// The deadline passed while a node was silent. What was asked for may have happened all the same.
    #[error("no answer from {endpoints} within {}", Seconds(*.after))]
    TimedOut {
        /// Whom it asked.
        endpoints: String,
        /// The time that was given.
        after: Duration,
    },
    /// An address that can't be one.
    #[error("`{endpoint}` is not an endpoint: {reason}")]
    InvalidEndpoint {
        /// As given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A node broke the contract.
    #[error("the node's answer lacks `{0}`")]
    Incomplete(&'static str),
    /// The run id was given to another run while this one was being watched.
    #[error("run `{run_id}` has been replaced by another run with the same id")]
    RunReplaced {
        /// Which.
        run_id: String,
    },
}

impl Error {
    /// What a command exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Api(error) => error.exit_code(),
            Self::Unavailable { .. } => exit_code::UNAVAILABLE,
            Self::TimedOut { .. } => exit_code::TIMED_OUT,
            Self::InvalidEndpoint { .. } => exit_code::USAGE,
            Self::Incomplete(_) | Self::RunReplaced { .. } => exit_code::ERROR,
        }
    }

    /// The decoded status, if a node or the transport gave one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            Self::Unavailable { last, .. } => Some(last),
            _ => None,
        }
    }

    /// The machine-readable reason, for example `RUN_NOT_FOUND`; empty if there is none.
    pub fn reason(&self) -> &str {
        self.api().map_or("", |error| &error.reason)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Api(Box::new(ApiError::from(status)))
    }
}

/// A gRPC status with its details.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The gRPC code.
    pub code: Code,
    /// A stable name in upper case, for example `WORKFLOW_NOT_FOUND`. Empty if the status had no details.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// What is wrong with which field.
    pub violations: Vec<Violation>,
    /// More, by name.
    pub metadata: BTreeMap<String, String>,
    /// When it makes sense to ask again.
    pub retry_after: Option<Duration>,
    /// True if the transport made the status up because no answer came.
    pub from_transport: bool,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, for example `spec.steps[2].needs[0]`.
    pub field: String,
    /// A sentence for people.
    pub description: String,
    /// A stable code, for example `unknown-step`. May be empty.
    pub reason: String,
}

impl ApiError {
    /// What a command exits with.
    pub fn exit_code(&self) -> u8 {
        match self.code {
            Code::PermissionDenied | Code::Unauthenticated => exit_code::DENIED,
            Code::NotFound => exit_code::NOT_FOUND,
            Code::Unavailable => exit_code::UNAVAILABLE,
            Code::DeadlineExceeded => exit_code::TIMED_OUT,
            _ => exit_code::ERROR,
        }
    }

    /// How a call that can be repeated without harm goes on after this error.
    pub(crate) fn advice(&self) -> Advice {
        if self.from_transport || self.code == Code::Unavailable {
            return Advice::OtherNode;
        }
        match (self.code, self.retry_after) {
            (Code::ResourceExhausted, Some(delay)) => Advice::SameNode(delay),
            _ => Advice::GiveUp,
        }
    }

    /// True if the call may have been executed although it failed.
    pub(crate) fn outcome_unknown(&self) -> bool {
        self.from_transport || matches!(self.code, Code::Unavailable | Code::DeadlineExceeded)
    }
}

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// The answer is final.
    GiveUp,
    /// Ask the next node.
    OtherNode,
    /// The node is busy; ask it again after this time.
    SameNode(Duration),
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        let info = details.error_info();
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            message: message(&status),
            violations: violations
                .iter()
                .map(|one| Violation { field: one.field.clone(), description: one.description.clone(), reason: one.reason.clone() })
                .collect(),
            metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            from_transport: status.source().is_some(),
        }
    }
}

/// The transport says "tcp connect error" and hides the reason in the chain of sources; the last one is what people need.
fn message(status: &Status) -> String {
    let mut deepest = None;
    let mut source = status.source();
    while let Some(error) = source {
        deepest = Some(error.to_string());
        source = error.source();
    }
    match deepest {
        Some(deepest) if !status.message().contains(&deepest) => format!("{}: {deepest}", status.message()),
        _ if status.message().is_empty() => status.code().description().to_owned(),
        _ => status.message().to_owned(),
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        Ok(())
    }
}

impl StdError for ApiError {}

/// Shows 1.5 s instead of 1.5000003s.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", (self.0.as_secs_f64() * 10.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    #[test]
    fn details_are_decoded() {
        let mut details =
            ErrorDetails::with_error_info("INVALID_WORKFLOW", "quorus.dev", HashMap::from([("name".to_owned(), "x".to_owned())]));
        details.set_bad_request(vec![FieldViolation {
            field: "spec.steps[0]".to_owned(),
            description: "no kind".to_owned(),
            reason: "missing-kind".to_owned(),
            localized_message: None,
        }]);
        details.set_retry_info(Some(Duration::from_millis(20)));
        let error = ApiError::from(Status::with_error_details(Code::InvalidArgument, "2 mistakes", details));
        assert_eq!(error.to_string(), "2 mistakes (INVALID_WORKFLOW)");
        assert_eq!(error.violations[0].reason, "missing-kind");
        assert_eq!(error.retry_after, Some(Duration::from_millis(20)));
        assert_eq!(error.metadata["name"], "x");
        assert_eq!(error.advice(), Advice::GiveUp);
    }

    #[test]
    fn codes_map_to_documented_exit_codes() {
        let exit = |code| Error::from(Status::new(code, "x")).exit_code();
        assert_eq!(exit(Code::NotFound), 5);
        assert_eq!(exit(Code::PermissionDenied), 4);
        assert_eq!(exit(Code::Unauthenticated), 4);
        assert_eq!(exit(Code::Unavailable), 6);
        assert_eq!(exit(Code::DeadlineExceeded), 124);
        assert_eq!(exit(Code::Internal), 1);
    }

    #[test]
    fn only_what_may_help_is_repeated() {
        let advice = |status: Status| ApiError::from(status).advice();
        assert_eq!(advice(Status::unavailable("no leader")), Advice::OtherNode);
        assert_eq!(advice(Status::resource_exhausted("payload too large")), Advice::GiveUp);
        let busy =
            Status::with_error_details(Code::ResourceExhausted, "busy", ErrorDetails::with_retry_info(Some(Duration::from_millis(7))));
        assert_eq!(advice(busy), Advice::SameNode(Duration::from_millis(7)));
        let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset by peer");
        assert_eq!(advice(Status::from_error(Box::new(broken))), Advice::OtherNode);
        assert_eq!(advice(Status::not_found("run")), Advice::GiveUp);
    }
}
