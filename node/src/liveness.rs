//! Which nodes answer, and what time they have: asked of each once a second. A hint for status and balancing; what it says about clocks goes to
//! [`ClockBound`], which knows what may be concluded from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use quorus_engine::Timestamp;
use quorus_proto::peer::{ProbeRequest, ProbeResponse, node_service_client::NodeServiceClient};
use quorus_raft::Peers;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock_bound::ClockBound;

/// How often a node is asked.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How often while this node's clock is in doubt: it leads nothing meanwhile.
const PROBE_IN_DOUBT_EVERY: Duration = Duration::from_millis(200);
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
    /// It says that its clock is too far from a majority's, or that no majority has confirmed it yet: it is no place for a leadership.
    pub clock_outside: bool,
}

impl Liveness {
    /// Asks the other nodes until `stop`.
    pub fn start(
        node_id: u64,
        cluster_id: &str,
        nodes: &BTreeSet<u64>,
        peers: &Arc<Peers>,
        clock: &ClockBound,
        stop: &CancellationToken,
    ) -> Self {
        let liveness = Self::default();
        for node in nodes.iter().copied().filter(|node| *node != node_id) {
            let (liveness, peers, clock, stop) = (liveness.clone(), peers.clone(), clock.clone(), stop.clone());
            let request = ProbeRequest { node_id, cluster_id: cluster_id.to_owned() };
            tokio::spawn(async move {
                stop.run_until_cancelled(async {
                    loop {
                        let asked = Instant::now();
                        let answer = tokio::time::timeout(PROBE_TIMEOUT, probe(&peers, node, request.clone())).await.ok().flatten();
                        let says_time = answer.as_ref().map(|answer| answer.now_ms).filter(|now| *now != 0);
                        if let Some(said) = says_time {
                            clock.note(node, Timestamp(said), clock.machine_now(), asked.elapsed());
                        }
                        liveness.note(node, answer);
                        let in_doubt = clock.outside().borrow().is_some();
                        tokio::time::sleep(if in_doubt { PROBE_IN_DOUBT_EVERY } else { PROBE_EVERY }).await;
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

    fn note(&self, node: u64, answer: Option<ProbeResponse>) {
        let mut nodes = self.nodes.lock();
        match answer {
            Some(ProbeResponse { version, clock_outside, .. }) => {
                let since = nodes.get(&node).map_or_else(Instant::now, |seen| seen.since);
                nodes.insert(node, Seen { since, version, clock_outside });
            }
            None => {
                nodes.remove(&node);
            }
        }
    }
}

async fn probe(peers: &Peers, node: u64, request: ProbeRequest) -> Option<ProbeResponse> {
    let mut client = NodeServiceClient::new(peers.channel(node).ok()?);
    Some(client.probe(request).await.ok()?.into_inner())
}
