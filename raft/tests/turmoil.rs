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

async fn run_node(node: NodeId, disk: Arc<MemoryDisk>, events: Events, acked: Arc<Mutex<Vec<String>>>) -> turmoil::Result {
    let options = Options { node_id: node, cluster_id: "simulated".to_owned(), writer: WriterMode::Task, ..Options::default() };
    let host = Host::new(options, disk, Arc::new(Peers::new(Arc::new(SimulatedNet)))).unwrap();
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let incoming = futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Accepted(stream));
        Some((accepted, listener))
    });
    tokio::spawn(tonic::transport::Server::builder().add_service(host.services()).serve_with_incoming(Box::pin(incoming)));
    let group = host.open(config(node, 3), Box::new(Records { group: GROUP })).await.unwrap();
    tokio::spawn(propose_while_leading(node, group.clone(), events.clone(), acked));
    let mut leadership = group.leadership();
    loop {
        let now = *leadership.borrow_and_update();
        events.note(&format!("node {node} sees leader {:?} of term {}{}", now.leader, now.term, if now.here { ", itself" } else { "" }));
        leadership.changed().await?;
    }
}

async fn propose_while_leading(node: NodeId, group: Group, events: Events, acked: Arc<Mutex<Vec<String>>>) {
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

/// One run: the leader is cut off for a while, then some node loses power and comes back. Returns what happened.
fn run(seed: u64) -> String {
    seed_thread(Some(seed));
    let mut simulation = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(8))
        .simulation_duration(Duration::from_secs(60))
        .tcp_capacity(4096)
        .build();
    let events = Events::default();
    let acked = Arc::new(Mutex::new(Vec::new()));
    let disks: BTreeMap<NodeId, Arc<MemoryDisk>> = (1..=3).map(|node| (node, Arc::new(MemoryDisk::new()))).collect();
    for (node, disk) in &disks {
        let (node, disk, events, acked) = (*node, Arc::clone(disk), events.clone(), Arc::clone(&acked));
        simulation.host(name(node), move || run_node(node, Arc::clone(&disk), events.clone(), Arc::clone(&acked)));
    }
    let run_until = |simulation: &mut turmoil::Sim<'_>, seconds: u64| {
        while simulation.elapsed() < Duration::from_secs(seconds) {
            simulation.step().unwrap();
        }
    };
    run_until(&mut simulation, 3);
    let leading: NodeId = acked.lock().unwrap().last().unwrap().split('.').next().unwrap().parse().unwrap();
    let before = acked.lock().unwrap().len();
    let others: Vec<NodeId> = disks.keys().copied().filter(|node| *node != leading).collect();
    for other in &others {
        simulation.partition(name(leading), name(*other));
    }
    events.note(&format!("node {leading} is cut off"));
    run_until(&mut simulation, 7);
    for other in &others {
        simulation.repair(name(leading), name(*other));
    }
    events.note("healed");
    run_until(&mut simulation, 10);
    let led: NodeId = acked.lock().unwrap().last().unwrap().split('.').next().unwrap().parse().unwrap();
    simulation.crash(name(led));
    disks[&led].crash();
    events.note(&format!("node {led} lost power"));
    run_until(&mut simulation, 13);
    simulation.bounce(name(led));
    events.note(&format!("node {led} is back"));
    run_until(&mut simulation, 17);

    let acked = acked.lock().unwrap().clone();
    let contents: Vec<_> = disks.values().map(|disk| records(disk.as_ref() as &dyn Disk, GROUP)).collect();
    let shortest = contents.iter().map(Vec::len).min().unwrap();
    for content in &contents {
        assert_eq!(content[..shortest], contents[0][..shortest], "replicas agree");
    }
    let longest = contents.iter().max_by_key(|content| content.len()).unwrap();
    for record in &acked {
        assert_eq!(longest.iter().filter(|stored| *stored == record).count(), 1, "{record} was acknowledged");
    }
    assert!(longest.len() - shortest <= 2, "everyone caught up: {shortest} of {}", longest.len());
    assert_ne!(leading, led, "the others went on without node {leading}");
    assert!(acked.len() > before + 50, "it went on after each fault");
    drop(simulation);
    seed_thread(None);
    std::mem::take(&mut *events.0.lock().unwrap())
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let first = run(7);
    let second = run(7);
    let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
    assert_eq!(differs, None);
    assert_eq!(first, second);
    assert_ne!(first, run(8), "another seed is another run");
}
