//! What the cluster is made of.

use bytes::Bytes;
use prost::Message;
use quorus_proto::log;

use super::{CodecError, decode};
use crate::system::{ClusterInfo, NodeInfo, PlacementInfo, ReplicaInfo};

/// The cluster as it is stored.
pub fn encode_cluster(cluster: &ClusterInfo) -> Bytes {
    cluster_to_proto(cluster).encode_to_vec().into()
}

/// The stored cluster.
pub fn decode_cluster(bytes: Bytes) -> Result<ClusterInfo, CodecError> {
    Ok(cluster_from_proto(decode("cluster", bytes)?))
}

/// The cluster as a message.
pub fn cluster_to_proto(cluster: &ClusterInfo) -> log::Cluster {
    log::Cluster {
        cluster_id: cluster.cluster_id.clone(),
        nodes: cluster
            .nodes
            .iter()
            .map(|(&node_id, node)| log::Node { node_id, address: node.address.clone(), incarnation: node.incarnation.clone() })
            .collect(),
        shard_count: cluster.shard_count,
        replication_factor: cluster.replication_factor,
        placements: cluster
            .placements
            .iter()
            .map(|(&shard, placement)| log::Placement {
                shard,
                epoch: placement.epoch,
                replicas: placement
                    .replicas
                    .iter()
                    .map(|(&replica_id, replica)| log::Replica { replica_id, node_id: replica.node, learner: replica.learner })
                    .collect(),
            })
            .collect(),
        allow_unverified_approvals: cluster.allow_unverified_approvals,
    }
}

/// The cluster of a message.
pub fn cluster_from_proto(proto: log::Cluster) -> ClusterInfo {
    ClusterInfo {
        cluster_id: proto.cluster_id,
        nodes: proto
            .nodes
            .into_iter()
            .map(|node| (node.node_id, NodeInfo { address: node.address, incarnation: node.incarnation }))
            .collect(),
        shard_count: proto.shard_count,
        replication_factor: proto.replication_factor,
        placements: proto
            .placements
            .into_iter()
            .map(|placement| {
                let replicas = placement.replicas.into_iter();
                let replicas =
                    replicas.map(|replica| (replica.replica_id, ReplicaInfo { node: replica.node_id, learner: replica.learner }));
                (placement.shard, PlacementInfo { epoch: placement.epoch, replicas: replicas.collect() })
            })
            .collect(),
        allow_unverified_approvals: proto.allow_unverified_approvals,
    }
}
