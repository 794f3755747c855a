//! Readers that stay: one per node, which asks that node alone about runs that somebody has just been told about.
//!
//! Why: an ordinary client leaves a node that does not answer, so it never sees what a leader would say that is cut off from the others while they go
//! on. A reader does. Whatever its node knows, it must not say less than somebody was told before; it may say nothing.

use std::{sync::Arc, time::Duration};

use quorus_client::{Client, Options, v1};
use quorus_raft::NodeId;

use super::{
    dice::Dice,
    net::{self, SimulatedNet},
    scene::Scene,
    story::Story,
    work,
};
use crate::record::{Call, Ending, Operation};

/// The host of all readers.
pub(super) const HOST: &str = "reader";

/// How long a reader waits for its node. Longer than a leader that is cut off goes on to believe in itself.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of the last so many calls one is chosen that was done.
const LATELY: usize = 12;

/// Reads as long as the turmoil lasts.
pub(super) async fn run(scene: Arc<Scene>, story: Story) -> turmoil::Result {
    let readers = (1..=scene.nodes).map(|node| stay(node, &scene, &story));
    futures::future::try_join_all(readers).await?;
    std::future::pending().await
}

async fn stay(node: NodeId, scene: &Scene, story: &Story) -> Result<(), quorus_client::Error> {
    let client = Client::new(Options {
        endpoints: vec![net::address(node)],
        timeout: PATIENCE,
        try_timeout: PATIENCE,
        connector: Some(Arc::new(SimulatedNet)),
        ..Options::default()
    })?;
    let mut dice = Dice::new(scene.seed, &format!("reader at node {node}"));
    let pace = dice.between(400, 2500);
    let until = tokio::time::Instant::now() + scene.turmoil;
    // One call at a time, and another reader after each of which nobody knows the end.
    let mut lives = 0;
    while tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(dice.around(pace))).await;
        let Some(run_id) = story.look(|told| lately(&told.operations, &mut dice)) else { continue };
        let id = story.invoke(&format!("{HOST}-{node}.{lives}"), Call::Get { run_id: run_id.clone(), stale: false });
        let ending = match client.get_run(v1::GetRunRequest { run_id, ..Default::default() }).await {
            Ok(run) => Ending::Ok(work::answer(&run)),
            Err(error) if work::is_answer(&error, false) => Ending::Fail { reason: error.reason().to_owned() },
            Err(error) => Ending::Info { what: work::kind_of(&error) },
        };
        lives += u64::from(matches!(ending, Ending::Info { .. }));
        story.end(id, ending, |_| {});
    }
    Ok(())
}

/// A run of which somebody was told something a moment ago.
fn lately(operations: &[Operation], dice: &mut Dice) -> Option<String> {
    let done: Vec<&Operation> =
        operations.iter().rev().take(LATELY).filter(|operation| matches!(operation.ending, Some(Ending::Ok(_)))).collect();
    (!done.is_empty()).then(|| dice.pick(&done).call.run().to_owned())
}
