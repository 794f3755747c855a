//! What clients asked, and what they were told.

use serde::{Deserialize, Serialize};

/// One call of a client, from its invocation to what the client knows about its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Unique in an experiment, rising with the invocations.
    pub id: u64,
    /// Which client. One client has one call at a time; after [`Ending::Info`] its name is not used again.
    pub client: String,
    /// What it asked for.
    pub call: Call,
    /// When.
    pub invoked_us: u64,
    /// When it knew; none while it waits.
    pub ended_us: Option<u64>,
    /// What it knew; none while it waits, which counts as [`Ending::Info`].
    pub ending: Option<Ending>,
}

/// What a client asks for. Repeating a call under the same request id is one operation with several tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Call {
    /// Starts a run.
    Start {
        /// Its id.
        run_id: String,
        /// Makes the start idempotent.
        request_id: String,
        /// Name of the [`crate::record::Shape`].
        workflow: String,
        /// [`quorus_client::content_digest`] of the input.
        input_sha256: String,
        /// True if it was sent more than once, to different nodes.
        retried: bool,
    },
    /// Sends a signal.
    Signal {
        /// To which run.
        run_id: String,
        /// Its name.
        signal: String,
        /// Makes it idempotent.
        signal_id: String,
    },
    /// Approves or rejects.
    Approve {
        /// Which run.
        run_id: String,
        /// Which step.
        step: String,
        /// Who.
        subject: String,
        /// False rejects.
        approve: bool,
    },
    /// Cancels a run.
    Cancel {
        /// Which.
        run_id: String,
    },
    /// Terminates a run.
    Terminate {
        /// Which.
        run_id: String,
    },
    /// Pauses a run.
    Pause {
        /// Which.
        run_id: String,
    },
    /// Resumes a run.
    Resume {
        /// Which.
        run_id: String,
    },
    /// Reads a run.
    Get {
        /// Which.
        run_id: String,
        /// True if a stale answer was asked for.
        stale: bool,
    },
    /// A late or a repeated outcome of an attempt, sent by a worker that misbehaves on purpose.
    Complete {
        /// Which run.
        run_uid: String,
        /// Which step.
        step: String,
        /// Which attempt.
        attempt: u32,
        /// Its token.
        token: u64,
        /// True if the outcome had been sent and acknowledged before.
        repeated: bool,
        /// True if the lease had run out before.
        late: bool,
    },
}

/// What a client knows about the end of its call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Ending {
    /// It was done.
    Ok(Answer),
    /// It was refused for good, and did nothing.
    Fail {
        /// The reason code.
        reason: String,
    },
    /// Nobody knows: a timeout, a broken connection. It may have been done, or may be done later.
    Info {
        /// What was seen.
        what: String,
    },
}

/// What a call that was done returned. Fields that don't belong to the call are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The run, never reused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run_uid: String,
    /// `RUN_STATUS_…` of the run as the answer showed it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// How many events the run had.
    #[serde(default)]
    pub sequence: u64,
    /// The run's shard.
    #[serde(default)]
    pub shard: u32,
    /// Of a completion: whether it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<bool>,
}

impl Call {
    /// The run that it is about: its id, or its uid where the caller knows only that.
    pub fn run(&self) -> &str {
        match self {
            Self::Start { run_id, .. }
            | Self::Signal { run_id, .. }
            | Self::Approve { run_id, .. }
            | Self::Cancel { run_id }
            | Self::Terminate { run_id }
            | Self::Pause { run_id }
            | Self::Resume { run_id }
            | Self::Get { run_id, .. } => run_id,
            Self::Complete { run_uid, .. } => run_uid,
        }
    }
}
