//! How a host behaves. The same on every node of a cluster, except for the node id.

use std::time::Duration;

use crate::NodeId;

/// Who writes the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterMode {
    /// A thread of its own, since an fsync blocks. In life.
    Thread,
    /// A tokio task. In simulation, where everything runs on one thread and the disk never blocks.
    Task,
}

/// How a host behaves.
///
/// `heartbeat < election_min < election_max` always; an append must be written and answered within `election_min`, or followers stand for election.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub node_id: NodeId,
    /// Random, made at bootstrap. Calls of another cluster are refused.
    pub cluster_id: String,
    /// Interval of a leader's sign of life.
    pub heartbeat: Duration,
    /// A follower that heard nothing waits at least so long, on top of the lease of `election_max`.
    pub election_min: Duration,
    /// Upper end of the random wait, and the lease that a follower grants to its leader. A narrow window makes failover fast.
    pub election_max: Duration,
    /// A group describes a snapshot after so many entries; what is older may be purged.
    pub snapshot_every: u64,
    /// So many entries stay in the log after a snapshot, for followers that are a bit behind.
    pub keep_logs: u64,
    /// Entries of one append, at most.
    pub append_entries_max: u64,
    /// Bytes of the entries of one append, about.
    pub append_bytes_max: usize,
    /// Recent entries of each group are kept in memory up to so many bytes, so that replication and apply don't read the disk.
    pub log_cache_bytes: usize,
    /// Snapshots that are sent, and that are received, at the same time.
    pub snapshots_at_once: usize,
    /// A snapshot that takes longer is given up.
    pub snapshot_timeout: Duration,
    /// How long [`crate::Group::read_barrier`] tries.
    pub read_timeout: Duration,
    /// Who writes the log.
    pub writer: WriterMode,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_id: 1,
            cluster_id: String::new(),
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(450),
            snapshot_every: 20_000,
            keep_logs: 20_000,
            append_entries_max: 4096,
            append_bytes_max: 1 << 20,
            log_cache_bytes: 2 << 20,
            snapshots_at_once: 2,
            snapshot_timeout: Duration::from_secs(600),
            read_timeout: Duration::from_secs(5),
            writer: WriterMode::Thread,
        }
    }
}
