//! What a plan is.

use std::collections::BTreeMap;

use crate::expr::{Expression, Template};
use crate::plan::Problem;
use crate::{Millis, StepId};

/// A checked definition with defaults filled in and expressions compiled. Immutable; share it in an `Arc`.
#[derive(Debug)]
pub struct Plan {
    /// Namespace of the workflow.
    pub namespace: String,
    /// Name of the workflow.
    pub name: String,
    /// Copied to each run.
    pub labels: BTreeMap<String, String>,
    /// Upper bound of a run.
    pub timeout: Option<Millis>,
    /// In the order of the definition; `steps[i].index == i`.
    pub steps: Vec<PlannedStep>,
    /// What is legal but deserves a look.
    pub warnings: Vec<Problem>,
    pub(crate) output: Option<Template>,
    pub(super) by_id: BTreeMap<StepId, usize>,
}

impl Plan {
    /// The step with this id.
    pub fn step(&self, id: &StepId) -> Option<&PlannedStep> {
        self.index(id).map(|index| &self.steps[index])
    }

    /// The position of the step with this id.
    pub fn index(&self, id: &StepId) -> Option<usize> {
        self.by_id.get(id).copied()
    }
}

/// A vertex of a plan.
#[derive(Debug)]
pub struct PlannedStep {
    /// Id.
    pub id: StepId,
    /// Position in the plan.
    pub index: usize,
    /// Positions of the steps that must end first.
    pub needs: Vec<usize>,
    /// Positions of the steps that need this one, in plan order.
    pub dependents: Vec<usize>,
    /// Length of the longest chain of needs before it.
    pub level: u32,
    /// What it is.
    pub kind: PlannedKind,
    /// Ready to end.
    pub timeout: Option<Millis>,
    /// Free labels, handed to the worker.
    pub labels: BTreeMap<String, String>,
    pub(crate) condition: Option<Expression>,
}

impl PlannedStep {
    /// The CEL source of its condition.
    pub fn condition(&self) -> Option<&str> {
        self.condition.as_ref().map(Expression::source)
    }
}

/// What a step is. Every kind owns its fields.
#[derive(Debug)]
pub enum PlannedKind {
    /// Hands an attempt to a worker.
    Task(Box<PlannedTask>),
    /// Sleeps.
    Wait(PlannedWait),
    /// Computes a value.
    Set(PlannedSet),
}

impl PlannedKind {
    /// `task`, `wait` or `set`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Task(_) => "task",
            Self::Wait(_) => "wait",
            Self::Set(_) => "set",
        }
    }

    /// The task, if it is one.
    pub fn task(&self) -> Option<&PlannedTask> {
        match self {
            Self::Task(task) => Some(task),
            Self::Wait(_) | Self::Set(_) => None,
        }
    }
}

/// A task with its defaults.
#[derive(Debug)]
pub struct PlannedTask {
    /// Function that the worker registered.
    pub task_type: String,
    /// Where it waits.
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
    pub(crate) with: Option<Template>,
}

/// How long a wait step sleeps.
#[derive(Debug)]
pub enum PlannedWait {
    /// For a fixed time.
    For(Millis),
    /// For as long as an expression says.
    ForExpression(PlannedExpression),
    /// Until the RFC 3339 time that a template renders.
    Until(PlannedTemplate),
}

/// A compiled expression.
#[derive(Debug)]
pub struct PlannedExpression(pub(crate) Expression);

/// A compiled template.
#[derive(Debug)]
pub struct PlannedTemplate(pub(crate) Template);

/// A `set` step's template.
pub type PlannedSet = PlannedTemplate;

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
