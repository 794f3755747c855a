//! Values that users own, and what comes with every change: who, and why it failed.

use bytes::Bytes;

use crate::Millis;

/// A value that users own; only the encoding `json` can be read by expressions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// The value's bytes.
    pub data: Bytes,
    /// How to read them; empty means `json`.
    pub encoding: String,
}

impl Payload {
    /// The largest payload, in bytes; a larger output is an outcome of its own (`QuorusOutputTooLarge`).
    pub const BYTES_MAX: usize = 2 * 1024 * 1024;

    /// JSON text of the value.
    pub fn json(value: &serde_json::Value) -> Self {
        Self { data: value.to_string().into(), encoding: String::new() }
    }

    /// True if expressions can read it.
    pub fn is_json(&self) -> bool {
        self.encoding.is_empty() || self.encoding == "json"
    }
}

/// Who asked for a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// Name of the person or service.
    pub subject: String,
    /// Roles that the issuer vouches for.
    pub roles: Vec<String>,
    /// Who vouches; empty while nobody does.
    pub issuer: String,
    /// True only if the node itself checked the claim.
    pub verified: bool,
}

/// Why an attempt, a step or a run failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Machine-readable kind; types that start with `Quorus` are ours, see [`failure_type`].
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// More, for programs.
    pub details: Option<Payload>,
    /// Another attempt can't help.
    pub non_retryable: bool,
    /// The attempt changed nothing in the outside world.
    pub nothing_done: bool,
    /// The next attempt is to wait at least that long.
    pub retry_after: Option<Millis>,
}

/// The reserved failure types.
pub mod failure_type {
    /// `attempt_timeout` passed.
    pub const ATTEMPT_TIMEOUT: &str = "QuorusAttemptTimeout";
    /// `heartbeat_timeout` passed without a sign of progress.
    pub const HEARTBEAT_TIMEOUT: &str = "QuorusHeartbeatTimeout";
    /// A limit that says `fail` had no room.
    pub const LIMIT_EXCEEDED: &str = "QuorusLimitExceeded";
    /// `schedule_timeout` passed before a worker took the task.
    pub const SCHEDULE_TIMEOUT: &str = "QuorusScheduleTimeout";
    /// The step's `timeout` passed.
    pub const STEP_TIMEOUT: &str = "QuorusStepTimeout";
    /// The run's `timeout` passed.
    pub const RUN_TIMEOUT: &str = "QuorusRunTimeout";
    /// The worker was lost.
    pub const ABANDONED: &str = "QuorusAbandoned";
    /// Workers were lost, or gave the task back, too often.
    pub const PREEMPTION_LIMIT: &str = "QuorusPreemptionLimit";
    /// An expression could not be evaluated.
    pub const EXPRESSION: &str = "QuorusExpression";
    /// An output was larger than a payload may be.
    pub const OUTPUT_TOO_LARGE: &str = "QuorusOutputTooLarge";
    /// The evaluated `with` of a step was larger than a payload may be.
    pub const INPUT_TOO_LARGE: &str = "QuorusInputTooLarge";
    /// A worker stopped an attempt that nobody had asked it to stop.
    pub const CANCELLED: &str = "QuorusCancelled";
    /// Somebody rejected an approval.
    pub const REJECTED: &str = "QuorusRejected";
    /// What `in` of a `for_each` gives is not a list.
    pub const NOT_A_LIST: &str = "QuorusNotAList";
    /// A `repeat` did not reach its condition.
    pub const ITERATION_LIMIT: &str = "QuorusIterationLimit";
    /// More items failed than `for_each` tolerates.
    pub const ITEMS_FAILED: &str = "QuorusItemsFailed";
    /// A child run did not succeed.
    pub const CHILD_FAILED: &str = "QuorusChildFailed";
    /// A child run could not be started.
    pub const CHILD_REFUSED: &str = "QuorusChildRefused";
    /// The workflow's `concurrency` left no room for the run.
    pub const CONCURRENCY: &str = "QuorusConcurrency";
    /// The workflow's `compensation_timeout` passed.
    pub const COMPENSATION_TIMEOUT: &str = "QuorusCompensationTimeout";
}
