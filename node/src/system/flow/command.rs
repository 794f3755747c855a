//! What group 0 is told about flow control, and what it answers.

use quorus_engine::{Principal, RunUid, Timestamp};
use quorus_raft::Index;

use super::{SlotAnswer, SlotConflict, SlotKey, SlotRun};
use crate::limits::LimitSpec;

/// What group 0 is told.
#[derive(Clone, Debug, PartialEq)]
pub enum FlowCommand {
    /// A run wants a slot of its workflow's concurrency key. Asked again, it gets the same answer, or a better one.
    AcquireSlot {
        /// The key.
        key: SlotKey,
        /// How many runs may hold it at a time, at least 1. The last one that asks decides.
        limit: u32,
        /// The run. Its `since` is not looked at.
        run: SlotRun,
        /// What to do when there is no room.
        on_conflict: SlotConflict,
        /// Set if the run has not begun yet: when it was started. While its workflow is paused it is parked then.
        begins: Option<Timestamp>,
    },
    /// A run needs its slot, or its place in line, no more.
    ReleaseSlot {
        /// The run.
        uid: RunUid,
        /// Its claim; an older one than the current releases nothing.
        claim: u64,
    },
    /// Make or replace a limit.
    PutLimit {
        /// The limit.
        limit: LimitSpec,
        /// Who asks.
        principal: Principal,
    },
    /// Delete a limit.
    DeleteLimit {
        /// Its name.
        name: String,
        /// Who asks.
        principal: Principal,
    },
    /// Stop or resume the leasing of a queue's tasks.
    SetQueuePaused {
        /// Which.
        queue: String,
        /// True to stop.
        on: bool,
        /// Who asks.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// Park the runs of a workflow that have not begun, or let them in: a bounded number with each command.
    SetWorkflowPaused {
        /// Namespace.
        namespace: String,
        /// Which.
        workflow: String,
        /// True to park.
        on: bool,
        /// Who asks.
        principal: Principal,
        /// Why.
        reason: String,
    },
    /// Stop or resume the leasing of tasks to a worker.
    SetWorkerDrained {
        /// Its name.
        worker: String,
        /// True to stop.
        on: bool,
        /// Who asks.
        principal: Principal,
        /// Why.
        reason: String,
    },
}

/// What group 0 answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowAnswer {
    /// To the slot commands.
    Slot(SlotAnswer),
    /// To the others.
    Changed {
        /// False if everything was so before.
        changed: bool,
        /// Position of the change.
        revision: Index,
        /// Runs are still parked of a workflow that is not paused: the same command lets the next ones in.
        more: bool,
    },
}
