//! What somebody wants of a run, and what comes back: a decision or a rejection.

use crate::{Event, Outcome, Payload, Principal, RunInfo, StepId, TimerKind, Timestamp, Token, WorkerId};

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
    },
    /// Stop at once.
    Terminate {
        /// Who.
        principal: Principal,
        /// Why.
        reason: String,
    },
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
