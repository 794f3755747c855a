//! The cluster as this node sees it.

use std::sync::Arc;

use quorus_proto::v1::{self, cluster_service_server::ClusterService};
use tonic::{Request, Response, Status};

use super::ApiContext;

/// Serves operators.
pub struct ClusterView {
    pub(crate) context: Arc<ApiContext>,
}

#[tonic::async_trait]
impl ClusterService for ClusterView {
    async fn get_cluster_status(
        &self,
        _request: Request<v1::GetClusterStatusRequest>,
    ) -> Result<Response<v1::GetClusterStatusResponse>, Status> {
        let context = &self.context;
        let cluster = context.system.cluster();
        let placed = |shard: u32| -> Vec<u64> {
            let Some(cluster) = &cluster else { return Vec::new() };
            match cluster.placements.get(&shard) {
                Some(placement) => placement.replicas.values().map(|replica| replica.node).collect(),
                None => cluster.nodes.keys().copied().collect(),
            }
        };
        let shard_count = cluster.as_ref().map_or(0, |cluster| cluster.shard_count);
        let mut shards = Vec::new();
        for shard in 0..=shard_count {
            let mut status = v1::ShardStatus { shard, replica_nodes: placed(shard), ..v1::ShardStatus::default() };
            if let Some(group) = context.host.group(shard) {
                let now = group.status();
                status.leader_node = now.leader.unwrap_or(0);
                status.term = now.term;
                status.applied_index = now.applied.unwrap_or(0);
                status.healthy = now.healthy;
            }
            shards.push(status);
        }
        let reachable = |node: u64| node == context.node_id || context.liveness.seen(node).is_some();
        let nodes = cluster.iter().flat_map(|cluster| &cluster.nodes).map(|(node_id, node)| {
            let seen = context.liveness.seen(*node_id);
            let own = (*node_id == context.node_id).then(|| env!("CARGO_PKG_VERSION").to_owned());
            let led = shards.iter().filter(|shard| shard.shard > 0 && shard.leader_node == *node_id).count();
            v1::NodeStatus {
                node_id: *node_id,
                address: node.address.clone(),
                reachable: reachable(*node_id),
                version: own.or(seen.map(|seen| seen.version)).unwrap_or_default(),
                shards_led: u32::try_from(led).unwrap_or(0),
            }
        });
        let nodes = nodes.collect();
        let workers = context.gateway.view().into_iter().map(|worker| v1::WorkerStatus {
            name: worker.name,
            queues: worker.queues,
            capacity: worker.capacity,
            tasks: worker.tasks,
        });
        Ok(Response::new(v1::GetClusterStatusResponse {
            cluster_id: cluster.as_ref().map(|cluster| cluster.cluster_id.clone()).unwrap_or_default(),
            answered_by: context.node_id,
            nodes,
            workers: workers.collect(),
            shards,
        }))
    }
}
