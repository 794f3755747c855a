//! A concurrency key of a workflow, and where a run stands with it.

use quorus_engine::{RunUid, Timestamp};

/// What at most `limit` runs may hold at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotKey {
    /// The runs' namespace.
    pub namespace: String,
    /// Their workflow.
    pub workflow: String,
    /// The evaluated key.
    pub key: String,
}

/// A run that holds a key or waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRun {
    /// The run.
    pub uid: RunUid,
    /// Its id.
    pub run_id: String,
    /// The shard that owns it.
    pub shard: u32,
    /// Rises each time that the run asks anew, after it had released.
    pub claim: u64,
    /// Since when it stands where it stands.
    pub since: Timestamp,
}

/// What to do when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotConflict {
    /// Wait in line.
    Queue,
    /// Refuse.
    Reject,
    /// Wait in line, and tell which runs have to go.
    Replace,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotStatus {
    /// It has a slot, until it releases it.
    Held,
    /// It waits in line.
    Waiting,
    /// There was no room, and it did not want to wait. Final for this claim.
    Refused,
    /// It gave its slot back, perhaps before it asked. Final for this claim.
    Released,
    /// It waits for the end of its workflow's pause, and stands in no line yet.
    Parked,
}

impl SlotStatus {
    /// It has a place that it will have to give back.
    pub(super) fn is_live(self) -> bool {
        matches!(self, Self::Held | Self::Waiting | Self::Parked)
    }
}

/// The answer to a slot command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotAnswer {
    /// Where the run stands.
    pub status: SlotStatus,
    /// Runs that have to go before this one gets its slot, oldest first; only for [`SlotConflict::Replace`].
    /// At most [`super::slots::REPLACED_MAX`].
    pub replaces: Vec<SlotRun>,
}

/// Where a run stands, as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotStanding {
    /// The key.
    pub key: SlotKey,
    /// The run.
    pub run: SlotRun,
    /// Where it stands.
    pub status: SlotStatus,
    /// While it waits: how many stand before it in line.
    pub ahead: u64,
}

/// A key that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotUse {
    /// The key.
    pub key: SlotKey,
    /// How many may hold it.
    pub limit: u32,
    /// How many do.
    pub held: u64,
    /// How many wait.
    pub waiting: u64,
}
