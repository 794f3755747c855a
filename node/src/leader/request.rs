//! What is asked of a run's actor, and how it answers.
//!
//! Invariant: every request is answered exactly once. One that is dropped with its actor (leadership lost, process stopping) answers
//! [`Refusal::OutcomeUnknown`] by itself, since its events may or may not commit.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use quorus_engine::{Command, Rejection, RunInfo, RunUid, StepId, Token};
use tokio::sync::OwnedSemaphorePermit;

use crate::dispatch::{ReservedCredit, SessionKey};

/// Names the place of a run: at any time at most one run that has not ended has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Run id.
    pub run_id: Arc<str>,
}

impl RunKey {
    /// Names a run.
    pub fn new(namespace: &str, run_id: &str) -> Self {
        Self { namespace: namespace.into(), run_id: run_id.into() }
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.run_id)
    }
}

/// A message to a run's actor.
pub struct Request {
    /// If set, only a run with this uid is meant.
    pub uid: Option<RunUid>,
    /// What is wanted.
    pub ask: Ask,
    /// Room for a task, reserved for a `Lease` command.
    pub credit: Option<ReservedCredit>,
    /// Where the answer goes.
    pub reply: Reply,
    /// Room in the node, given back when the request is answered.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// What is wanted of a run.
pub enum Ask {
    /// Begin, after conflicts with an earlier run of the same key are settled.
    Start(Box<StartAsk>),
    /// Begin and end at once, so that a start of the same request that comes later finds a run that has ended.
    Bury(Box<StartAsk>),
    /// A command for the current run.
    Command(Command),
    /// The same, of a request that may be repeated: carried out once.
    Change {
        /// Names it among the requests for the run, see [`crate::store::id_of_change`].
        request_id: String,
        /// What is to be done.
        command: Command,
    },
    /// Push the task of a lease again, to a session of the same worker incarnation that does not have it.
    Redeliver {
        /// Which step.
        step: StepId,
        /// Which lease.
        token: Token,
        /// Where the worker is now.
        session: SessionKey,
    },
}

/// A start with what is needed to settle conflicts and to store the definition.
pub struct StartAsk {
    /// The run to be.
    pub info: RunInfo,
    /// Encoded workflow that the digest in `info` names.
    pub definition: Bytes,
    /// When a run of this key is going on.
    pub on_conflict: OnConflict,
    /// When a run of this key has ended.
    pub on_reuse: OnReuse,
}

/// What to do when a run of the key is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Refuse.
    Reject,
    /// Answer with it.
    UseExisting,
    /// Terminate it first.
    TerminateExisting,
}

/// What to do when a run of the key has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReuse {
    /// Start.
    Allow,
    /// Start unless it succeeded.
    AllowIfFailed,
    /// Refuse.
    Reject,
}

/// What a carried out request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The run that it was about.
    pub uid: RunUid,
    /// It was not this request that started or changed the run, but an earlier copy of it.
    pub existing: bool,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// The engine says no: deterministic, an answer.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// This node does not lead the run's shard (any more).
    #[error("this node does not lead shard {shard}")]
    NotLeader {
        /// Which shard.
        shard: u32,
    },
    /// The leadership ended in the middle: it may have been carried out.
    #[error("the outcome is unknown, since the shard's leadership changed in the middle; ask again with the same request id")]
    OutcomeUnknown,
    /// The run can't be read or planned.
    #[error("the run's stored state can't be used: {0}")]
    Broken(String),
}

type Callback = Box<dyn FnOnce(Result<Answer, Refusal>) + Send>;

/// Where an answer goes; called exactly once, at the latest when dropped.
pub struct Reply(Option<Callback>);

impl Reply {
    /// Calls `callback` with the answer.
    pub fn new(callback: impl FnOnce(Result<Answer, Refusal>) + Send + 'static) -> Self {
        Self(Some(Box::new(callback)))
    }

    /// Nobody waits.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// Answers.
    pub fn send(mut self, answer: Result<Answer, Refusal>) {
        if let Some(callback) = self.0.take() {
            callback(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback(Err(Refusal::OutcomeUnknown));
        }
    }
}
