//! Which nodes answer: asked of each once a second. A hint for status and balancing, never for safety.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use quorus_proto::peer::{ProbeRequest, node_service_client::NodeServiceClient};
use quorus_raft::Peers;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often a node is asked.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(800);

/// What is known of the other nodes. Cheap to clone.
#[derive(Clone, Default)]
pub struct Liveness {
    nodes: Arc<Mutex<BTreeMap<u64, Seen>>>,
}

/// What is known of a node.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Since when it answers without a gap.
    pub since: Instant,
    /// Its version.
    pub version: String,
}

impl Liveness {
    /// Asks the other nodes until `stop`.
    pub fn start(node_id: u64, cluster_id: &str, nodes: &BTreeSet<u64>, peers: &Arc<Peers>, stop: &CancellationToken) -> Self {
        let liveness = Self::default();
        for node in nodes.iter().copied().filter(|node| *node != node_id) {
            let (liveness, peers, stop) = (liveness.clone(), peers.clone(), stop.clone());
            let request = ProbeRequest { node_id, cluster_id: cluster_id.to_owned() };
            tokio::spawn(async move {
                stop.run_until_cancelled(async {
                    loop {
                        let answer = tokio::time::timeout(PROBE_TIMEOUT, probe(&peers, node, request.clone())).await;
                        liveness.note(node, answer.ok().flatten());
                        tokio::time::sleep(PROBE_EVERY).await;
                    }
                })
                .await
            });
        }
        liveness
    }

    /// What is known of a node that answers.
    pub fn seen(&self, node: u64) -> Option<Seen> {
        self.nodes.lock().get(&node).cloned()
    }

    fn note(&self, node: u64, version: Option<String>) {
        let mut nodes = self.nodes.lock();
        match version {
            Some(version) => nodes.entry(node).or_insert_with(|| Seen { since: Instant::now(), version: String::new() }).version = version,
            None => {
                nodes.remove(&node);
            }
        }
    }
}

async fn probe(peers: &Peers, node: u64, request: ProbeRequest) -> Option<String> {
    let mut client = NodeServiceClient::new(peers.channel(node).ok()?);
    Some(client.probe(request).await.ok()?.into_inner().version)
}
