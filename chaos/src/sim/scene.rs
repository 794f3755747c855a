//! What a seed makes of a run: how large the cluster is, how it is set up, and which faults there will be.
//!
//! Swarm testing: each seed draws its own mix. A seed that has one kind of fault finds what a mix of all would hide.
//!
//! Invariant: everything is drawn before the run begins, so a run with fewer faults is the same run until the first one that is missing.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use quorus_node::config::{Config, Raft};

use super::{
    crowd,
    dice::Dice,
    net,
    plan::{self, Planned},
    random, reader,
};

/// A run as its seed has it.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// The seed.
    pub(super) seed: u64,
    /// How long faults and load last.
    pub(super) turmoil: Duration,
    /// Nodes, from 1 on.
    pub(super) nodes: u64,
    /// Workers, from 1 on.
    pub(super) workers: u64,
    /// Clients, from 1 on.
    pub(super) clients: u64,
    /// Shards.
    pub(super) shards: u32,
    /// How long a lease lives.
    pub(super) lease: Duration,
    /// Times of the consensus.
    pub(super) raft: Raft,
    /// A snapshot after so many entries.
    pub(super) snapshot_every: u64,
    /// Entries that stay in the log.
    pub(super) keep_logs: u64,
    /// Simulated time of a step of the simulation.
    pub(super) tick: Duration,
    /// The longest that a message is under way while nothing is slow.
    pub(super) latency_max: Duration,
    /// How far each node's clock is off, in milliseconds.
    pub(super) offsets: BTreeMap<u64, i64>,
    /// One fault at a time, of nodes only, none longer than a lease: then no step may be repeated.
    pub(super) gentle: bool,
    /// The faults, by time.
    pub(super) faults: Vec<Planned>,
    /// True if a host drives random workflows.
    pub(super) driven: bool,
}

/// How far clocks are off from true time, at most, in milliseconds: two of them are within the bound that nodes are told.
pub(super) const OFFSET_MAX_MS: i64 = 240;
/// The bound between two nodes' clocks.
pub(super) const CLOCK_BOUND_MS: u64 = 500;

impl Scene {
    /// What the seed has.
    pub(super) fn draw(seed: u64, turmoil: Duration) -> Self {
        let mut dice = Dice::new(seed, "scene");
        let gentle = dice.percent(40);
        let nodes = if dice.percent(75) { 3 } else { 5 };
        let heartbeat = Duration::from_millis(*dice.pick(&[200, 250, 400]));
        let election_min = heartbeat * 4;
        let often = dice.percent(40);
        let snapshot_every = if often { dice.between(10, 120) } else { 20_000 };
        let mut scene = Self {
            seed,
            turmoil,
            nodes,
            workers: dice.between(2, 3),
            clients: dice.between(1, 3),
            shards: u32::try_from(dice.between(1, 3)).unwrap_or(1),
            lease: Duration::from_secs(if gentle { 30 } else { *dice.pick(&[10, 15, 30]) }),
            raft: Raft { heartbeat, election_min, election_max: election_min + Duration::from_millis(dice.between(300, 1500)) },
            snapshot_every,
            keep_logs: if often { dice.between(1, 10) } else { 20_000 },
            tick: Duration::from_millis(10),
            latency_max: Duration::from_millis(dice.between(5, 60)),
            offsets: BTreeMap::new(),
            gentle,
            faults: Vec::new(),
            driven: false,
        };
        scene.offsets = (1..=nodes).map(|node| (node, dice.between(0, 2 * OFFSET_MAX_MS as u64) as i64 - OFFSET_MAX_MS)).collect();
        scene.faults = plan::draw(&scene);
        scene
    }

    /// True if far too many clients come at some time.
    pub(super) fn is_crowded(&self) -> bool {
        self.faults.iter().any(|fault| fault.what.kind() == plan::OVERLOAD)
    }

    /// How many changes may be under way at once in a seed with a crowd: as many as the nodes that lead have room for.
    pub(super) fn room(&self) -> usize {
        crowd::ROOM * self.nodes.min(self.shards.into()) as usize
    }

    /// The configuration of a node.
    pub(super) fn config(&self, node: u64) -> Config {
        let mut limits = Config::alone(node, PathBuf::new()).limits;
        if self.is_crowded() {
            limits.changes = crowd::ROOM;
        }
        Config {
            limits,
            advertise: net::address(node),
            peers: (1..=self.nodes).map(|node| (node, net::address(node))).collect(),
            bootstrap_expect: self.nodes as usize,
            shards: self.shards,
            replication_factor: 3,
            lease: self.lease,
            raft: self.raft,
            // Nobody vouches for the people of a workload.
            allow_unverified_approvals: true,
            // Nothing is kept in files.
            ..Config::alone(node, PathBuf::new())
        }
    }

    /// Where all nodes are, as clients and workers are told, beginning with another one each.
    pub(super) fn endpoints(&self, first: u64) -> Vec<String> {
        (0..self.nodes).map(|place| net::address(1 + (first + place) % self.nodes)).collect()
    }

    /// Nodes, workers, clients and whoever else is there, by name.
    pub(super) fn hosts(&self) -> Vec<String> {
        let workers = (1..=self.workers).map(worker);
        let clients = (1..=self.clients).map(client);
        let driver = self.driven.then(|| random::HOST.to_owned());
        let others = [reader::HOST, crowd::HOST].map(str::to_owned);
        (1..=self.nodes).map(net::host).chain(workers).chain(clients).chain(driver).chain(others).collect()
    }

    /// Hosts that say when they have nothing more to do.
    pub(super) fn asking(&self) -> u64 {
        self.clients + u64::from(self.driven)
    }

    /// Healing has failed when nothing happened for so long: then no lease, pause between attempts, timer or election is on its way.
    pub(super) fn stands_still_after(&self) -> Duration {
        self.lease * 3 + Duration::from_secs(60)
    }
}

/// The host of a worker.
pub(super) fn worker(number: u64) -> String {
    format!("worker-{number}")
}

/// The host of a client.
pub(super) fn client(number: u64) -> String {
    format!("client-{number}")
}
