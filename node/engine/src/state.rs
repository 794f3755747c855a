//! What a run's events add up to: one small head per run and one entry per step, so that a step's cost does not grow with the run.

use crate::{Failure, Millis, OnConflict, OutcomeKind, Parent, Payload, Principal, RunUid, StepId, Timestamp, Token, WorkerId};

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunStatus {
    /// Steps are executed or waited for.
    #[default]
    Running,
    /// A step failed for good; what is executing is being stopped.
    Failing,
    /// Somebody cancelled; what is executing is being stopped.
    Cancelling,
    /// Every step ended well.
    Succeeded,
    /// A step failed for good, or the run timed out.
    Failed,
    /// Cancelled.
    Cancelled,
    /// Stopped at once.
    Terminated,
    /// Waits for a slot of its concurrency key.
    Queued,
    /// What was done is being undone.
    Compensating,
    /// Goes no further before somebody retries, skips, compensates or terminates.
    NeedsAttention,
}

impl RunStatus {
    /// True once nothing can change any more, unless somebody repairs the run.
    pub fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Terminated => true,
            Self::Running | Self::Failing | Self::Cancelling | Self::Queued | Self::Compensating | Self::NeedsAttention => false,
        }
    }
}

/// What a scope does: the run, a group, a `for_each` or `repeat`, an item or an iteration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Its steps are executed.
    #[default]
    Forward,
    /// Its steps have ended well; what only watched is being stopped.
    Closing,
    /// Something failed, or somebody cancelled: what is executing is being stopped.
    Stopping,
    /// Steps that observe the failure are executed.
    Observing,
    /// What was done is being undone.
    Compensating,
    /// What was done is undone.
    Compensated,
    /// The steps of `finally` are executed. Only of a run.
    Finally,
    /// A step and what followed from it are being undone, to be executed again. Only of a run.
    Rewinding,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepStatus {
    /// Waits for the steps that it needs. Such a step has no entry. In a run that has ended, a step without an entry was never
    /// started and shows as cancelled.
    #[default]
    Pending,
    /// Waits in its queue for a worker.
    Queued,
    /// A worker holds the lease.
    Leased,
    /// Sleeps (wait step).
    Waiting,
    /// Sleeps until its next attempt.
    BackingOff,
    /// Ended well.
    Succeeded,
    /// Failed for good.
    Failed,
    /// Not executed.
    Skipped,
    /// Stopped with the run.
    Cancelled,
    /// Its steps, its items or its child run are executed.
    Running,
    /// Waits for a signal or for people.
    Awaiting,
}

impl StepStatus {
    /// True once the step has its outcome for this generation.
    pub fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Skipped | Self::Cancelled => true,
            Self::Pending | Self::Queued | Self::Leased | Self::Waiting | Self::BackingOff | Self::Running | Self::Awaiting => false,
        }
    }
}

/// Why a step was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipCause {
    /// Its condition was false.
    If,
    /// A step that it needs did not succeed, though none failed.
    Upstream,
    /// A step that it needs failed, or was skipped for this cause itself. People see `upstream`.
    UpstreamFailure,
    /// What it was to observe did not happen.
    RunOn,
    /// Somebody decided to do without it.
    Operator,
}

/// Whether what a run did is undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compensation {
    /// Nobody asked for it.
    #[default]
    None,
    /// It is under way, or waits for attention.
    Running,
    /// All of it.
    Completed,
}

/// Why a run goes no further by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttentionCause {
    /// It failed, and its workflow says `on_failure: hold`.
    #[default]
    Hold,
    /// It failed, or somebody cancelled it, after a point of no return.
    NoReturn,
    /// A compensation failed for good.
    CompensationFailed,
    /// The compensation took longer than its timeout.
    CompensationTimeout,
}

/// A run's call for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attention {
    /// What led to it.
    pub cause: AttentionCause,
    /// The step that it is about.
    pub step: Option<StepId>,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// Since when.
    pub since: Timestamp,
}

/// The concurrency key of a run that only waits for its workflow to be resumed: any number of runs may hold it. No evaluated key is empty.
pub const UNBOUNDED_KEY: &str = "";

/// A run's place among those with its concurrency key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlotState {
    /// The evaluated key, or [`UNBOUNDED_KEY`].
    pub key: String,
    /// How many runs may hold it at a time.
    pub limit: u32,
    /// What happens if too many do.
    pub on_conflict: OnConflict,
    /// When the run gives up waiting. A timer, while it waits.
    pub deadline: Option<Timestamp>,
    /// The run holds it.
    pub granted: bool,
    /// Others may have it.
    pub released: bool,
}

/// The version that a run goes on with, instead of the one it was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Version.
    pub version: u64,
    /// SHA-256 of the definition that the plan is made from.
    pub digest: [u8; 32],
    /// Number of steps in the plan.
    pub steps_total: u32,
}

/// The small, changing part of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunHead {
    /// Where it stands.
    pub status: RunStatus,
    /// Number of events folded so far. A decision names the one that it was made on.
    pub seq: u64,
    /// When it started.
    pub started_at: Timestamp,
    /// When it times out: armed as a timer. `None` once the run is being stopped or has ended.
    pub deadline: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Counts steps that have one entry at most, see [`StepId::is_plain`].
    pub steps_ended: u32,
    /// Why it is failing or failed.
    pub failure: Option<Failure>,
    /// Who cancelled it, and why.
    pub cancelled_by: Option<(Principal, String)>,
    /// What it returned.
    pub output: Option<Payload>,
    /// What it does. `Forward` also while it is failing or cancelling and its steps are being stopped.
    pub phase: Phase,
    /// Rises each time that the run goes on after its end, or after it needed attention.
    pub generation: u32,
    /// How often it needed attention.
    pub attentions: u32,
    /// Why it needs attention, while it does.
    pub attention: Option<Attention>,
    /// Who paused it, and why, while it is paused.
    pub paused_by: Option<(Principal, String)>,
    /// A cancelled run undoes what it did.
    pub cancel_compensates: bool,
    /// Whether what it did is undone.
    pub compensation: Compensation,
    /// When the compensation takes too long. A timer.
    pub compensation_deadline: Option<Timestamp>,
    /// The step that the run begins again with, while what followed from it is undone.
    pub rewinds_to: Option<StepId>,
    /// Points of no return that bind the run.
    pub no_return: u32,
    /// Signals that no step has taken.
    pub signals_unread: u32,
    /// Its place among the runs with its concurrency key.
    pub slot: Option<SlotState>,
    /// The run that started it.
    pub parent: Option<Parent>,
    /// The parent's step that is to hear of the next end, if it is not the one that started the run.
    pub notify: Option<StepId>,
    /// The parent knows of the end.
    pub parent_notified: bool,
    /// The version that it goes on with.
    pub migrated: Option<Migrated>,
}

/// Where a step stands.
///
/// Invariants: `lease.is_some() == (status == Leased)`; `due.is_some() == (status is Waiting or BackingOff)`; deadlines are `None` once final.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepState {
    /// Where it stands.
    pub status: StepStatus,
    /// Rises with each recorded repair.
    pub generation: u32,
    /// Number of the current or last attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts that counted against the retry policy: `failures <= attempt`.
    pub failures: u32,
    /// Attempts that ended because the worker was lost or gave the task back.
    pub preemptions: u32,
    /// An ended attempt may have changed the outside world.
    pub in_doubt: bool,
    /// When it became ready.
    pub ready_at: Option<Timestamp>,
    /// When its first attempt was leased.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its queue, once it was queued or leased.
    pub queue: String,
    /// 1 to 5, once it was queued.
    pub priority: u8,
    /// The evaluated `with`, or the list of a `for_each`; dropped when the step ends, unless something may have to undo it.
    pub input: Option<Payload>,
    /// The current lease.
    pub lease: Option<Lease>,
    /// Holder of the current or last lease.
    pub worker: Option<WorkerId>,
    /// The last checkpoint; dropped when the step ends, unless something may have to undo it.
    pub checkpoint: Option<Payload>,
    /// The attempt that wrote the checkpoint; 0 if there is none. `checkpoint_attempt <= attempt`.
    pub checkpoint_attempt: u32,
    /// How its last attempts ended, oldest first, so that a repeated report is recognised. At most [`RecordedOutcome::KEPT_MAX`].
    pub outcomes: Vec<RecordedOutcome>,
    /// When the wait or the back-off ends. A timer.
    pub due: Option<Timestamp>,
    /// When the step times out. A timer.
    pub step_deadline: Option<Timestamp>,
    /// When a queued step times out. Held by the dispatcher, not as a timer.
    pub schedule_deadline: Option<Timestamp>,
    /// When the grace period of a cancelled attempt ends. A timer.
    pub cancel_deadline: Option<Timestamp>,
    /// What it returned.
    pub output: Option<Payload>,
    /// Why it, or its last attempt, failed.
    pub failure: Option<Failure>,
    /// Why it was skipped.
    pub skip: Option<SkipCause>,
    /// It failed, and the steps that need it go on.
    pub handled: bool,
    /// The generation of what it belongs to: of its scope, of the step that it undoes, of the run for `finally`, of the run's attention for
    /// `on_attention`. An entry with another one is left from an earlier generation and counts as none.
    pub epoch: u32,
    /// The sequence of its end, if there is something that undoes it; else 0. Compensations follow the order of these, backwards.
    pub end_seq: u64,
    /// What a container or an item does.
    pub scope: Option<ScopeState>,
    /// The child run, or the one whose compensation this is.
    pub child: Option<Box<ChildState>>,
    /// Who approved.
    pub approvals: Vec<Approval>,
    /// It is a point of no return, and binds the run.
    pub no_return: bool,
    /// Position of the pool that its task waits in.
    pub pool: u32,
    /// Preemptions in the pools before.
    pub pool_preemptions: u32,
}

/// Where a container or an item stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeState {
    /// What it does.
    pub phase: Phase,
    /// Number of items of a `for_each`.
    pub total: u32,
    /// Why it is being stopped; none if it is cancelled from outside.
    pub failure: Option<Failure>,
}

/// Where a child run stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChildState {
    /// Identity, and request id of its start.
    pub uid: RunUid,
    /// Run id, in the namespace of the parent.
    pub run_id: String,
    /// Workflow; empty in a compensation.
    pub workflow: String,
    /// Version; `None` for the latest.
    pub version: Option<u64>,
    /// It was accepted.
    pub started: bool,
    /// Why it is to be cancelled.
    pub cancel: Option<String>,
    /// How it ended.
    pub ended: Option<RunStatus>,
    /// This is the compensation of a child that succeeded.
    pub compensates: bool,
}

/// One person's word.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Approval {
    /// Who. One who is not verified was let pass by the cluster's settings.
    pub principal: Principal,
    /// Yes or no.
    pub approve: bool,
    /// Why.
    pub reason: String,
    /// When.
    pub time: Timestamp,
    /// The definition that they saw. A word on another one does not count.
    pub digest: [u8; 32],
}

/// A signal that a run received.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignalState {
    /// What it is recognised by when it is sent again.
    pub id: String,
    /// What it carries; dropped when it is taken.
    pub payload: Option<Payload>,
    /// Who sent it.
    pub principal: Principal,
    /// When.
    pub received_at: Timestamp,
    /// The step that took it.
    pub consumed_by: Option<StepId>,
}

/// The right to execute an attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lease {
    /// Names it.
    pub token: Token,
    /// When it was granted.
    pub leased_at: Timestamp,
    /// How long it lives without renewal.
    pub duration: Millis,
    /// When the attempt times out. Held by the dispatcher, not as a timer.
    pub attempt_deadline: Option<Timestamp>,
}

/// How an attempt ended, kept to answer the same report in the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordedOutcome {
    /// Which attempt.
    pub attempt: u32,
    /// The token that it held.
    pub token: Token,
    /// How it ended.
    pub kind: OutcomeKind,
}

impl RecordedOutcome {
    /// More than the default policy allows attempts and preemptions together; older ones are answered as stale.
    pub const KEPT_MAX: usize = 16;
}

/// The durable timers, each derived from a field of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKind {
    /// [`RunHead::deadline`].
    RunTimeout,
    /// [`StepState::due`].
    Due,
    /// [`StepState::step_deadline`].
    StepTimeout,
    /// [`StepState::cancel_deadline`].
    CancelGrace,
    /// [`RunHead::compensation_deadline`].
    CompensationTimeout,
    /// [`SlotState::deadline`].
    SlotTimeout,
}
