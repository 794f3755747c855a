//! The simulated world: hosts with nodes, workers and clients, and what can be done to them.
//!
//! Invariant: a node that has ended is gone at the next step, with everything that it had in memory, as a process would be.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::anyhow;
use quorus_node::store::ShardStore;
use quorus_raft::{
    NodeId, Options,
    disk::{Disk, MemoryDisk},
};

use super::{
    chance,
    crowd::{self, Crowd},
    links::Links,
    net,
    node::{self, Machine, OffClock, Stops},
    random::{self, Random},
    reader,
    scene::{self, Scene},
    story::Story,
    work,
};

/// A supervisor starts a process that ended by itself again after so long.
const RESTARTS_AFTER: Duration = Duration::from_secs(1);
/// More unsynced batches than a disk ever has: nothing is lost.
pub(super) const KEEPS_ALL: usize = usize::MAX;

/// Hosts and what connects them.
pub(super) struct World {
    /// How it was made.
    pub(super) scene: Arc<Scene>,
    /// What outlives the nodes' processes.
    pub(super) machines: BTreeMap<NodeId, Machine>,
    /// What happened.
    pub(super) story: Story,
    /// The links between hosts.
    pub(super) links: Links,
    /// Far too many clients, which come when a fault says so.
    pub(super) crowd: Crowd,
    simulation: turmoil::Sim<'static>,
    stops: Stops,
    /// Hosts that are down, with the time at which they come back; none while a fault keeps them down.
    down: BTreeMap<String, Option<Duration>>,
}

impl World {
    /// Everybody at the beginning.
    pub(super) fn new(scene: Arc<Scene>, random: Option<Arc<Random>>, story: Story, lying_disks: bool) -> Self {
        let mut simulation = turmoil::Builder::new()
            .rng_seed(scene.seed)
            .epoch(std::time::UNIX_EPOCH + Duration::from_secs(chance::WALL_AT_ZERO_S))
            .tick_duration(scene.tick)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(scene.latency_max)
            .simulation_duration(Duration::from_secs(24 * 3600))
            .tcp_capacity(1 << 16)
            .build();
        let new_disk = if lying_disks { MemoryDisk::lying } else { MemoryDisk::new };
        let (mut machines, stops) = (BTreeMap::new(), Stops::default());
        for node in 1..=scene.nodes {
            let machine = Machine { node, disk: Arc::new(new_disk()), clock: OffClock::default() };
            machine.clock.set(scene.offsets.get(&node).copied().unwrap_or_default());
            machines.insert(node, machine.clone());
            let (scene, stops, story) = (scene.clone(), stops.clone(), story.clone());
            simulation.host(net::host(node), move || {
                let replication = Options { snapshot_every: scene.snapshot_every, keep_logs: scene.keep_logs, ..Options::default() };
                node::run(machine.clone(), scene.config(node), replication, stops.clone(), story.clone())
            });
        }
        for worker in 1..=scene.workers {
            let (scene, story) = (scene.clone(), story.clone());
            simulation.host(scene::worker(worker), move || work::run_worker(worker, scene.clone(), story.clone()));
        }
        for client in 1..=scene.clients {
            let (scene, story) = (scene.clone(), story.clone());
            simulation.host(scene::client(client), move || work::run_client(client, scene.clone(), story.clone()));
        }
        if let Some(random) = random {
            let (scene, story) = (scene.clone(), story.clone());
            simulation.host(random::HOST, move || random::run(random.clone(), scene.clone(), story.clone()));
        }
        let (asked, told) = (scene.clone(), story.clone());
        simulation.host(reader::HOST, move || reader::run(asked.clone(), told.clone()));
        let crowd = Crowd::default();
        let (comes, asked, told) = (crowd.clone(), scene.clone(), story.clone());
        simulation.host(crowd::HOST, move || crowd::run(comes.clone(), asked.clone(), told.clone()));
        Self { scene, machines, story, links: Links::default(), crowd, simulation, stops, down: BTreeMap::new() }
    }

    /// Simulated time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.simulation.elapsed()
    }

    /// Lets everybody live for one step.
    pub(super) fn step(&mut self) -> anyhow::Result<()> {
        chance::set_elapsed(self.simulation.elapsed());
        let now = self.elapsed();
        let due: Vec<String> =
            self.down.iter().filter(|(_, back)| back.is_some_and(|back| back <= now)).map(|(host, _)| host.clone()).collect();
        for host in due {
            self.down.remove(&host);
            self.simulation.bounce(host.as_str());
        }
        self.simulation.step().map_err(|error| anyhow!("the simulation failed at {now:?}: {error}"))?;
        for (node, _) in self.story.take_ended() {
            // A process that has ended is gone. What it wrote is there; a disk that failed is a good one again.
            self.take_down(&net::host(node), Some(now + RESTARTS_AFTER));
            self.disk(node).crash_keeping(KEEPS_ALL);
        }
        Ok(())
    }

    /// True if the host lives.
    pub(super) fn is_up(&self, host: &str) -> bool {
        !self.down.contains_key(host)
    }

    /// Ends what runs on a host, at once. Without a time it stays down until [`World::bring_back`].
    pub(super) fn take_down(&mut self, host: &str, back: Option<Duration>) {
        self.simulation.crash(host);
        self.down.insert(host.to_owned(), back);
    }

    /// Starts it at the next step, if it is down.
    pub(super) fn bring_back(&mut self, host: &str) {
        let now = self.elapsed();
        if let Some(back) = self.down.get_mut(host) {
            *back = Some(now);
        }
    }

    /// Tells a node to stop in order.
    pub(super) fn stop_in_order(&self, node: NodeId) {
        if let Some(stop) = self.stops.lock().get(&node) {
            stop.cancel();
        }
    }

    /// A node's disk. Panics without such a node, which no caller names.
    pub(super) fn disk(&self, node: NodeId) -> &Arc<MemoryDisk> {
        &self.machines[&node].disk
    }

    /// Brings the links to where the faults in force want them.
    pub(super) fn apply_links(&mut self) {
        self.links.apply(&self.simulation, self.scene.latency_max);
    }

    /// Who leads each shard, as far as the replicas know; the system group says it differently, and is taken for shard 1's.
    pub(super) fn leaders(&self) -> BTreeMap<u32, NodeId> {
        let mut leaders: BTreeMap<u32, (u64, NodeId)> = BTreeMap::new();
        for machine in self.machines.values() {
            for shard in 1..=self.scene.shards {
                let store = ShardStore::new(machine.disk.clone() as Arc<dyn Disk>, shard);
                if let Ok(Some(epoch)) = store.epoch() {
                    let best = leaders.entry(shard).or_default();
                    *best = (*best).max((epoch.term, epoch.node));
                }
            }
        }
        leaders.into_iter().map(|(shard, (_, node))| (shard, node)).collect()
    }
}
