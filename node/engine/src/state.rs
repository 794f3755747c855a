//! What a run's events add up to: one small head per run and one entry per step, so that a step's cost does not grow with the run.

use crate::{Failure, Millis, OutcomeKind, Payload, Principal, Timestamp, Token, WorkerId};

/// Where a run stands. `Succeeded` and later are final.
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
}

impl RunStatus {
    /// True once nothing can change any more.
    pub fn is_final(self) -> bool {
        self >= Self::Succeeded
    }
}

/// Where a step stands. `Succeeded` and later are final for the generation.
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
}

impl StepStatus {
    /// True once the step has its outcome.
    pub fn is_final(self) -> bool {
        self >= Self::Succeeded
    }
}

/// Why a step was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipCause {
    /// Its condition was false.
    If,
    /// A step that it needs did not succeed.
    Upstream,
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
    /// `steps_ended <= RunInfo::steps_total`.
    pub steps_ended: u32,
    /// Why it is failing or failed.
    pub failure: Option<Failure>,
    /// Who cancelled it, and why.
    pub cancelled_by: Option<(Principal, String)>,
    /// What it returned.
    pub output: Option<Payload>,
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
    /// The evaluated `with`, dropped when the step ends.
    pub input: Option<Payload>,
    /// The current lease.
    pub lease: Option<Lease>,
    /// Holder of the current or last lease.
    pub worker: Option<WorkerId>,
    /// The last checkpoint, dropped when the step ends.
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
}
