//! A cluster of our own: real nodes and workers, a proxy on each directed link.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;

use super::{
    DiskKind, Plan,
    card::{Card, LinkCard, NEMESIS, NodeCard, SOCKET, WorkerCard},
    clocks::Clocks,
    disks::Disks,
    network::{Cables, Network},
};
use crate::{
    cluster::{Cluster, Home},
    fault::proxy::Link,
    workers::Workers,
};

/// Who asks something of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// Another node.
    Node(u64),
    /// Any client.
    Client,
    /// A worker.
    Worker(u64),
}

/// A directed link: from one who asks, to the node that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkName {
    /// Who asks.
    pub from: Party,
    /// Who is asked.
    pub to: u64,
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            Party::Node(from) => write!(f, "link-{from}-{}", self.to),
            Party::Client => write!(f, "link-client-{}", self.to),
            Party::Worker(worker) => write!(f, "link-worker-{worker}-{}", self.to),
        }
    }
}

/// The cluster, its workers, and everything between them.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    /// The nodes.
    pub cluster: Cluster,
    /// The workers.
    pub workers: Workers,
    /// The links.
    pub links: BTreeMap<LinkName, Link>,
    /// The nodes' clocks.
    pub clocks: Clocks,
    /// The cables, if nodes live in namespaces of their own.
    pub cables: Option<Cables>,
    /// The disks, if they can lose power. Last: nodes end before their disks do.
    pub disks: Option<Disks>,
}

impl Stage {
    /// Opens the links and starts the nodes, waits until they are ready, and starts the workers.
    pub async fn up(plan: &Plan, patience: Duration) -> anyhow::Result<Self> {
        fs::create_dir_all(&plan.folder).with_context(|| format!("creating {}", plan.folder.display()))?;
        let folder = plan.folder.canonicalize().with_context(|| format!("finding {}", plan.folder.display()))?;
        let programs = plan.borrow_programs()?;
        // Before the cluster: if something fails below, nodes end before their disks do.
        let disks = match plan.disks {
            DiskKind::Plain => None,
            DiskKind::Lossy => Some(Disks::mount(&folder, plan.nodes).await?),
        };
        let mut cluster = Cluster::plan(&programs.quorusd, &folder, plan.nodes, &plan.all_flags())?;
        let cables = match plan.network {
            Network::Loopback => None,
            Network::Namespaces => Some(Cables::lay(&cluster.ids(), &folder.join("network.log")).context("laying cables")?),
        };
        if let Some(cables) = &cables {
            for node in cluster.ids() {
                cluster.settle(node, cables.home(node)?);
            }
        }
        let clocks = Clocks::wind(&folder, &mut cluster)?;
        let mut links = BTreeMap::new();
        let parties = cluster.ids().into_iter().map(Party::Node).chain([Party::Client]).chain((1..=plan.workers).map(Party::Worker));
        for (number, from) in parties.enumerate() {
            for to in cluster.ids() {
                if from == Party::Node(to) {
                    continue;
                }
                let seed = plan.seed.wrapping_add((number as u64) << 32).wrapping_add(to << 48);
                let near = if let Party::Node(from) = from { cluster.home(from).others } else { Home::HERE.address };
                let link = Link::open((near, 0).into(), cluster.address_of(to), seed)?;
                if let Party::Node(from) = from {
                    cluster.route(from, to, link.port());
                }
                links.insert(LinkName { from, to }, link);
            }
        }
        cluster.start_all()?;
        cluster.wait_ready(patience).await.context("starting the nodes")?;
        let endpoints = (1..=plan.workers).map(|number| (number, endpoints(&links, Party::Worker(number)))).collect();
        let workers = Workers::start_each(plan.worker_program(&programs.quorus)?, &folder, endpoints)?;
        Ok(Self { folder, cluster, workers, links, clocks, cables, disks })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Addresses for clients.
    pub fn endpoints(&self) -> Vec<String> {
        endpoints(&self.links, Party::Client)
    }

    /// What others need to know.
    pub fn card(&self) -> Card {
        let pids = self.cluster.pids();
        let http = self.cluster.http_addresses();
        let node = |(id, http): (u64, String)| NodeCard {
            id,
            pid: pids.get(&id).copied(),
            grpc: self.cluster.address_of(id).to_string(),
            http,
            data: self.cluster.data_of(id),
            log: self.cluster.log_of(id),
        };
        let worker = |number| WorkerCard {
            number,
            pid: self.workers.pid_of(number),
            ledger: self.workers.ledger_of(number),
            log: self.workers.log_of(number),
        };
        Card {
            pid: std::process::id(),
            socket: self.folder.join(SOCKET),
            nemesis: self.folder.join(NEMESIS),
            endpoints: self.endpoints(),
            nodes: self.cluster.ids().into_iter().zip(http).map(node).collect(),
            workers: self.workers.numbers().into_iter().map(worker).collect(),
            links: self.links.iter().map(|(name, link)| LinkCard { name: name.to_string(), port: link.port() }).collect(),
        }
    }

    /// Stops everything in order.
    pub async fn down(&mut self) {
        self.workers.stop().await;
        self.cluster.stop().await;
        if let Some(disks) = &mut self.disks {
            disks.quit().await;
        }
    }
}

fn endpoints(links: &BTreeMap<LinkName, Link>, from: Party) -> Vec<String> {
    links.iter().filter(|(name, _)| name.from == from).map(|(_, link)| format!("http://127.0.0.1:{}", link.port())).collect()
}
