//! What happened to a run. Events are the only thing that is replicated; [`crate::fold()`] makes state of them.
//!
//! Invariant: an event carries everything that fold needs, so that fold reads no clock, no randomness and no definition.
//! A changed meaning is a new event kind, never a changed fold.

use std::collections::BTreeMap;

use crate::{
    Approval, AttentionCause, Failure, Millis, OnConflict, Payload, Phase, Principal, RunStatus, RunUid, SignalKey, SkipCause, StepId,
    StepStatus, Timestamp, Token,
};

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
        /// It failed, and the steps that need it go on.
        handled: bool,
        /// There is something that undoes it: its input and checkpoint are kept, and its place in the order of ends.
        undo: bool,
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
        /// What was done is undone.
        compensate: bool,
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
    /// The steps of a group, of an item or of an iteration begin, or a `for_each` or `repeat` begins with its items.
    ScopeStarted {
        /// Which step or item.
        step: StepId,
        /// 1 for the first try.
        attempt: u32,
        /// The evaluated list of a `for_each`.
        input: Option<Payload>,
        /// Number of its items.
        total: u32,
        /// When the step fails unless ended; set only the first time of a generation.
        step_deadline: Option<Timestamp>,
    },
    /// A scope enters another phase. Where it fails, the failure is here; the run itself says so with `RunFailing`.
    PhaseChanged {
        /// Which scope; `None` for the run.
        scope: Option<StepId>,
        /// What it does from here on.
        phase: Phase,
        /// Why it is being stopped.
        failure: Option<Failure>,
        /// When the run's compensation takes too long.
        deadline: Option<Timestamp>,
    },
    /// A container or a child failed, and is tried again as a new generation.
    ScopeRetried {
        /// Which step.
        step: StepId,
        /// Why it failed.
        failure: Failure,
        /// When it begins again.
        retry_at: Timestamp,
    },
    /// A step begins anew: a new generation of it, without anything of the last one but the numbers of its attempts.
    StepReopened {
        /// Which step.
        step: StepId,
        /// Its generation from here on.
        generation: u32,
        /// See [`crate::StepState::epoch`].
        epoch: u32,
    },
    /// A scope that has ended goes on, for the sake of steps in it that begin anew.
    ScopeReopened {
        /// Which scope.
        step: StepId,
    },
    /// A step waits for a signal or for people.
    StepAwaiting {
        /// Which step.
        step: StepId,
        /// When the step fails unless ended.
        step_deadline: Option<Timestamp>,
    },
    /// A signal arrived. Its key is its name and the sequence of this event.
    SignalReceived {
        /// Its name.
        name: String,
        /// What it is recognised by when it is sent again.
        id: String,
        /// What it carries.
        payload: Option<Payload>,
        /// Who sent it.
        principal: Principal,
    },
    /// A step took a signal.
    SignalConsumed {
        /// Which signal.
        signal: SignalKey,
        /// Which step.
        step: StepId,
    },
    /// Somebody approved, or rejected.
    ApprovalRecorded {
        /// Which step.
        step: StepId,
        /// Who, and what they said.
        approval: Approval,
    },
    /// A child run is to be started. From here on the run owes it, see [`crate::Owed`].
    ChildRequested {
        /// Which step.
        step: StepId,
        /// 1 for the first try.
        attempt: u32,
        /// The child's identity, and its request id.
        child: RunUid,
        /// The child's run id.
        run_id: String,
        /// The child's workflow.
        workflow: String,
        /// Its version; `None` for the latest.
        version: Option<u64>,
        /// What it is started with.
        input: Option<Payload>,
        /// When the step fails unless ended; set only the first time of a generation.
        step_deadline: Option<Timestamp>,
    },
    /// The child run was accepted.
    ChildStarted {
        /// Which step.
        step: StepId,
    },
    /// The child run is to be cancelled. From here on the run owes that.
    ChildCancelRequested {
        /// Which step.
        step: StepId,
        /// Why.
        reason: String,
    },
    /// The child run, which succeeded, is to undo what it did. From here on the run owes that. The step is the compensation.
    ChildCompensationRequested {
        /// Which compensation.
        step: StepId,
        /// The child's identity.
        child: RunUid,
        /// The child's run id.
        run_id: String,
    },
    /// The child run ended, or was refused. What follows from it is in the events after it.
    ChildEnded {
        /// Which step.
        step: StepId,
        /// How; a child that was refused failed.
        status: RunStatus,
        /// Why.
        failure: Option<Failure>,
    },
    /// The parent knows how this run ended.
    ParentNotified,
    /// The run waits for a slot of its concurrency key. From here on it owes the request.
    SlotRequested {
        /// The evaluated key.
        key: String,
        /// How many runs may hold the key at a time.
        limit: u32,
        /// What happens if too many do.
        on_conflict: OnConflict,
        /// When it gives up.
        deadline: Option<Timestamp>,
    },
    /// The run got its slot, and begins.
    SlotGranted,
    /// Others may have the slot, or the request for it is withdrawn.
    SlotReleased,
    /// No new attempts from here on.
    RunPaused {
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// Attempts go on.
    RunResumed {
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// The first attempt of a point of no return was leased.
    NoReturnBound {
        /// Which step.
        step: StepId,
    },
    /// Every attempt of a point of no return reported that nothing was done.
    NoReturnLifted {
        /// Which step.
        step: StepId,
    },
    /// The run goes no further by itself.
    AttentionRequested {
        /// What led to it.
        cause: AttentionCause,
        /// The step that it is about.
        step: Option<StepId>,
        /// What went wrong.
        failure: Option<Failure>,
    },
    /// Somebody repairs the run. What it leads to is in the events after it.
    Repaired {
        /// How.
        repair: Repair,
        /// The step that it is about.
        step: Option<StepId>,
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
        /// An approval is passed that was not given.
        overrides: bool,
    },
    /// The run goes on after its end, or after it needed attention.
    RunReopened {
        /// What it does from here on.
        phase: Phase,
        /// When it times out.
        deadline: Option<Timestamp>,
        /// The parent's step that is to hear of the next end; `None` for the one that started the run.
        notify: Option<StepId>,
    },
    /// The run goes on with another version of its workflow.
    RunMigrated {
        /// Version.
        version: u64,
        /// SHA-256 of the definition that the plan is made from.
        digest: [u8; 32],
        /// Number of steps in the plan.
        steps_total: u32,
    },
    /// Somebody wrote something down.
    RunAnnotated {
        /// Who.
        principal: Principal,
        /// What.
        text: String,
    },
    /// A task moved on to the next of its pools.
    PoolChanged {
        /// Which step.
        step: StepId,
        /// Position of the pool.
        pool: u32,
    },
}

/// How somebody repairs a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// Goes on from what failed.
    #[default]
    Retry,
    /// Begins again with a step.
    RestartFrom,
    /// Does without a step.
    Skip,
    /// Undoes what was done.
    Compensate,
    /// Goes on with another version.
    Migrate,
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
    /// The run that started it.
    pub parent: Option<Parent>,
    /// Who started the first of its ancestors, if it has any; else that is `principal`.
    pub root_principal: Option<Principal>,
    /// Versions of the workflows that its steps start, as they were when it was started.
    pub pinned: BTreeMap<String, u64>,
}

impl RunInfo {
    /// The person or service that started all this.
    pub fn starter(&self) -> &Principal {
        self.root_principal.as_ref().unwrap_or(&self.principal)
    }
}

/// The run that started another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parent {
    /// Namespace.
    pub namespace: String,
    /// Run id.
    pub run_id: String,
    /// Identity.
    pub uid: RunUid,
    /// The step that waits for the child.
    pub step: String,
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
            | EventKind::StepEnded { step, .. }
            | EventKind::ScopeStarted { step, .. }
            | EventKind::ScopeRetried { step, .. }
            | EventKind::StepReopened { step, .. }
            | EventKind::ScopeReopened { step }
            | EventKind::StepAwaiting { step, .. }
            | EventKind::SignalConsumed { step, .. }
            | EventKind::ApprovalRecorded { step, .. }
            | EventKind::ChildRequested { step, .. }
            | EventKind::ChildStarted { step }
            | EventKind::ChildCancelRequested { step, .. }
            | EventKind::ChildCompensationRequested { step, .. }
            | EventKind::ChildEnded { step, .. }
            | EventKind::NoReturnBound { step }
            | EventKind::NoReturnLifted { step }
            | EventKind::PoolChanged { step, .. } => Some(step),
            EventKind::PhaseChanged { scope, .. } => scope.as_ref(),
            EventKind::AttentionRequested { step, .. } | EventKind::Repaired { step, .. } => step.as_ref(),
            EventKind::RunStarted(_)
            | EventKind::RunFailing { .. }
            | EventKind::RunCancelRequested { .. }
            | EventKind::RunEnded { .. }
            | EventKind::SignalReceived { .. }
            | EventKind::ParentNotified
            | EventKind::SlotRequested { .. }
            | EventKind::SlotGranted
            | EventKind::SlotReleased
            | EventKind::RunPaused { .. }
            | EventKind::RunResumed { .. }
            | EventKind::RunReopened { .. }
            | EventKind::RunMigrated { .. }
            | EventKind::RunAnnotated { .. } => None,
        }
    }
}

impl EventKind {
    /// Roughly what it takes in the log.
    pub(crate) fn bytes(&self) -> usize {
        let payload = match self {
            Self::RunStarted(info) => Some(&info.input),
            Self::StepQueued { input, .. }
            | Self::StepLeased { input, .. }
            | Self::ScopeStarted { input, .. }
            | Self::ChildRequested { input, .. } => input.as_ref(),
            Self::StepCheckpointed { checkpoint, .. } => Some(checkpoint),
            Self::StepEnded { output, .. } | Self::RunEnded { output, .. } => output.as_ref(),
            Self::SignalReceived { payload, .. } => payload.as_ref(),
            _ => None,
        };
        100 + payload.map_or(0, |payload| payload.data.len())
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
