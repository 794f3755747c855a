//! Three hosts in a deterministic simulation: real Raft and real gRPC over a simulated network, with disks that lose what was not synced.
//!
//! A seed gives one run: the same leaders and the same commits at the same times, whatever happens on the way.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use quorus_raft::{
    Group, Host, Net, NodeId, Options, Peers, WriterMode,
    disk::{Disk, MemoryDisk},
    seed_thread,
};
use support::{GROUP, Records, config, records};
use tonic::transport::{Channel, Endpoint, Uri, server::Connected};
use turmoil::net::{TcpListener, TcpStream};

const PORT: u16 = 7401;

fn name(node: NodeId) -> String {
    format!("node-{node}")
}

/// Reaches other hosts by the simulated network.
struct SimulatedNet;

impl Net for SimulatedNet {
    fn address(&self, node: NodeId) -> Option<String> {
        Some(format!("{}:{PORT}", name(node)))
    }

    fn channel(&self, endpoint: Endpoint) -> Channel {
        endpoint.connect_with_connector_lazy(tower::service_fn(|uri: Uri| async move {
            let stream = TcpStream::connect((uri.host().unwrap().to_owned(), PORT)).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }))
    }
}

/// An accepted connection, as tonic wants it.
struct Accepted(TcpStream);

impl Connected for Accepted {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl tokio::io::AsyncRead for Accepted {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Accepted {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// What happened, in order, with the time of the simulation.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<String>>);

impl Events {
    fn note(&self, what: &str) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        writeln!(self.0.lock().unwrap(), "{:>9.3?} {what}", at).unwrap();
    }
}

/// Every record whose proposer was told that it committed, in the order of the telling.
type Acked = Arc<Mutex<Vec<String>>>;

async fn run_node(node: NodeId, disk: Arc<MemoryDisk>, events: Events, acked: Acked, options: Options) -> turmoil::Result {
    let options = Options { node_id: node, cluster_id: "simulated".to_owned(), writer: WriterMode::Task, ..options };
    let stored = Arc::clone(&disk);
    let host = Host::new(options, disk, Arc::new(Peers::new(Arc::new(SimulatedNet)))).unwrap();
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let incoming = futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Accepted(stream));
        Some((accepted, listener))
    });
    tokio::spawn(tonic::transport::Server::builder().add_service(host.services()).serve_with_incoming(Box::pin(incoming)));
    let group = host.open(config(node, 3), Box::new(Records { group: GROUP })).await.unwrap();
    tokio::spawn(read_all_the_time(node, group.clone(), stored, events.clone(), Arc::clone(&acked)));
    tokio::spawn(propose_while_leading(node, group.clone(), events.clone(), acked));
    let mut leadership = group.leadership();
    loop {
        let now = *leadership.borrow_and_update();
        events.note(&format!("node {node} sees leader {:?} of term {}{}", now.leader, now.term, if now.here { ", itself" } else { "" }));
        leadership.changed().await?;
    }
}

async fn propose_while_leading(node: NodeId, group: Group, events: Events, acked: Acked) {
    let mut leadership = group.leadership();
    for number in 0.. {
        let Ok(term) = leadership.wait_for(|leadership| leadership.here).await.map(|leadership| leadership.term) else { return };
        let record = format!("{node}.{term}.{number}");
        match group.propose(term, Bytes::from(record.clone())).await {
            Ok(proposed) => {
                events.note(&format!("node {node} committed {record} at {}", proposed.index));
                acked.lock().unwrap().push(record);
            }
            Err(error) => events.note(&format!("node {node} did not commit {record}: {error}")),
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

/// On every node: what was acknowledged anywhere before a read began is there when its barrier returns.
async fn read_all_the_time(node: NodeId, group: Group, disk: Arc<MemoryDisk>, events: Events, acked: Acked) {
    loop {
        let before = acked.lock().unwrap().clone();
        if let Ok(index) = group.read_barrier().await {
            let stored = records(disk.as_ref() as &dyn Disk, GROUP);
            let missing = before.iter().find(|record| !stored.contains(record));
            assert_eq!(missing, None, "node {node} read at {index} and missed what was acknowledged before");
            events.note(&format!("node {node} read at {index}"));
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// Three nodes, their disks, and what happened.
struct World {
    simulation: turmoil::Sim<'static>,
    disks: BTreeMap<NodeId, Arc<MemoryDisk>>,
    events: Events,
    acked: Acked,
}

impl World {
    fn new(seed: u64, options: &Options, new_disk: fn() -> MemoryDisk) -> Self {
        seed_thread(Some(seed));
        let mut simulation = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(8))
            .simulation_duration(Duration::from_secs(600))
            .tcp_capacity(4096)
            .build();
        let (events, acked) = (Events::default(), Acked::default());
        let disks: BTreeMap<NodeId, Arc<MemoryDisk>> = (1..=3).map(|node| (node, Arc::new(new_disk()))).collect();
        for (node, disk) in &disks {
            let (node, disk, events, acked, options) = (*node, Arc::clone(disk), events.clone(), Arc::clone(&acked), options.clone());
            simulation.host(name(node), move || run_node(node, Arc::clone(&disk), events.clone(), Arc::clone(&acked), options.clone()));
        }
        Self { simulation, disks, events, acked }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.simulation.elapsed() + time;
        while self.simulation.elapsed() < end {
            self.simulation.step().unwrap();
        }
    }

    fn acked(&self) -> usize {
        self.acked.lock().unwrap().len()
    }

    /// Who acknowledged last.
    fn leading(&self) -> NodeId {
        self.acked.lock().unwrap().last().unwrap().split('.').next().unwrap().parse().unwrap()
    }

    fn others(&self, node: NodeId) -> Vec<NodeId> {
        self.disks.keys().copied().filter(|other| *other != node).collect()
    }

    fn cut_off(&mut self, node: NodeId) {
        self.events.note(&format!("node {node} is cut off"));
        for other in self.others(node) {
            self.simulation.partition(name(node), name(other));
        }
    }

    fn heal(&mut self, node: NodeId) {
        self.events.note(&format!("node {node} is connected"));
        for other in self.others(node) {
            self.simulation.repair(name(node), name(other));
        }
    }

    /// The power fails; the first unsynced batches had reached the disk by themselves.
    fn crash(&mut self, node: NodeId, kept: usize) {
        self.events.note(&format!("node {node} loses power"));
        self.simulation.crash(name(node));
        self.disks[&node].crash_keeping(kept);
    }

    fn bounce(&mut self, node: NodeId) {
        self.events.note(&format!("node {node} is back"));
        self.simulation.bounce(name(node));
    }

    /// Nothing that was acknowledged is lost or there twice, and no two replicas differ. Returns what happened.
    fn check(self) -> String {
        let contents: Vec<_> = self.disks.values().map(|disk| records(disk.as_ref() as &dyn Disk, GROUP)).collect();
        let shortest = contents.iter().map(Vec::len).min().unwrap();
        for content in &contents {
            assert_eq!(content[..shortest], contents[0][..shortest], "replicas agree");
        }
        let longest = contents.iter().max_by_key(|content| content.len()).unwrap();
        let acked = self.acked.lock().unwrap().clone();
        for record in &acked {
            assert_eq!(longest.iter().filter(|stored| *stored == record).count(), 1, "{record} was acknowledged");
        }
        assert!(longest.len() - shortest <= 2, "everyone caught up: {shortest} of {}", longest.len());
        drop(self.simulation);
        seed_thread(None);
        std::mem::take(&mut *self.events.0.lock().unwrap())
    }
}

/// The leader is cut off for a while, then the next one loses power and comes back.
fn two_faults(seed: u64) -> String {
    let mut world = World::new(seed, &Options::default(), MemoryDisk::new);
    world.run_for(Duration::from_secs(3));
    let (first, before) = (world.leading(), world.acked());
    world.cut_off(first);
    world.run_for(Duration::from_secs(4));
    assert_ne!(world.leading(), first, "the others went on");
    world.heal(first);
    world.run_for(Duration::from_secs(3));
    let (second, between) = (world.leading(), world.acked());
    assert!(between > before + 20, "it went on after the first fault");
    world.crash(second, 0);
    world.run_for(Duration::from_secs(3));
    world.bounce(second);
    world.run_for(Duration::from_secs(4));
    assert!(world.acked() > between + 20, "it went on after the second fault");
    world.check()
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let first = two_faults(7);
    let second = two_faults(7);
    let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
    assert_eq!(differs, None);
    assert_eq!(first, second);
    assert_ne!(first, two_faults(8), "another seed is another run");
}

/// Many faults in a row, drawn from the seed, with snapshots all the time; then quiet.
fn storm(seed: u64, new_disk: fn() -> MemoryDisk) -> String {
    let options = Options { snapshot_every: 20, keep_logs: 4, ..Options::default() };
    let mut world = World::new(seed, &options, new_disk);
    let mut state = seed;
    let mut draw = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    world.run_for(Duration::from_secs(2));
    for _ in 0..12 {
        let node = 1 + draw(3);
        let time = Duration::from_millis(50 + draw(2500));
        match draw(4) {
            0 | 1 => {
                world.crash(node, draw(6) as usize);
                world.run_for(time);
                world.bounce(node);
            }
            2 => {
                world.cut_off(node);
                world.run_for(time);
                world.heal(node);
            }
            _ => {
                // Everyone at once, and each disk keeps another part of what was not synced.
                for node in 1..=3 {
                    world.crash(node, draw(4) as usize);
                }
                world.run_for(time);
                for node in 1..=3 {
                    world.bounce(node);
                }
            }
        }
        world.run_for(Duration::from_millis(draw(2000)));
    }
    world.run_for(Duration::from_secs(8));
    let before = world.acked();
    world.run_for(Duration::from_secs(2));
    assert!(world.acked() > before + 10, "it goes on once it is quiet");
    world.check()
}

/// `QUORUS_SEEDS=from..to` runs others; what fails is reproduced by its number.
#[test]
fn nothing_acknowledged_is_lost_in_any_storm() {
    let range = std::env::var("QUORUS_SEEDS").unwrap_or_else(|_| "0..12".to_owned());
    let (from, to) = range.split_once("..").unwrap();
    for seed in from.parse().unwrap()..to.parse::<u64>().unwrap() {
        let result = std::panic::catch_unwind(|| storm(seed, MemoryDisk::new));
        assert!(result.is_ok(), "seed {seed} failed");
    }
}

const LYING_SEED: &str = "QUORUS_RAFT_LYING_SEED";

/// Not a test by itself: the process that ends badly, in one way or another.
#[test]
fn storm_on_lying_disks() {
    if let Ok(seed) = std::env::var(LYING_SEED) {
        storm(seed.parse().unwrap(), MemoryDisk::lying);
    }
}

#[test]
fn a_storm_notices_disks_that_lie_about_syncs() {
    for seed in 0..3 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["storm_on_lying_disks", "--exact"]).env(LYING_SEED, seed.to_string());
        assert!(!child.output().unwrap().status.success(), "seed {seed} passed on disks that forget what they synced");
    }
}
