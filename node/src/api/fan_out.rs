//! Asks the other nodes what only they know: what waits at their leaders, which workers have streams there.

use std::time::Duration;

use quorus_raft::NodeId;
use tokio::time::Instant;
use tonic::{Response, Status, transport::Channel};

use super::{ApiContext, forward::Journey};

/// A node that takes longer is reported as missing.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// What the other nodes said, and which of them did not answer. A request that came by another node asks nobody.
pub(super) async fn ask_others<T, There>(context: &ApiContext, journey: &Journey, there: impl Fn(Channel) -> There) -> (Vec<T>, Vec<NodeId>)
where
    There: Future<Output = Result<Response<T>, Status>>,
{
    if journey.forwarded {
        return (Vec::new(), Vec::new());
    }
    let cluster = context.system.cluster();
    let nodes = cluster.iter().flat_map(|cluster| cluster.nodes.keys().copied()).filter(|node| *node != context.node_id);
    let until = journey.deadline.min(Instant::now() + ANSWERS_WITHIN);
    let asked = nodes.map(|node| {
        let asked = context.peers.channel(node).ok().map(&there);
        async move {
            let answer = match asked {
                Some(asked) => tokio::time::timeout_at(until, asked).await.ok().and_then(Result::ok),
                None => None,
            };
            (node, answer)
        }
    });
    let (mut answers, mut missing) = (Vec::new(), Vec::new());
    for (node, answer) in futures::future::join_all(asked).await {
        match answer {
            Some(answer) => answers.push(answer.into_inner()),
            None => missing.push(node),
        }
    }
    (answers, missing)
}
