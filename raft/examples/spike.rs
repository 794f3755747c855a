//! The thinnest path, measured: three processes over loopback gRPC and real disks, records of 300 bytes, every commit synced on a quorum.
//!
//! `cargo run -p quorus-raft --example spike`. The process starts itself three more times; the node that leads proposes and prints a table.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement, not a library")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use hdrhistogram::Histogram;
use quorus_raft::{
    ApplyError, Entry, Group, GroupConfig, Host, Index, Net, NodeId, Options, Peers, StateMachine,
    disk::{Batch, Disk, Durability, RocksDisk, RocksOptions, Table},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tonic::transport::server::TcpIncoming;

const RECORD_BYTES: usize = 300;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURE: Duration = Duration::from_secs(3);

fn main() {
    // RUST_LOG=info shows what the groups do.
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("node") => node(arguments[2].parse().unwrap(), &arguments[3], arguments[4..].to_vec()),
        groups => parent(groups.and_then(|groups| groups.parse().ok()).unwrap_or(1)),
    }
}

fn parent(groups: u32) {
    let folder = tempfile::tempdir().unwrap();
    disk_alone(&folder.path().join("alone"));
    let ports: Vec<u16> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()).collect();
    let mut children: Vec<Child> = (1..=3)
        .map(|node| {
            Command::new(std::env::current_exe().unwrap())
                .arg("node")
                .arg(node.to_string())
                .arg(folder.path().join(node.to_string()))
                .arg(groups.to_string())
                .args(ports.iter().map(u16::to_string))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    println!("{groups} group(s) on 3 processes, {RECORD_BYTES} byte records");
    println!("{:>12} {:>12} {:>10} {:>10} {:>10}", "concurrent", "commits/s", "p50 us", "p99 us", "max us");
    let (sender, lines) = std::sync::mpsc::channel();
    for child in &mut children {
        let (out, sender) = (BufReader::new(child.stdout.take().unwrap()), sender.clone());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    }
    for line in lines {
        if line == "done" {
            break;
        }
        println!("{line}");
    }
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// What one synced write costs here and now; no commit is faster.
fn disk_alone(folder: &std::path::Path) {
    let disk = RocksDisk::open(folder, &RocksOptions::default()).unwrap();
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    for index in 0..2000_u64 {
        let mut batch = Batch::new();
        batch.put(Table::Log, index.to_be_bytes().to_vec(), vec![7; RECORD_BYTES]);
        let begin = Instant::now();
        disk.write(batch, Durability::Synced).unwrap();
        histogram.record(u64::try_from(begin.elapsed().as_micros()).unwrap()).unwrap();
    }
    let at = |quantile| histogram.value_at_quantile(quantile);
    println!("one synced write alone: p50 {} us, p99 {} us", at(0.5), at(0.99));
}

struct Loopback(BTreeMap<NodeId, String>);

impl Net for Loopback {
    fn address(&self, node: NodeId) -> Option<String> {
        self.0.get(&node).cloned()
    }
}

/// Keeps the last records, so that every apply writes what it would in life.
struct Ring(u32);

impl StateMachine for Ring {
    fn apply(&mut self, entries: &[Entry], batch: &mut Batch) -> Result<Vec<Bytes>, ApplyError> {
        for entry in entries {
            let mut key = BytesMut::with_capacity(12);
            key.put_u32(self.0);
            key.put_u64(entry.index % 10_000);
            batch.put(Table::State, key.freeze(), entry.record.clone());
        }
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn applied(&mut self, _index: Index) {}

    fn restored(&mut self) -> Result<(), ApplyError> {
        Ok(())
    }
}

#[tokio::main]
async fn node(node: NodeId, folder: &str, arguments: Vec<String>) {
    let groups: u32 = arguments[0].parse().unwrap();
    let addresses: BTreeMap<_, _> = (1..).zip(arguments[1..].iter().map(|port| format!("127.0.0.1:{port}"))).collect();
    let listener = TcpListener::bind(&addresses[&node]).await.unwrap();
    let disk = Arc::new(RocksDisk::open(folder, &RocksOptions::default()).unwrap());
    let options = Options { node_id: node, cluster_id: "spike".to_owned(), ..Options::default() };
    let host = Host::new(options, disk, Arc::new(Peers::new(Arc::new(Loopback(addresses))))).unwrap();
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .add_service(host.services());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
    let members: BTreeMap<_, _> = (1..=3).map(|node| (node, node)).collect();
    let mut opened = Vec::new();
    for group in 1..=groups {
        let config = GroupConfig { group, replica: node, members: members.clone(), learners: BTreeMap::new(), initialize: true };
        opened.push(host.open(config, Box::new(Ring(group))).await.unwrap());
    }
    // The first group's leader makes the load, on all groups: the others are handed over to it.
    let mut leadership = opened[0].leadership();
    let here = leadership.wait_for(|leadership| leadership.leader.is_some()).await.unwrap().leader == Some(node);
    for group in &opened {
        let mut leadership = group.leadership();
        let leader = opened[0].leadership().borrow().leader;
        while leadership.borrow_and_update().leader != leader {
            if let (true, Some(to)) = (leadership.borrow().here, leader) {
                // If it fails, it is tried again.
                let _tried = group.transfer_leader(to).await;
            } else {
                leadership.changed().await.unwrap();
            }
        }
    }
    let before = cpu_time();
    tokio::time::sleep(MEASURE).await;
    println!("idle: {:.1} % of a core on node {node}", 100.0 * (cpu_time() - before).as_secs_f64() / MEASURE.as_secs_f64());
    if !here {
        return std::future::pending().await;
    }
    let led = opened;
    for concurrent in [1, 16, 64, 256, 1024, 4096] {
        measure(&led, concurrent).await;
    }
    println!("done");
    std::future::pending::<()>().await;
}

/// What this process has used so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // User and system time in ticks of 10 ms, after the name, which is in parentheses.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    Duration::from_millis(10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()))
}

async fn measure(groups: &[Group], concurrent: usize) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let begin = Instant::now() + WARM_UP;
    let end = begin + MEASURE;
    let mut tasks = JoinSet::new();
    for task in 0..concurrent {
        let (group, sender) = (groups[task % groups.len()].clone(), sender.clone());
        tasks.spawn(async move {
            let record = Bytes::from(vec![7; RECORD_BYTES]);
            let term = group.leadership().borrow().term;
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let sent = Instant::now();
                group.propose(term, record.clone()).await.unwrap();
                if sent >= begin {
                    latencies.push(sent.elapsed());
                }
            }
            sender.send(latencies).unwrap();
        });
    }
    drop(sender);
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    while let Some(latencies) = receiver.recv().await {
        for latency in latencies {
            histogram.record(u64::try_from(latency.as_micros()).unwrap()).unwrap();
        }
    }
    tasks.join_all().await;
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for display")]
    let rate = (histogram.len() as f64 / MEASURE.as_secs_f64()) as u64;
    let at = |quantile| histogram.value_at_quantile(quantile);
    println!("{concurrent:>12} {rate:>12} {:>10} {:>10} {:>10}", at(0.5), at(0.99), histogram.max());
}
