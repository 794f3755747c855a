//! What a replica has applied, as it says itself through the audit export.

use quorus_proto::v1::HistoryEvent;

/// One replica of one shard at one applied index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replica {
    /// On which node.
    pub node: u64,
    /// Of which shard; 0 is the system group.
    pub shard: u32,
    /// Term of the last applied entry.
    pub term: u64,
    /// Index of the last applied entry.
    pub index: u64,
    /// SHA-256 in hex over everything that the replica derived from its log. Replicas with the same index must have the same.
    pub digest: String,
    /// Its runs, by uid.
    pub runs: Vec<RecordedRun>,
}

/// A run with its whole history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordedRun {
    /// Where it is.
    pub namespace: String,
    /// Its id.
    pub run_id: String,
    /// Never reused.
    pub run_uid: String,
    /// The workflow's name.
    pub workflow: String,
    /// Uid of the parent, if it is a child.
    pub parent_uid: String,
    /// `RUN_STATUS_…`.
    pub status: String,
    /// In order, from sequence 1.
    pub events: Vec<HistoryEvent>,
}
