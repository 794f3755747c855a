//! A workflow as the engine reads it: the wire message without its wire. Nothing is checked here; [`crate::plan()`] does that.

use std::collections::BTreeMap;

use crate::Millis;

/// What a run does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Copied to each run.
    pub labels: BTreeMap<String, String>,
    /// Upper bound of the run.
    pub timeout: Option<Millis>,
    /// In plan order.
    pub steps: Vec<StepDefinition>,
    /// Template of the run's output.
    pub output: Option<serde_json::Value>,
}

/// A vertex of the plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepDefinition {
    /// Id.
    pub id: String,
    /// Ids of the steps that must end first.
    pub needs: Vec<String>,
    /// CEL source of `if`.
    pub condition: Option<String>,
    /// Template of what the executor receives.
    pub with: Option<serde_json::Value>,
    /// What it is; `None` if the message had no kind.
    pub kind: Option<Kind>,
    /// As written; defaults are filled in by the plan.
    pub retry: Option<RetryDefinition>,
    /// Ready to end.
    pub timeout: Option<Millis>,
    /// Lease to end of an attempt.
    pub attempt_timeout: Option<Millis>,
    /// Ready to leased.
    pub schedule_timeout: Option<Millis>,
    /// Longest silence of the user's code.
    pub heartbeat_timeout: Option<Millis>,
    /// Free labels, handed to the worker.
    pub labels: BTreeMap<String, String>,
}

/// What a step is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Hands an attempt to a worker.
    Task {
        /// Function that the worker registered.
        task_type: String,
        /// Empty means `default`.
        queue: String,
        /// 1 to 5; 0 means 3.
        priority: i32,
    },
    /// Sleeps.
    Wait(Wait),
    /// Computes a value from a template.
    Set(serde_json::Value),
}

/// How long a wait step sleeps.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// For a fixed time.
    For(Millis),
    /// For as long as this CEL source says (a value such as `90s`).
    ForExpression(String),
    /// Until an RFC 3339 time, or `${...}` with one as value.
    Until(String),
    /// The message had neither.
    Missing,
}

/// A retry policy as written: zero and empty mean the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetryDefinition {
    /// Counts the first try.
    pub max_attempts: i32,
    /// Delay before the second attempt.
    pub initial_interval: Option<Millis>,
    /// Growth per attempt.
    pub backoff_coefficient: f64,
    /// Cap of the delay.
    pub max_interval: Option<Millis>,
    /// False only if the definition says `jitter: none`.
    pub jitter_none: bool,
    /// Failure types for which another attempt can't help.
    pub non_retryable: Vec<String>,
}
