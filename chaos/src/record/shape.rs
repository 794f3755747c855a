//! What a workflow of a workload promises, in terms that a checker can compare with what happened.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A workflow as its maker means it. The checker never reads definitions: it must not share the reader's mistakes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Name of the workflow.
    pub workflow: String,
    /// Its steps, those of scopes under paths such as `fan[].a`, where `[]` stands for any number.
    pub steps: Vec<StepShape>,
    /// What must come out, as far as it was foreseen: by run input when that matters, else under "".
    pub predictions: BTreeMap<String, Prediction>,
}

/// A step as its maker means it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepShape {
    /// Its path.
    pub step: String,
    /// `task`, `wait`, `signal`, `workflow`, ...
    pub kind: String,
    /// Path of the group that it is in: unlike items, groups don't show in the paths of their steps. Empty if it is in none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub within: String,
    /// Paths of the steps that must have ended before it begins: siblings that it needs, nothing else.
    pub needs: Vec<String>,
    /// True if it has a compensation.
    pub compensated: bool,
    /// Attempts of a generation, at most; 0 means no bound.
    pub attempts_max: u32,
    /// Shortest pause before another attempt, in milliseconds.
    pub retry_after_ms: u64,
    /// Of a wait: how long, in milliseconds.
    pub wait_ms: u64,
}

/// What must come out of a run that nobody cancels, terminates or repairs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// `RUN_STATUS_…`; empty if it can't be foreseen.
    pub status: String,
    /// `STEP_STATUS_…` of steps that can be foreseen, by their real path.
    pub steps: BTreeMap<String, String>,
    /// Failed attempts that the worker reports on purpose, by the step's real path.
    pub failures: BTreeMap<String, u32>,
}
