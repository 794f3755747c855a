//! What every node says of the cluster, each asked for itself.

use std::{collections::BTreeMap, time::Duration};

use quorus_proto::v1::{GetClusterStatusRequest, GetClusterStatusResponse, cluster_service_client::ClusterServiceClient};
use tokio::{task::JoinSet, time::timeout};
use tonic::transport::Endpoint;

/// How long a node may take. Nodes that stand still must not hold up those who look.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The answers.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// By node; none for those that did not answer.
    pub answers: BTreeMap<u64, Option<GetClusterStatusResponse>>,
}

impl View {
    /// Asks nodes at their own addresses, `host:port`, all at once.
    pub async fn take(nodes: impl IntoIterator<Item = (u64, String)>) -> Self {
        let mut asks = JoinSet::new();
        for (id, address) in nodes {
            asks.spawn(async move {
                let ask = async {
                    let channel =
                        Endpoint::from_shared(format!("http://{address}")).ok()?.connect_timeout(PATIENCE).connect().await.ok()?;
                    Some(ClusterServiceClient::new(channel).get_cluster_status(GetClusterStatusRequest {}).await.ok()?.into_inner())
                };
                (id, timeout(PATIENCE, ask).await.ok().flatten())
            });
        }
        Self { answers: asks.join_all().await.into_iter().collect() }
    }

    /// Leaders by shard: whoever says so of itself in the highest term, or, if nobody does, whom others name in it.
    pub fn leaders(&self) -> BTreeMap<u32, u64> {
        let mut best: BTreeMap<u32, (u64, bool, u64)> = BTreeMap::new();
        for answer in self.answers.values().flatten() {
            for shard in answer.shards.iter().filter(|shard| shard.leader_node > 0) {
                let claim = (shard.term, shard.leader_node == answer.answered_by, shard.leader_node);
                let known = best.entry(shard.shard).or_insert(claim);
                *known = (*known).max(claim);
            }
        }
        best.into_iter().map(|(shard, (_, _, leader))| (shard, leader)).collect()
    }

    /// Shards that nobody who answered says to lead.
    pub fn leaderless(&self) -> Vec<u32> {
        let answers: Vec<_> = self.answers.values().flatten().collect();
        let led = |shard: u32| {
            answers.iter().any(|answer| answer.shards.iter().any(|one| one.shard == shard && one.leader_node == answer.answered_by))
        };
        let mut shards: Vec<u32> = answers.iter().flat_map(|answer| &answer.shards).map(|one| one.shard).collect();
        shards.sort_unstable();
        shards.dedup();
        shards.retain(|shard| !led(*shard));
        shards
    }

    /// Shards that one of these leads.
    pub fn led_by(&self, nodes: &[u64]) -> Vec<u32> {
        self.leaders().into_iter().filter(|(_, leader)| nodes.contains(leader)).map(|(shard, _)| shard).collect()
    }
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::ShardStatus;

    use super::*;

    fn answer(node: u64, shards: &[(u32, u64, u64)]) -> (u64, Option<GetClusterStatusResponse>) {
        let shard = |(shard, leader_node, term): &(u32, u64, u64)| ShardStatus {
            shard: *shard,
            leader_node: *leader_node,
            term: *term,
            ..Default::default()
        };
        (node, Some(GetClusterStatusResponse { answered_by: node, shards: shards.iter().map(shard).collect(), ..Default::default() }))
    }

    #[test]
    fn a_deposed_leader_that_does_not_know_it_yet_is_not_believed() {
        let view = View { answers: [answer(1, &[(1, 1, 4), (2, 1, 2)]), answer(2, &[(1, 2, 5), (2, 1, 2)]), (3, None)].into() };
        assert_eq!(view.leaders(), BTreeMap::from([(1, 2), (2, 1)]));
        assert_eq!(view.led_by(&[1]), [2]);
    }

    #[test]
    fn a_shard_whose_leader_is_only_hearsay_has_none() {
        let view = View { answers: [answer(1, &[(1, 3, 4), (2, 1, 4)]), answer(2, &[(1, 3, 4), (2, 0, 4)]), (3, None)].into() };
        assert_eq!(view.leaderless(), [1]);
    }
}
