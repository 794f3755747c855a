//! How nodes become a cluster, once: explicitly, and never two.
//!
//! Each of the expected nodes asks the others who they are until it knows the incarnation of every data folder. The cluster's id is a digest of
//! all (node, incarnation) pairs, so every node computes the same one without an election; a node whose folder was wiped has another
//! incarnation, computes another id, and is refused by those that belong already.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use quorus_proto::peer::{ProbeRequest, ProbeResponse, node_service_client::NodeServiceClient};
use quorus_raft::Peers;
use sha2::{Digest, Sha256};

use crate::{
    identity::Identity,
    system::{ClusterInfo, NodeInfo, PlacementInfo, ReplicaInfo},
};

/// Pause between two rounds of questions.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long a node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How often a long wait is mentioned.
const MENTION_EVERY: u32 = 50;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The configuration does not say who is expected.
    #[error(
        "the data folder is new and bootstrap_expect is 0: start the nodes of a new cluster with --bootstrap-expect N and all N --peer entries"
    )]
    NotExpected,
    /// The configuration names another number of nodes than it expects.
    #[error("bootstrap_expect is {expected}, but peers names {named} nodes: name each of them, this node too")]
    PeersMismatch {
        /// How many are expected.
        expected: usize,
        /// How many are named.
        named: usize,
    },
    /// A node belongs to a cluster that this folder is no member of.
    #[error(
        "node {node} belongs to cluster {cluster_id} already, and this data folder is not one of its members: if this node was wiped, it can't \
         come back under its old id"
    )]
    Foreign {
        /// Which node.
        node: u64,
        /// Its cluster.
        cluster_id: String,
    },
}

/// Finds the other founders; returns the cluster's id and every node's incarnation.
///
/// # Errors
/// If the configuration does not allow a bootstrap, or another cluster is there.
pub async fn find_founders(
    identity: &Identity,
    expected: usize,
    nodes: &BTreeSet<u64>,
    peers: &Arc<Peers>,
) -> Result<(String, BTreeMap<u64, String>), BootstrapError> {
    if expected == 0 {
        return Err(BootstrapError::NotExpected);
    }
    if nodes.len() != expected || !nodes.contains(&identity.node_id) {
        return Err(BootstrapError::PeersMismatch { expected, named: nodes.len() });
    }
    let mut incarnations = BTreeMap::from([(identity.node_id, identity.incarnation.clone())]);
    let mut clusters: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0u32.. {
        for node in nodes.iter().copied() {
            if node == identity.node_id || clusters.contains_key(&node) {
                continue;
            }
            let Some(answer) = ask(identity.node_id, node, peers).await else { continue };
            if !answer.cluster_id.is_empty() {
                clusters.insert(node, answer.cluster_id);
            }
            incarnations.insert(node, answer.incarnation);
        }
        if incarnations.len() == expected {
            break;
        }
        if round % MENTION_EVERY == MENTION_EVERY - 1 {
            let missing: Vec<_> = nodes.iter().filter(|node| !incarnations.contains_key(node)).collect();
            tracing::info!(?missing, expected, "waits for the other nodes of the new cluster");
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    let cluster_id = cluster_id(&incarnations);
    match clusters.into_iter().find(|(_, other)| *other != cluster_id) {
        Some((node, cluster_id)) => Err(BootstrapError::Foreign { node, cluster_id }),
        None => Ok((cluster_id, incarnations)),
    }
}

async fn ask(from: u64, node: u64, peers: &Peers) -> Option<ProbeResponse> {
    let mut client = NodeServiceClient::new(peers.channel(node).ok()?);
    let request = ProbeRequest { node_id: from, cluster_id: String::new() };
    let answer = tokio::time::timeout(ANSWER_WITHIN, client.probe(request)).await.ok()?.ok()?.into_inner();
    (answer.node_id == node).then_some(answer)
}

fn cluster_id(incarnations: &BTreeMap<u64, String>) -> String {
    let mut hash = Sha256::new();
    for (node, incarnation) in incarnations {
        hash.update(node.to_be_bytes());
        hash.update((incarnation.len() as u64).to_be_bytes());
        hash.update(incarnation.as_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Where everything is to be: shard `s` on `replication` nodes in a row, beginning with another one each; the replica with the lowest number is the
/// preferred leader.
pub fn first_cluster(cluster_id: &str, nodes: BTreeMap<u64, NodeInfo>, shards: u32, replication: usize) -> ClusterInfo {
    let ids: Vec<u64> = nodes.keys().copied().collect();
    let replication = replication.clamp(1, ids.len());
    // The system group's replicas have their nodes' numbers; the shards' go on from there, and none is ever used again.
    let mut last_replica = ids.last().copied().unwrap_or(0);
    let placements = (1..=shards).map(|shard| {
        let replicas = (0..replication).map(|place| {
            last_replica += 1;
            let node = ids[(shard as usize - 1 + place) % ids.len()];
            (last_replica, ReplicaInfo { node, learner: false })
        });
        (shard, PlacementInfo { epoch: 1, replicas: replicas.collect() })
    });
    ClusterInfo {
        cluster_id: cluster_id.to_owned(),
        placements: placements.collect(),
        nodes,
        shard_count: shards,
        replication_factor: u32::try_from(replication).unwrap_or(u32::MAX),
        allow_unverified_approvals: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(nodes: &[u64]) -> BTreeMap<u64, NodeInfo> {
        let info = |node| NodeInfo { address: format!("host{node}:1"), incarnation: format!("i{node}") };
        nodes.iter().map(|node| (*node, info(node))).collect()
    }

    #[test]
    fn every_shard_has_its_replicas_on_different_nodes_and_leaders_are_spread() {
        let cluster = first_cluster("c", nodes(&[1, 2, 3, 4, 5]), 16, 3);
        let mut preferred: BTreeMap<u64, usize> = BTreeMap::new();
        let mut replicas = BTreeSet::new();
        for placement in cluster.placements.values() {
            let nodes: BTreeSet<_> = placement.replicas.values().map(|replica| replica.node).collect();
            assert_eq!(nodes.len(), 3);
            *preferred.entry(placement.replicas.first_key_value().unwrap().1.node).or_default() += 1;
            replicas.extend(placement.replicas.keys().copied());
        }
        assert_eq!(replicas.len(), 48, "no replica id is used twice");
        assert!(preferred.values().all(|count| (3..=4).contains(count)), "{preferred:?}");
    }

    #[test]
    fn a_wiped_folder_makes_another_cluster_id() {
        let before = BTreeMap::from([(1, "a".to_owned()), (2, "b".to_owned())]);
        let after = BTreeMap::from([(1, "a".to_owned()), (2, "c".to_owned())]);
        assert_ne!(cluster_id(&before), cluster_id(&after));
        assert_eq!(cluster_id(&before), cluster_id(&before.clone()));
    }
}
