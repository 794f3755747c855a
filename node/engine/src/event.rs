//! What happened to a run. Events are the only thing that is replicated; [`crate::fold()`] makes state of them.
//!
//! Invariant: an event carries everything that fold needs, so that fold reads no clock, no randomness and no definition.
//! A changed meaning is a new event kind, never a changed fold.

use std::collections::BTreeMap;

use crate::{Failure, Millis, Payload, Principal, RunStatus, RunUid, SkipCause, StepId, StepStatus, Timestamp, Token};

/// One recorded fact, with when the leader decided it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The leader's clock at the decision.
    pub time: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// The run was accepted. Always the first event.
    RunStarted(Box<RunInfo>),
    /// A task is ready and waits in its queue: for its first attempt, or again.
    StepQueued {
        /// Which step.
        step: StepId,
        /// The evaluated `with`; set only the first time of a generation.
        input: Option<Payload>,
        /// Its queue.
        queue: String,
        /// 1 to 5.
        priority: u8,
        /// When it fails unless leased.
        schedule_deadline: Option<Timestamp>,
        /// When the step fails unless ended; set only the first time of a generation.
        step_deadline: Option<Timestamp>,
    },
    /// A worker got the lease. On the fast path there was no `StepQueued` before, then `input` and `step_deadline` are here.
    StepLeased {
        /// Which step.
        step: StepId,
        /// 1 for the first.
        attempt: u32,
        /// Equals the sequence of this event.
        token: Token,
        /// Who got it.
        worker: WorkerId,
        /// The queue it came from, or would have waited in.
        queue: String,
        /// 1 to 5.
        priority: u8,
        /// How long it lives without renewal.
        lease: Millis,
        /// The evaluated `with`, if this is the first event of the generation.
        input: Option<Payload>,
        /// When the step fails unless ended, if this is the first event of the generation.
        step_deadline: Option<Timestamp>,
        /// When the attempt times out.
        attempt_deadline: Option<Timestamp>,
    },
    /// A worker's checkpoint is kept for the next attempt.
    StepCheckpointed {
        /// Which step.
        step: StepId,
        /// Which attempt.
        attempt: u32,
        /// The checkpoint.
        checkpoint: Payload,
    },
    /// An attempt ended. What follows from it is in the events after it, or in `retry_at`.
    AttemptEnded {
        /// Which step.
        step: StepId,
        /// Which attempt.
        attempt: u32,
        /// How.
        outcome: Outcome,
        /// When the next attempt is due, if there is one and it has to wait.
        retry_at: Option<Timestamp>,
    },
    /// A wait step sleeps. Or, if `until` is the time of the event: a step is left to the next decision, because this one is large enough.
    StepWaiting {
        /// Which step.
        step: StepId,
        /// Until when.
        until: Timestamp,
        /// When the step fails unless ended.
        step_deadline: Option<Timestamp>,
    },
    /// A leased step was asked to stop; if its worker does not answer by the deadline, its attempt is over.
    StepCancelRequested {
        /// Which step.
        step: StepId,
        /// End of the grace period.
        deadline: Timestamp,
        /// Why, for the worker.
        reason: String,
    },
    /// A step ended: one outcome per generation.
    StepEnded {
        /// Which step.
        step: StepId,
        /// Succeeded, failed, skipped or cancelled.
        status: StepStatus,
        /// What it returned.
        output: Option<Payload>,
        /// Why it failed.
        failure: Option<Failure>,
        /// Why it was skipped.
        skip: Option<SkipCause>,
    },
    /// A step failed for good, or the run timed out; what is executing is asked to stop.
    RunFailing {
        /// Why.
        failure: Failure,
    },
    /// Somebody cancelled the run.
    RunCancelRequested {
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// The run ended: one outcome.
    RunEnded {
        /// Succeeded, failed, cancelled or terminated.
        status: RunStatus,
        /// What it returned.
        output: Option<Payload>,
        /// Why it failed.
        failure: Option<Failure>,
        /// Who terminated it.
        principal: Option<Principal>,
        /// Why they did.
        reason: String,
    },
}

/// What never changes about a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunInfo {
    /// Namespace.
    pub namespace: String,
    /// Id within the namespace; may be reused after the end.
    pub run_id: String,
    /// Identity.
    pub uid: RunUid,
    /// Workflow.
    pub workflow: String,
    /// Version of the workflow.
    pub version: u64,
    /// SHA-256 of the definition that the plan is made from.
    pub digest: [u8; 32],
    /// What it was started with.
    pub input: Payload,
    /// Labels of the workflow and of the start.
    pub labels: BTreeMap<String, String>,
    /// Who started it.
    pub principal: Principal,
    /// Makes a repeated start safe.
    pub request_id: String,
    /// W3C trace context.
    pub traceparent: String,
    /// W3C trace state.
    pub tracestate: String,
    /// Number of steps in the plan.
    pub steps_total: u32,
    /// When the run times out.
    pub deadline: Option<Timestamp>,
    /// How long it is kept after its end, if its definition says so.
    pub retention: Option<Millis>,
}

/// Who holds a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId {
    /// For people.
    pub name: String,
    /// Random, one per process: what a lease is bound to.
    pub incarnation: String,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It worked.
    Succeeded(Option<Payload>),
    /// The worker reported a failure.
    Failed(Failure),
    /// Time ran out; the failure's type says which.
    TimedOut(Failure),
    /// The worker was lost: counts as a preemption.
    Abandoned(String),
    /// The worker gave the task back: counts as a preemption.
    Released(Option<Payload>),
    /// It stopped because it was told to, or its grace period ended.
    Cancelled {
        /// The worker is sure that nothing was changed.
        nothing_done: bool,
    },
}

impl Outcome {
    /// Which of them it is, without what it carries.
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Succeeded(_) => OutcomeKind::Succeeded,
            Self::Failed(_) => OutcomeKind::Failed,
            Self::TimedOut(_) => OutcomeKind::TimedOut,
            Self::Abandoned(_) => OutcomeKind::Abandoned,
            Self::Released(_) => OutcomeKind::Released,
            Self::Cancelled { .. } => OutcomeKind::Cancelled,
        }
    }
}

/// How an attempt ended, as a word. It tells whether a repeated report agrees with the recorded one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutcomeKind {
    /// It worked.
    #[default]
    Succeeded,
    /// The worker reported a failure.
    Failed,
    /// Time ran out.
    TimedOut,
    /// The worker was lost.
    Abandoned,
    /// The worker gave the task back.
    Released,
    /// It stopped because it was told to.
    Cancelled,
}

impl Event {
    /// The step that it is about, if any.
    pub fn step(&self) -> Option<&StepId> {
        match &self.kind {
            EventKind::StepQueued { step, .. }
            | EventKind::StepLeased { step, .. }
            | EventKind::StepCheckpointed { step, .. }
            | EventKind::AttemptEnded { step, .. }
            | EventKind::StepWaiting { step, .. }
            | EventKind::StepCancelRequested { step, .. }
            | EventKind::StepEnded { step, .. } => Some(step),
            EventKind::RunStarted(_) | EventKind::RunFailing { .. } | EventKind::RunCancelRequested { .. } | EventKind::RunEnded { .. } => {
                None
            }
        }
    }
}

impl OutcomeKind {
    /// The word that people see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Abandoned => "abandoned",
            Self::Released => "released",
            Self::Cancelled => "cancelled",
        }
    }
}
