//! A workflow as the engine reads it: the wire message without its wire. Nothing is checked here; [`crate::plan()`] does that.

use std::collections::BTreeMap;

use serde_json::Value;

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
    /// Upper bound of the forward part of the run.
    pub timeout: Option<Millis>,
    /// Upper bound of all compensations together.
    pub compensation_timeout: Option<Millis>,
    /// How long a run is kept after its end.
    pub retention: Option<Millis>,
    /// What happens after a failure that nothing handles.
    pub on_failure: OnFailure,
    /// Bounds how many runs with the same key are active.
    pub concurrency: Option<ConcurrencyDefinition>,
    /// Bounds what attempts may use in all.
    pub budget: Option<Budget>,
    /// JSON Schema of the input.
    pub input_schema: Option<Value>,
    /// JSON Schemas of the signals that a run takes.
    pub signals: BTreeMap<String, Value>,
    /// In plan order.
    pub steps: Vec<StepDefinition>,
    /// Run at the end.
    pub finally: Vec<StepDefinition>,
    /// Run when the run begins to need attention.
    pub on_attention: Vec<StepDefinition>,
    /// Template of the run's output.
    pub output: Option<Value>,
}

/// What happens after a failure that nothing handles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// What was done is undone.
    #[default]
    Compensate,
    /// Nothing is undone: the run needs attention.
    Hold,
}

/// Bounds how many runs with the same key are active, as written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConcurrencyDefinition {
    /// Template of the key.
    pub key: String,
    /// 0 means 1.
    pub limit: u32,
    /// What a start does that finds no room.
    pub on_conflict: OnConflict,
    /// The longest that a run waits for room.
    pub max_wait: Option<Millis>,
}

/// What a start does when its concurrency key has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// It waits for its turn.
    #[default]
    Queue,
    /// It fails.
    Reject,
    /// It cancels the oldest holder.
    Replace,
}

/// Bounds what attempts may use in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    /// The name under which attempts report usage.
    pub unit: String,
    /// How much may be used.
    pub limit: f64,
    /// Over what it is summed.
    pub per: BudgetPer,
    /// True if the run fails when it is used up, instead of being paused.
    pub fail: bool,
}

/// The span over which a budget sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BudgetPer {
    /// Each run by itself.
    #[default]
    Run,
    /// All runs, per hour.
    Hour,
    /// All runs, per day.
    Day,
    /// All runs, per month.
    Month,
}

/// A vertex of the plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepDefinition {
    /// Id.
    pub id: String,
    /// The steps of the same scope that must end first.
    pub needs: Vec<NeedDefinition>,
    /// CEL source of `if`.
    pub condition: Option<String>,
    /// Template of what the executor or the child receives.
    pub with: Option<Value>,
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
    /// After which ends of its needs it runs.
    pub run_on: RunOn,
    /// The failures that the workflow goes on after.
    pub continue_on_error: ErrorMatch,
    /// What undoes it.
    pub compensate: Option<Box<CompensationDefinition>>,
    /// From its first attempt on the run never goes backwards.
    pub point_of_no_return: bool,
    /// Names of limits.
    pub limits: Vec<String>,
    /// JSON Schema of the output.
    pub output_schema: Option<Value>,
}

/// A step that must end first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NeedDefinition {
    /// Its id.
    pub step: String,
    /// The ends that are good enough; empty means the default.
    pub accept: Vec<AcceptedEnd>,
}

impl From<&str> for NeedDefinition {
    fn from(step: &str) -> Self {
        Self { step: step.to_owned(), accept: Vec::new() }
    }
}

impl From<String> for NeedDefinition {
    fn from(step: String) -> Self {
        Self { step, accept: Vec::new() }
    }
}

/// An end of a needed step, as `accept` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AcceptedEnd {
    /// It succeeded.
    Succeeded,
    /// It failed, and that was handled.
    Failed,
    /// It was skipped, for whatever cause.
    Skipped,
}

/// After which ends of its needs a step runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunOn {
    /// All ended as accepted.
    #[default]
    Success,
    /// A direct need failed, timed out, or was blocked by a failure.
    Failure,
    /// All ended, however they did.
    Always,
}

/// Selects failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorMatch {
    /// Every failure.
    pub any: bool,
    /// Failures of these types.
    pub types: Vec<String>,
}

impl ErrorMatch {
    /// True if it selects failures of this type.
    pub fn matches(&self, failure_type: &str) -> bool {
        self.any || self.types.iter().any(|kind| kind == failure_type)
    }
}

/// What undoes a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompensationDefinition {
    /// CEL source of `if`.
    pub condition: Option<String>,
    /// Template of what the executor receives.
    pub with: Option<Value>,
    /// `Task`, `Http`, `Gate` or `Emit`; `None` if the message had no kind.
    pub kind: Option<Kind>,
    /// Its own policy.
    pub retry: Option<RetryDefinition>,
    /// Begin to end.
    pub timeout: Option<Millis>,
    /// Lease to end of an attempt.
    pub attempt_timeout: Option<Millis>,
    /// Ready to leased.
    pub schedule_timeout: Option<Millis>,
    /// Longest silence of the user's code.
    pub heartbeat_timeout: Option<Millis>,
    /// Free labels; empty means those of the step.
    pub labels: BTreeMap<String, String>,
    /// Names of limits.
    pub limits: Vec<String>,
}

/// What a step is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Hands an attempt to a worker.
    Task(TaskDefinition),
    /// Sleeps.
    Wait(Wait),
    /// Computes a value from a template.
    Set(Value),
    /// Calls a URL.
    Http(HttpDefinition),
    /// Waits for a signal.
    Signal(SignalDefinition),
    /// Waits for people.
    Approval(ApprovalDefinition),
    /// Watches metrics.
    Gate(GateDefinition),
    /// A scope.
    Group(GroupDefinition),
    /// Runs its steps for each item.
    ForEach(ForEachDefinition),
    /// Runs its steps until a condition holds.
    Repeat(RepeatDefinition),
    /// Starts a child run.
    Workflow(ChildDefinition),
    /// Sends a CloudEvent.
    Emit(EmitDefinition),
    /// Fails.
    Fail(FailDefinition),
}

/// Hands an attempt to a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskDefinition {
    /// Function that the worker registered.
    pub task_type: String,
    /// Empty means `default`.
    pub queue: String,
    /// 1 to 5; 0 means 3.
    pub priority: i32,
    /// Labels that a worker must have.
    pub selectors: BTreeMap<String, String>,
    /// Queues that are tried one after another.
    pub pools: Vec<PoolDefinition>,
}

/// One of the queues that a task is tried in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolDefinition {
    /// The queue.
    pub queue: String,
    /// 0 means the default.
    pub max_preemptions: u32,
    /// The longest wait for a worker.
    pub max_wait: Option<Millis>,
    /// Moves on when no more than this is left of the step's timeout.
    pub move_when_remaining: Option<Millis>,
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

/// Calls a URL. Texts are templates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpDefinition {
    /// Empty means GET, or POST with a body.
    pub method: String,
    /// Where to.
    pub url: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Template of what is sent.
    pub body: Option<Value>,
    /// Statuses that mean success: `200`, `2xx`.
    pub expect: Vec<String>,
    /// 0 means the default.
    pub max_body_bytes: u64,
    /// Allows private addresses.
    pub allow_private: bool,
    /// True if a request whose answer is unknown is not sent again.
    pub fail_on_crash: bool,
}

/// Waits for a signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalDefinition {
    /// Name of the signal.
    pub name: String,
    /// CEL source of `match`.
    pub matches: Option<String>,
    /// True if signals that came before the step was ready are ignored.
    pub unbuffered: bool,
}

/// Waits for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalDefinition {
    /// Roles of which an approver must have one.
    pub approvers: Vec<String>,
    /// 0 means 1.
    pub required: u32,
    /// The one who started the run can't approve.
    pub exclude_starter: bool,
}

/// Watches metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GateDefinition {
    /// The one query without a name.
    pub query: Option<MetricQuery>,
    /// Queries by name; `None` if the message had neither source.
    pub queries: BTreeMap<String, Option<MetricQuery>>,
    /// CEL source.
    pub condition: String,
    /// CEL source.
    pub fail_if: Option<String>,
    /// How often it looks.
    pub interval: Option<Millis>,
    /// How long the condition must hold.
    pub hold_for: Option<Millis>,
    /// True if a look without data fails the gate.
    pub fail_on_no_data: bool,
}

/// A query of a gate. Texts are templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricQuery {
    /// Asks a Prometheus server.
    Prometheus {
        /// Base URL.
        url: String,
        /// PromQL.
        query: String,
        /// Headers.
        headers: BTreeMap<String, String>,
        /// Allows private addresses.
        allow_private: bool,
    },
    /// Asks any URL.
    Http {
        /// Where to.
        url: String,
        /// Headers.
        headers: BTreeMap<String, String>,
        /// CEL source over `response` that gives a number.
        value: String,
        /// Allows private addresses.
        allow_private: bool,
    },
}

/// A scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupDefinition {
    /// In plan order.
    pub steps: Vec<StepDefinition>,
    /// Template of its output.
    pub output: Option<Value>,
    /// Watched while the steps run.
    pub guard: Option<GuardDefinition>,
}

/// A gate whose condition, false throughout `breach_for`, fails its group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuardDefinition {
    /// What is watched; `None` if the message had none.
    pub gate: Option<GateDefinition>,
    /// How long the condition must be false.
    pub breach_for: Option<Millis>,
}

/// Runs its steps for each item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForEachDefinition {
    /// Template of the items; `None` if the message had none.
    pub items: Option<Value>,
    /// In plan order.
    pub steps: Vec<StepDefinition>,
    /// 0 means the default.
    pub max_parallel: u32,
    /// The least time between the starts of two items.
    pub stagger: Option<Millis>,
    /// How many items may fail.
    pub max_failures: u32,
    /// The same in per cent.
    pub max_failures_percent: Option<f64>,
    /// What becomes of a failed item that is tolerated.
    pub on_item_failure: OnItemFailure,
    /// Template of what is kept of each item.
    pub collect: Option<Value>,
    /// 0 means 1.
    pub compensate_parallel: u32,
}

/// What becomes of a failed item that is tolerated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnItemFailure {
    /// It is kept as a dead letter.
    #[default]
    DeadLetter,
    /// It is only counted.
    Drop,
}

/// Runs its steps until a condition holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RepeatDefinition {
    /// In plan order.
    pub steps: Vec<StepDefinition>,
    /// CEL source.
    pub until: String,
    /// The pause between two iterations.
    pub interval: Option<Millis>,
    /// 0 if the message had none.
    pub max_iterations: u32,
    /// Template of its output.
    pub output: Option<Value>,
}

/// Starts a child run; the step's `with` is its input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChildDefinition {
    /// Name of the workflow.
    pub name: String,
    /// Empty, a number, or `latest`.
    pub version: String,
    /// A failure of the parent undoes a child that succeeded.
    pub compensate_child: bool,
    /// What becomes of a running child when its parent ends.
    pub on_parent_close: OnParentClose,
    /// Template of the step's output.
    pub output: Option<Value>,
}

/// What becomes of a running child when its parent is cancelled or ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnParentClose {
    /// It is cancelled.
    #[default]
    Cancel,
    /// It goes on by itself.
    Abandon,
}

/// Sends a CloudEvent. Texts are templates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmitDefinition {
    /// The event's type.
    pub event_type: String,
    /// Empty means the default.
    pub source: String,
    /// Empty means the run id.
    pub subject: String,
    /// Template of the data.
    pub data: Option<Value>,
    /// Where it is posted to.
    pub sinks: Vec<SinkDefinition>,
    /// The run that gets the data as a signal.
    pub signal: Option<SignalTarget>,
}

/// Takes events over HTTP. Texts are templates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkDefinition {
    /// Where to.
    pub http: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Allows private addresses.
    pub allow_private: bool,
}

/// A run that gets a signal. Texts are templates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignalTarget {
    /// Id of the run.
    pub run_id: String,
    /// Name of the signal.
    pub name: String,
    /// Starts a run first, if there is none.
    pub start: bool,
    /// The workflow of a run that is started.
    pub workflow: String,
    /// Template of the input of a run that is started.
    pub input: Option<Value>,
}

/// Fails with an error of its own. Texts are templates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailDefinition {
    /// Empty means `Failed`.
    pub failure_type: String,
    /// For people.
    pub message: String,
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
