//! Who wants to know what was applied: watch streams, and whoever waits for a run's end.

use quorus_engine::{RunStatus, RunUid};
use quorus_raft::{GroupId, Index};

/// A run got new events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunChange {
    /// Namespace of the run.
    pub namespace: String,
    /// Id of the run.
    pub run_id: String,
    /// The run.
    pub uid: RunUid,
    /// Sequence of the first new event.
    pub first_seq: u64,
    /// Sequence of the last new event.
    pub last_seq: u64,
    /// How the run ended, once it has.
    pub final_status: Option<RunStatus>,
}

/// Hears what was applied, after it is readable. Called on the group's apply path, so it must be quick and must not block.
pub trait AppliedSink: Send + 'static {
    /// The state is that of `index`; these runs changed since the last call, in order.
    fn applied(&mut self, group: GroupId, index: Index, changes: Vec<RunChange>);

    /// The state was replaced as a whole (a snapshot, or the group was opened again): changes were skipped, look again.
    fn restored(&mut self, group: GroupId);
}

/// For whoever does not want to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSink;

impl AppliedSink for NoSink {
    fn applied(&mut self, _group: GroupId, _index: Index, _changes: Vec<RunChange>) {}

    fn restored(&mut self, _group: GroupId) {}
}
