//! Moves leaderships: to each shard's preferred node while all is well, and away from a node that is about to stop.

use std::{sync::Arc, time::Duration};

use quorus_raft::{Group, Host, NodeId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{liveness::Liveness, system::SystemStore};

/// How often leaderships are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A node must have answered for so long before a leadership goes back to it.
const STEADY_FOR: Duration = Duration::from_secs(5);
/// A replica this many records behind is not ready to lead.
const LAG_MAX: u64 = 64;
/// How long a leadership that goes away may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);

/// Brings leaderships to their preferred nodes until `stop`.
pub fn start(me: NodeId, host: Host, system: SystemStore, liveness: Liveness, stop: CancellationToken) {
    tokio::spawn(async move {
        stop.run_until_cancelled(async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                look(me, &host, &system, &liveness).await;
            }
        })
        .await
    });
}

async fn look(me: NodeId, host: &Host, system: &SystemStore, liveness: &Liveness) {
    let Some(cluster) = system.cluster() else { return };
    for (shard, placement) in &cluster.placements {
        let shard = *shard;
        let Some(preferred) = placement.replicas.values().next().map(|replica| replica.node).filter(|node| *node != me) else { continue };
        let Some(group) = host.group(shard).filter(|group| group.leadership().borrow().here) else { continue };
        let steady = liveness.seen(preferred).is_some_and(|seen| seen.since.elapsed() >= STEADY_FOR && !seen.clock_outside);
        if steady && ready(&group, preferred) {
            tracing::debug!(shard, node = preferred, "leadership goes to its preferred node");
            if let Err(error) = group.transfer_leader(preferred).await {
                tracing::debug!(shard, %error, "leadership stays");
            }
        }
    }
}

fn ready(group: &Group, node: NodeId) -> bool {
    group.status().replicas.iter().any(|replica| replica.node == node && replica.lag <= LAG_MAX)
}

/// Gives every leadership of this node to somebody who is ready; returns when they are gone, or when it takes too long.
pub async fn give_all_away(me: NodeId, groups: Vec<Group>, liveness: &Liveness) {
    let moves = groups.into_iter().filter(|group| group.leadership().borrow().here).map(|group| give_away(me, Arc::new(group), liveness));
    futures::future::join_all(moves).await;
}

async fn give_away(me: NodeId, group: Arc<Group>, liveness: &Liveness) {
    let status = group.status();
    let takes = |node| node != me && liveness.seen(node).is_some_and(|seen| !seen.clock_outside);
    let mut others: Vec<_> = status.replicas.iter().filter(|replica| takes(replica.node)).collect();
    if others.is_empty() {
        tracing::debug!(group = group.id(), "nobody is there who could take the leadership over");
        return;
    }
    others.sort_by_key(|replica| replica.lag);
    let until = Instant::now() + ARRIVES_WITHIN;
    for replica in others {
        if group.transfer_leader(replica.node).await.is_err() {
            continue;
        }
        let mut leadership = group.leadership();
        let gone = tokio::time::timeout_at(until, leadership.wait_for(|now| !now.here)).await;
        if matches!(gone, Ok(Ok(_))) {
            return;
        }
    }
    tracing::info!(group = group.id(), "nobody took the leadership over in time; an election will");
}
