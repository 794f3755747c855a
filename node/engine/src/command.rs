//! What somebody wants of a run, and what comes back: a decision or a rejection.

use std::sync::Arc;

use crate::{Event, Failure, Outcome, Payload, Plan, Principal, RunInfo, RunStatus, RunUid, StepId, TimerKind, Timestamp, Token, WorkerId};

/// Signals that may wait in a run for a step to take them.
pub const SIGNALS_UNREAD_MAX: u32 = 1_000;

/// What somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Begin. Conflicts between runs of one id are settled before it.
    Start(Box<RunInfo>),
    /// A waiting task met a worker.
    Lease {
        /// Which step.
        step: StepId,
        /// Who has room for it.
        worker: WorkerId,
    },
    /// A worker reports how an attempt ended.
    Complete {
        /// Which attempt.
        attempt: AttemptRef,
        /// How.
        outcome: Outcome,
    },
    /// A worker's progress is to survive.
    Checkpoint {
        /// Which attempt.
        attempt: AttemptRef,
        /// What the next attempt is to receive.
        checkpoint: Payload,
    },
    /// The dispatcher gives an attempt up: the lease expired, or the worker is gone for ever.
    Abandon {
        /// Which attempt.
        attempt: AttemptRef,
        /// Why.
        reason: String,
    },
    /// The dispatcher saw the attempt timeout pass.
    AttemptTimeout {
        /// Which attempt.
        attempt: AttemptRef,
    },
    /// The dispatcher saw no sign of progress for too long.
    HeartbeatTimeout {
        /// Which attempt.
        attempt: AttemptRef,
    },
    /// A waiting task found no room in a limit that says `fail`.
    LimitExceeded {
        /// Which step.
        step: StepId,
        /// Which limit.
        limit: String,
    },
    /// The dispatcher saw a queued step's deadline pass.
    ScheduleTimeout {
        /// Which step.
        step: StepId,
        /// The deadline that passed; another one in the state makes this stale.
        deadline: Timestamp,
    },
    /// A durable timer is due.
    FireTimer {
        /// `None` for the run's own.
        step: Option<StepId>,
        /// Which of its timers.
        kind: TimerKind,
        /// When it was due; another time in the state makes this stale.
        due: Timestamp,
    },
    /// Go on with a fan-out that was too large for one decision.
    Advance,
    /// Stop in order.
    Cancel {
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
        /// Undo what was done.
        compensate: bool,
    },
    /// Stop at once.
    Terminate {
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// Something happened that a step may wait for.
    Signal {
        /// Its name.
        name: String,
        /// A signal with an id that the run has seen changes nothing.
        id: String,
        /// What it carries.
        payload: Option<Payload>,
        /// Who sends it.
        principal: Principal,
    },
    /// A person's word on an approval.
    Approve {
        /// Which step.
        step: StepId,
        /// Yes or no. One no is enough.
        approve: bool,
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// No new attempts.
    Pause {
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// Attempts go on; what expired meanwhile acts.
    Resume {
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// Go on from what failed, or from what was undone.
    Retry {
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// Undo a step and what followed from it, and begin with it again.
    RestartFrom {
        /// Which step.
        step: StepId,
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// Do without a step that waits, or that failed in a run that needs attention.
    Skip {
        /// Which step.
        step: StepId,
        /// What it would have returned.
        output: Option<Payload>,
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// Undo what was done, of a run that is held or has ended.
    Compensate {
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
        /// The parent's step that asks, and is to be told of the end.
        notify: Option<StepId>,
    },
    /// Go on with another version. The last event of the decision is [`crate::EventKind::RunMigrated`]; after it is applied the run is loaded
    /// again with the new plan ([`crate::Run::replan`]), and goes on with [`Command::Advance`].
    Migrate {
        /// Version.
        version: u64,
        /// SHA-256 of its definition.
        digest: [u8; 32],
        /// Its plan.
        plan: PlanRef,
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// Write something down.
    Annotate {
        /// Who.
        principal: Principal,
        /// What.
        text: String,
    },
    /// A child run was accepted, or its compensation has begun.
    ChildStarted {
        /// Which step.
        step: StepId,
        /// Which child.
        child: RunUid,
    },
    /// A child run ended, or its compensation did.
    ChildEnded {
        /// Which step.
        step: StepId,
        /// Which child.
        child: RunUid,
        /// How.
        status: RunStatus,
        /// What it returned.
        output: Option<Payload>,
        /// Why it failed.
        failure: Option<Failure>,
    },
    /// A child run can't be started.
    ChildRefused {
        /// Which step.
        step: StepId,
        /// Which child.
        child: RunUid,
        /// Why.
        failure: Failure,
    },
    /// The parent has taken note of the end.
    ParentNotified,
    /// The run holds its concurrency key.
    SlotGranted,
    /// The run can't have its concurrency key.
    SlotDenied {
        /// Why.
        reason: String,
    },
    /// The keeper of the slots has taken note of the release.
    SlotReleased,
}

/// A plan in a command. Equal only to itself.
#[derive(Clone, Debug)]
pub struct PlanRef(pub Arc<Plan>);

impl PartialEq for PlanRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Names an attempt of a step of the run that a command is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptRef {
    /// Which step.
    pub step: StepId,
    /// Which attempt.
    pub attempt: u32,
    /// Its token.
    pub token: Token,
}

/// What a command leads to. No events: the command was already carried out, or nothing has to change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// In order.
    pub events: Vec<Event>,
}

/// Why a command can't be carried out. Deterministic: an answer, not a fault.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// There is no such run, or it has another uid.
    #[error("the run does not exist")]
    UnknownRun,
    /// A start for a run that exists.
    #[error("the run exists already")]
    RunExists,
    /// The run has ended.
    #[error("the run has ended as {0:?}")]
    RunEnded(crate::RunStatus),
    /// The plan has no such step.
    #[error("the plan has no step {0}")]
    UnknownStep(StepId),
    /// The attempt no longer holds the lease.
    #[error("the attempt no longer holds the lease on step {step}: {why}")]
    StaleLease {
        /// Which step.
        step: StepId,
        /// What is so instead.
        why: String,
    },
    /// The timer or deadline was changed or is gone.
    #[error("the timer is not armed for that time")]
    StaleTimer,
    /// The timer is armed for that time, but the time has not come. It stays armed.
    #[error("the timer is not due before {0}")]
    TimerNotDue(Timestamp),
    /// The step does not wait in its queue.
    #[error("step {0} does not wait for a worker")]
    NotQueued(StepId),
    /// No attempt begins, and no timer acts, before the run is resumed. What expired acts then by itself.
    #[error("the run is paused")]
    Paused,
    /// The run waits for people, and the step would go forward. What was put off happens when they have helped.
    #[error("the run needs attention; step {0} goes on when that is settled")]
    HeldBack(StepId),
    /// The workflow declares its signals, and this is none of them.
    #[error("the workflow knows no signal `{0}`")]
    UnknownSignal(String),
    /// Nobody takes the run's signals.
    #[error("the run has {} signals that no step has taken", crate::SIGNALS_UNREAD_MAX)]
    TooManySignals,
    /// The step does not wait for people.
    #[error("step {0} does not wait for an approval")]
    NotAwaitingApproval(StepId),
    /// None of the person's roles may decide.
    #[error("step {step} wants one of the roles {}", .roles.join(", "))]
    NotAnApprover {
        /// Which step.
        step: StepId,
        /// The roles that may.
        roles: Vec<String>,
    },
    /// Who starts a run may not approve it.
    #[error("step {0} is not to be approved by who started the run")]
    StarterExcluded(StepId),
    /// The person has decided already.
    #[error("{subject} has approved step {step} already")]
    AlreadyApproved {
        /// Which step.
        step: StepId,
        /// Who.
        subject: String,
    },
    /// Nobody vouches for the person.
    #[error("the claims of {0} are not verified, and the cluster does not allow unverified approvals")]
    Unverified(String),
    /// The run has not ended and needs no attention.
    #[error("the run is {0:?}: only a run that has ended or needs attention is repaired like this")]
    RunActive(RunStatus),
    /// There is nothing to go on from.
    #[error("the run is {0:?}: nothing failed and nothing was undone")]
    NothingToRetry(RunStatus),
    /// There is nothing to undo.
    #[error("the run is {0:?}: there is nothing to undo")]
    NothingToCompensate(RunStatus),
    /// The step can't begin anew by itself.
    #[error("a run can't be restarted from step {step}: {why}")]
    CantRestartFrom {
        /// Which step.
        step: StepId,
        /// Why not.
        why: String,
    },
    /// The run is bound by a point of no return.
    #[error("step {0} is a point of no return, and its work has begun")]
    PastNoReturn(StepId),
    /// The step neither waits nor holds up the run.
    #[error("step {step} can't be skipped: it is {}", .status.name())]
    CantSkip {
        /// Which step.
        step: StepId,
        /// Where it stands.
        status: crate::StepStatus,
    },
    /// Steps that were started differ between the versions.
    #[error("the version does not fit to what was done: {}", .0.join("; "))]
    CantMigrate(Vec<String>),
    /// The step has no such child, or it has ended.
    #[error("step {0} does not wait for that child")]
    UnknownChild(StepId),
    /// The run does not wait for a slot, or has none to give back.
    #[error("the run does not wait for that answer")]
    UnexpectedAnswer,
}

/// Everything that a decision reads besides state and command: law 1, time and chance are inputs.
pub struct Context<'a> {
    /// The leader's clock.
    pub now: Timestamp,
    /// Chance, for jitter; recorded through the times that it leads to.
    pub seed: u64,
    /// How long leases live.
    pub lease: crate::Millis,
    /// How long a cancelled attempt may take to stop.
    pub cancel_grace: crate::Millis,
    /// The cluster lets people approve for whom nobody vouches.
    pub allow_unverified: bool,
    /// A run that is started now may not begin by itself: its workflow is paused, or may be. It asks for its slot, also without `concurrency`.
    pub parks: bool,
    /// Workers with room, so that a ready step is scheduled and leased in one decision.
    pub credits: &'a mut dyn Credits,
}

/// Workers with room for one more task.
pub trait Credits {
    /// Takes a credit for a task of this queue, if a worker with room is known. It is spent when the decision commits.
    fn take(&mut self, queue: &str) -> Option<WorkerId>;

    /// The same for a task of a step: the worker must have the labels that it selects, and there must be no limit to wait for.
    fn take_for(&mut self, queue: &str, step: &crate::PlannedStep, task: &crate::PlannedTask) -> Option<WorkerId> {
        let _ = (step, task);
        self.take(queue)
    }
}

/// Nobody has room: every ready step is queued.
pub struct NoCredits;

impl Credits for NoCredits {
    fn take(&mut self, _queue: &str) -> Option<WorkerId> {
        None
    }
}
