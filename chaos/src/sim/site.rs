//! The site of a random workload ([`crate::workload::site`]) over simulated hosts.
//!
//! Its time is tokio's on a simulated host. What it draws comes from the workload's own generator. Connections belong to the host that opens them, so a
//! site is made where it is used.

use std::sync::Arc;

use quorus_client::{Connect as _, Ledger, Worker, WorkerBuilder};
use tonic::transport::Channel;

use super::{
    chance,
    net::{self, SimulatedNet},
    scene::Scene,
    story::{self, Story},
};
use crate::workload::{
    site::{self, Clock, Site},
    tasks::Scribe,
};

/// All nodes, as one host sees them.
pub(super) struct SimulatedSite {
    scene: Arc<Scene>,
    channels: Vec<Channel>,
}

impl SimulatedSite {
    /// As the host sees them that this is called on.
    ///
    /// # Errors
    /// If an address is none.
    pub(super) fn new(scene: Arc<Scene>) -> anyhow::Result<Self> {
        let channel = |node| Ok(SimulatedNet.channel(&site::endpoint(&net::address(node))?));
        let channels = (1..=scene.nodes).map(channel).collect::<anyhow::Result<_>>()?;
        Ok(Self { scene, channels })
    }
}

impl Site for SimulatedSite {
    fn nodes(&self) -> usize {
        self.channels.len()
    }

    fn channel(&self, node: usize) -> anyhow::Result<Channel> {
        self.channels.get(node).cloned().ok_or_else(|| anyhow::anyhow!("there is no node {node}"))
    }

    fn worker(&self, name: &str) -> WorkerBuilder {
        worker(&self.scene, 0, name)
    }
}

/// A worker of this name that knows all nodes, beginning with another one each.
pub(super) fn worker(scene: &Scene, first: u64, name: &str) -> WorkerBuilder {
    Worker::builder(scene.endpoints(first)).name(name).connector(Arc::new(SimulatedNet))
}

/// Simulated time, for those who stamp records.
pub(super) fn clock() -> Clock {
    let wall_ms = || chance::WALL_AT_ZERO_S * 1000 + story::now_us() / 1000;
    Clock::new(story::now_us, wall_ms)
}

/// Writes a worker's ledger into the story.
pub(super) fn scribe(worker: &str, story: &Story) -> Scribe {
    let story = story.clone();
    Scribe { ledger: Ledger::call(move |entry| story.write_down(entry)), clock: clock(), worker: Arc::from(worker) }
}
