//! What the cluster is made of: nodes, shards, and where their replicas are.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorus_raft::{GroupId, NodeId, ReplicaId};

use super::SYSTEM_GROUP;
use crate::{
    codec,
    store::{
        StoreError,
        key::{Family, KeyWriter},
        reader::Reader,
    },
};

/// What the cluster is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Made at bootstrap, never changes.
    pub cluster_id: String,
    /// The members.
    pub nodes: BTreeMap<NodeId, NodeInfo>,
    /// Number of shards, which are numbered from 1; never changes.
    pub shard_count: u32,
    /// Replicas of each shard.
    pub replication_factor: u32,
    /// Where the replicas are; 0 is the system group.
    pub placements: BTreeMap<GroupId, PlacementInfo>,
    /// Approvals count although nobody verified the principal.
    pub allow_unverified_approvals: bool,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Where others reach it.
    pub address: String,
    /// Random, made with its data folder, never changes.
    pub incarnation: String,
}

/// Where a shard's replicas are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementInfo {
    /// Rises with each change.
    pub epoch: u64,
    /// By replica id.
    pub replicas: BTreeMap<ReplicaId, ReplicaInfo>,
}

/// One copy of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaInfo {
    /// Where it is.
    pub node: NodeId,
    /// It does not vote.
    pub learner: bool,
}

impl ClusterInfo {
    /// The node's replica of a group, if it has one.
    pub fn replica_on(&self, group: GroupId, node: NodeId) -> Option<(ReplicaId, ReplicaInfo)> {
        self.placements.get(&group)?.replicas.iter().find(|(_, replica)| replica.node == node).map(|(id, replica)| (*id, *replica))
    }
}

pub(super) fn key() -> Bytes {
    KeyWriter::new(SYSTEM_GROUP, Family::Cluster, 0).finish()
}

pub(super) fn get(reader: &(impl Reader + ?Sized)) -> Result<Option<ClusterInfo>, StoreError> {
    reader.read(&key())?.map(|bytes| Ok(codec::decode_cluster(bytes)?)).transpose()
}
