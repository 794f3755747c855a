//! What a task of a plan is.

use std::collections::BTreeMap;

use crate::Millis;
use crate::expr::Template;

use super::BuiltIn;

/// A task with its defaults.
#[derive(Debug)]
pub struct PlannedTask {
    /// Function that the worker registered.
    pub task_type: String,
    /// Where it waits; the first pool's if there are any.
    pub queue: String,
    /// 1 to 5.
    pub priority: u8,
    /// What to do when an attempt fails.
    pub retry: RetryPolicy,
    /// Lease to end of an attempt.
    pub attempt_timeout: Millis,
    /// Ready to leased.
    pub schedule_timeout: Millis,
    /// Longest silence of the user's code.
    pub heartbeat_timeout: Option<Millis>,
    /// Labels that a worker must have.
    pub selectors: BTreeMap<String, String>,
    /// Queues that are tried one after another. Empty for a task with a single queue.
    pub pools: Vec<PlannedPool>,
    /// Executed by the node itself, if set.
    pub builtin: Option<BuiltIn>,
    /// Names of the secrets that `with` refers to, in order. Nothing else in `with` is replaced.
    pub secrets: Vec<String>,
    pub(crate) with: Option<Template>,
}

/// One of the queues that a task is tried in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPool {
    /// The queue.
    pub queue: String,
    /// After this many preemptions in this pool the next one is tried; in the last pool the step fails.
    pub max_preemptions: u32,
    /// The longest wait for a worker; then the next pool is tried, or the step fails.
    pub max_wait: Millis,
    /// The next pool is tried when no more than this is left of the step's timeout.
    pub move_when_remaining: Option<Millis>,
}

/// A retry policy with its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Counts the first try; at least 1.
    pub max_attempts: u32,
    /// Delay before the second attempt.
    pub initial_interval: Millis,
    /// Growth per attempt; at least 1.
    pub backoff_coefficient: f64,
    /// Cap of the delay.
    pub max_interval: Millis,
    /// Any time between zero and the computed delay, instead of the delay.
    pub jitter: bool,
    /// Failure types for which another attempt can't help.
    pub non_retryable: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_interval: Millis(1_000),
            backoff_coefficient: 2.0,
            max_interval: Millis(60_000),
            jitter: true,
            non_retryable: Vec::new(),
        }
    }
}
