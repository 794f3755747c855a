//! What a plan is.

use std::collections::BTreeMap;

use crate::expr::{Expression, Template};
use crate::plan::Problem;
use crate::{Budget, ErrorMatch, Millis, OnConflict, OnFailure, OnItemFailure, OnParentClose, RunOn, StepId};

use super::{PlannedTask, RetryPolicy};

/// A checked definition with defaults filled in and expressions compiled. Immutable; share it in an `Arc`.
///
/// `steps` is flat: each step is followed by what belongs to it (a group's guard, the body of a container, its compensation), so that the
/// order of the list is the plan order. Who is in which scope is in `parent`, `body`, and the lists of the plan itself.
#[derive(Debug)]
pub struct Plan {
    /// Namespace of the workflow.
    pub namespace: String,
    /// Name of the workflow.
    pub name: String,
    /// Copied to each run.
    pub labels: BTreeMap<String, String>,
    /// Upper bound of the forward part of a run.
    pub timeout: Option<Millis>,
    /// Upper bound of all compensations of a run together.
    pub compensation_timeout: Option<Millis>,
    /// How long a run is kept after its end; `None` means the cluster's setting.
    pub retention: Option<Millis>,
    /// What happens after a failure that nothing handles.
    pub on_failure: OnFailure,
    /// Bounds how many runs with the same key are active.
    pub concurrency: Option<PlannedConcurrency>,
    /// Bounds what attempts may use in all.
    pub budget: Option<Budget>,
    /// JSON Schema of the input.
    pub input_schema: Option<serde_json::Value>,
    /// The signals that a run takes, with the schemas of their payloads; if there are any, others are refused.
    pub signals: BTreeMap<String, serde_json::Value>,
    /// In plan order; `steps[i].index == i`.
    pub steps: Vec<PlannedStep>,
    /// The steps of the run's own scope, in plan order.
    pub body: Vec<usize>,
    /// The steps that run at the end, in plan order.
    pub finally: Vec<usize>,
    /// The steps that run when the run begins to need attention, in plan order.
    pub on_attention: Vec<usize>,
    /// What is legal but deserves a look.
    pub warnings: Vec<Problem>,
    pub(crate) output: Option<Template>,
    pub(super) by_id: BTreeMap<StepId, usize>,
}

impl Plan {
    /// The step with this id. Derived steps have ids, too: `<step>:compensate` and `<group>:guard`.
    pub fn step(&self, id: &StepId) -> Option<&PlannedStep> {
        self.index(id).map(|index| &self.steps[index])
    }

    /// The position of the step with this id.
    pub fn index(&self, id: &StepId) -> Option<usize> {
        self.by_id.get(id).copied()
    }
}

/// Bounds how many runs with the same key are active.
#[derive(Debug)]
pub struct PlannedConcurrency {
    /// Renders to a text; it reads nothing but `input` and `run`.
    pub key: PlannedTemplate,
    /// At least 1.
    pub limit: u32,
    /// What a start does that finds no room.
    pub on_conflict: OnConflict,
    /// The longest that a run waits for room.
    pub max_wait: Option<Millis>,
}

/// A vertex of a plan.
#[derive(Debug)]
pub struct PlannedStep {
    /// Id: unique in the plan.
    pub id: StepId,
    /// Position in the plan.
    pub index: usize,
    /// Where it is in the definition: `spec.steps[2].group.steps[0]`.
    pub path: String,
    /// Position of the container in whose scope it is; `None` in the scopes of the run itself. A derived step is where its step is.
    pub parent: Option<usize>,
    /// What it is there for.
    pub role: Role,
    /// Of a container, the positions of the steps of its scope, in plan order. Empty for all others.
    pub body: Vec<usize>,
    /// The steps of the same scope that must end first.
    pub needs: Vec<PlannedNeed>,
    /// Positions of the steps that need this one, in plan order.
    pub dependents: Vec<usize>,
    /// Length of the longest chain of needs before it, in its scope.
    pub level: u32,
    /// What it is.
    pub kind: PlannedKind,
    /// Of a container or a child, what to do when it fails. Tasks have their own in [`PlannedTask::retry`].
    pub retry: Option<RetryPolicy>,
    /// Ready to end.
    pub timeout: Option<Millis>,
    /// After which ends of its needs it runs.
    pub run_on: RunOn,
    /// The failures that the scope goes on after.
    pub continue_on_error: ErrorMatch,
    /// From its first attempt on the run never goes backwards.
    pub point_of_no_return: bool,
    /// Position of what undoes it.
    pub compensation: Option<usize>,
    /// Names of limits that attempts count against.
    pub limits: Vec<String>,
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

/// What a step of a plan is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Part of the forward work of its scope.
    Body,
    /// Runs at the end of the run; so do the steps inside of it.
    Finally,
    /// Runs when the run begins to need attention; so do the steps inside of it.
    OnAttention,
    /// Undoes a step. Never waits for needs: it is begun when the scope unwinds.
    Compensation {
        /// Position of the step.
        of: usize,
    },
    /// Watches a group. It is begun with the group, never succeeds, and is stopped when the group's steps have ended.
    Guard {
        /// Position of the group.
        of: usize,
    },
}

impl Role {
    /// The word that people see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Finally => "finally",
            Self::OnAttention => "on_attention",
            Self::Compensation { .. } => "compensation",
            Self::Guard { .. } => "guard",
        }
    }
}

/// A step that must end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedNeed {
    /// Position in the plan, in the same scope.
    pub index: usize,
    /// The ends that are good enough.
    pub accept: Accept,
}

/// The ends of a need that are good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// It succeeded.
    pub succeeded: bool,
    /// It failed, and its `continue_on_error` handled that.
    pub failed: bool,
    /// It was skipped by its own condition or by an operator.
    pub skipped: bool,
    /// It was skipped because of `run_on` or of what happened before it.
    pub skipped_upstream: bool,
}

impl Default for Accept {
    /// The short form.
    fn default() -> Self {
        Self { succeeded: true, failed: true, skipped: true, skipped_upstream: false }
    }
}

/// What a step is. Every kind owns its fields.
#[derive(Debug)]
pub enum PlannedKind {
    /// Hands an attempt to a worker, or to the node itself.
    Task(Box<PlannedTask>),
    /// Sleeps.
    Wait(PlannedWait),
    /// Computes a value.
    Set(PlannedSet),
    /// Waits for a signal.
    Signal(PlannedSignal),
    /// Waits for people.
    Approval(PlannedApproval),
    /// A scope.
    Group(PlannedGroup),
    /// A scope per item.
    ForEach(Box<PlannedForEach>),
    /// A scope per iteration.
    Repeat(PlannedRepeat),
    /// Starts a child run.
    Workflow(PlannedChild),
    /// Fails.
    Fail(PlannedFail),
}

impl PlannedKind {
    /// The kind as definitions call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Task(task) => task.builtin.map_or("task", super::BuiltIn::kind),
            Self::Wait(_) => "wait",
            Self::Set(_) => "set",
            Self::Signal(_) => "signal",
            Self::Approval(_) => "approval",
            Self::Group(_) => "group",
            Self::ForEach(_) => "for_each",
            Self::Repeat(_) => "repeat",
            Self::Workflow(_) => "workflow",
            Self::Fail(_) => "fail",
        }
    }

    /// The task, if it is one.
    pub fn task(&self) -> Option<&PlannedTask> {
        match self {
            Self::Task(task) => Some(task),
            Self::Wait(_)
            | Self::Set(_)
            | Self::Signal(_)
            | Self::Approval(_)
            | Self::Group(_)
            | Self::ForEach(_)
            | Self::Repeat(_)
            | Self::Workflow(_)
            | Self::Fail(_) => None,
        }
    }

    /// True if it has a scope of its own with steps in it.
    pub fn is_container(&self) -> bool {
        matches!(self, Self::Group(_) | Self::ForEach(_) | Self::Repeat(_))
    }
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

/// Waits for a signal. Its payload is the output.
#[derive(Debug)]
pub struct PlannedSignal {
    /// Name of the signal.
    pub name: String,
    /// Must be true, with the root `signal`, for the signal to be taken.
    pub matches: Option<PlannedExpression>,
    /// False if signals that came before the step was ready are ignored.
    pub buffered: bool,
}

/// Waits for people.
#[derive(Debug)]
pub struct PlannedApproval {
    /// Roles of which an approver must have one.
    pub approvers: Vec<String>,
    /// How many different people must approve; at least 1.
    pub required: u32,
    /// The one who started the root run can't approve.
    pub exclude_starter: bool,
}

/// A scope.
#[derive(Debug)]
pub struct PlannedGroup {
    /// What it returns; evaluated as if at the end of its scope, so it reads the steps inside.
    pub output: Option<PlannedTemplate>,
    /// Position of the guard.
    pub guard: Option<usize>,
}

/// A scope per item.
#[derive(Debug)]
pub struct PlannedForEach {
    /// Renders to the list of items.
    pub items: PlannedTemplate,
    /// How many items run at a time; at least 1.
    pub max_parallel: u32,
    /// The least time between the starts of two items.
    pub stagger: Option<Millis>,
    /// How many items may fail.
    pub tolerance: Tolerance,
    /// What becomes of a failed item that is tolerated.
    pub on_item_failure: OnItemFailure,
    /// What is kept of an item that succeeded; evaluated as if at the end of the item's scope.
    pub collect: Option<PlannedTemplate>,
    /// How many items are undone at a time; at least 1.
    pub compensate_parallel: u32,
}

/// How many items may fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// This many.
    Items(u32),
    /// This many per cent of all.
    Percent(f64),
}

impl Tolerance {
    /// True if a step with this many items goes on although these failed.
    pub fn allows(self, failed: u64, total: u64) -> bool {
        match self {
            Self::Items(items) => failed <= u64::from(items),
            Self::Percent(percent) => failed as f64 * 100.0 <= percent * total as f64,
        }
    }
}

/// A scope per iteration.
#[derive(Debug)]
pub struct PlannedRepeat {
    /// Evaluated at the end of each iteration's scope.
    pub until: PlannedExpression,
    /// The pause between two iterations.
    pub interval: Option<Millis>,
    /// At least 1; after this many the step fails.
    pub max_iterations: u32,
    /// What it returns; evaluated as if at the end of the last iteration's scope.
    pub output: Option<PlannedTemplate>,
}

/// Starts a child run.
#[derive(Debug)]
pub struct PlannedChild {
    /// Name of the workflow.
    pub name: String,
    /// Which version of it.
    pub version: ChildVersion,
    /// What it is started with.
    pub input: Option<PlannedTemplate>,
    /// What becomes of a running child when its parent ends.
    pub on_parent_close: OnParentClose,
    /// A failure of the parent undoes a child that succeeded.
    pub compensate_child: bool,
    /// The step's output, with the root `self` for the child's; `None` means the child's output as it is.
    pub output: Option<PlannedTemplate>,
}

/// Which version of a workflow a child runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildVersion {
    /// The latest when the parent was started.
    Pinned,
    /// The latest when the child is started.
    Latest,
    /// This one.
    Number(u64),
}

/// Fails.
#[derive(Debug)]
pub struct PlannedFail {
    /// Renders to the failure's type.
    pub failure_type: PlannedTemplate,
    /// Renders to its message.
    pub message: PlannedTemplate,
}

/// A compiled expression.
#[derive(Debug)]
pub struct PlannedExpression(pub(crate) Expression);

impl PlannedExpression {
    /// The CEL source.
    pub fn source(&self) -> &str {
        self.0.source()
    }
}

/// A compiled template.
#[derive(Debug)]
pub struct PlannedTemplate(pub(crate) Template);

/// A `set` step's template.
pub type PlannedSet = PlannedTemplate;
