//! A cluster of real `quorusd` processes on loopback or in namespaces, each with its own data folder.
//!
//! Nodes reach each other directly, or through a port of somebody else's for each direction: see [`Cluster::route`].

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    process::Command,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::process::{Process, Signal};

/// How often a node is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(50);
/// How long a node may take to stop in order.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How long a node may take to say whether it is ready.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Ports of nodes: below those that systems give to outgoing connections (32768 on Linux), or another program would take a dead node's port.
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 32_000;

/// Where a node lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Where it listens.
    pub address: IpAddr,
    /// Where it reaches the others.
    pub others: IpAddr,
    /// Command by which a process gets there; empty for here.
    pub enter: Vec<String>,
}

impl Home {
    /// The loopback of this machine.
    pub const HERE: &'static Self =
        &Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), others: IpAddr::V4(Ipv4Addr::LOCALHOST), enter: Vec::new() };
}

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    folder: PathBuf,
    flags: Vec<String>,
    /// Environment by node id.
    variables: BTreeMap<u64, Vec<(String, String)>>,
    /// Ports for gRPC and HTTP by node id.
    ports: BTreeMap<u64, (u16, u16)>,
    /// Where nodes live, if not here.
    homes: BTreeMap<u64, Home>,
    /// Ports by which a node reaches another, where that is not the other's own.
    routes: BTreeMap<(u64, u64), u16>,
    alive: BTreeMap<u64, Process>,
    /// Nodes that were asked to stop, until they have: whether they stopped in order.
    leaving: BTreeMap<u64, JoinHandle<bool>>,
}

impl Cluster {
    /// Starts `count` nodes with their folders in `folder`, and `flags` for each of them.
    pub fn start(program: &Path, folder: &Path, count: u64, flags: &[String]) -> anyhow::Result<Self> {
        let mut cluster = Self::plan(program, folder, count, flags)?;
        cluster.start_all()?;
        Ok(cluster)
    }

    /// The same cluster before anything is started.
    pub fn plan(program: &Path, folder: &Path, count: u64, flags: &[String]) -> anyhow::Result<Self> {
        let ports = free_ports(usize::try_from(count)? * 2)?;
        let mut pairs = ports.chunks_exact(2);
        let ports = (1..=count).map_while(|id| Some((id, pairs.next().and_then(|pair| Some((*pair.first()?, *pair.get(1)?)))?))).collect();
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            flags: flags.to_vec(),
            variables: BTreeMap::new(),
            ports,
            homes: BTreeMap::new(),
            routes: BTreeMap::new(),
            alive: BTreeMap::new(),
            leaving: BTreeMap::new(),
        })
    }

    /// Makes a node live somewhere else, from its next start on. Others reach it by what [`Cluster::route`] says.
    pub fn settle(&mut self, id: u64, home: Home) {
        self.homes.insert(id, home);
    }

    /// Makes a node reach another by some port, from its next start on.
    pub fn route(&mut self, from: u64, to: u64, port: u16) {
        self.routes.insert((from, to), port);
    }

    /// Starts every node.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        self.ids().into_iter().try_for_each(|id| self.start_node(id).map(|_| ()))
    }

    /// Starts a node, for the first time or again.
    pub fn start_node(&mut self, id: u64) -> anyhow::Result<u32> {
        let (grpc, http) = *self.ports.get(&id).with_context(|| format!("there is no node {id}"))?;
        if self.alive.contains_key(&id) {
            bail!("node {id} lives already");
        }
        let route = |to: &u64, own: &u16| self.routes.get(&(id, *to)).copied().unwrap_or(*own);
        let home = self.home(id);
        let host = |to: &u64| if *to == id { home.address } else { home.others };
        let peer = |(to, (grpc, _)): (&u64, &(u16, u16))| format!("{to}={}", SocketAddr::from((host(to), route(to, grpc))));
        let peers = self.ports.iter().map(peer).collect::<Vec<_>>().join(",");
        let mut words = home.enter.iter().map(AsRef::as_ref).chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
            .arg("serve")
            .args(["--node-id", &id.to_string(), "--peers", &peers, "--bootstrap-expect", &self.ports.len().to_string()])
            .args(["--listen", &SocketAddr::from((home.address, grpc)).to_string()])
            .args(["--http-listen", &SocketAddr::from((home.address, http)).to_string()])
            .arg("--data-dir")
            .arg(self.data_of(id))
            .args(&self.flags)
            .envs(self.variables.get(&id).into_iter().flatten().map(|(name, value)| (name, value)));
        let process = Process::start(&format!("node {id}"), command, &self.log_of(id))?;
        let pid = process.pid();
        self.alive.insert(id, process);
        Ok(pid)
    }

    /// Sets a variable of a node's environment, from its next start on.
    pub fn set_variable(&mut self, id: u64, name: &str, value: &str) {
        self.variables.entry(id).or_default().push((name.to_owned(), value.to_owned()));
    }

    /// Whether a node's process is there; false for one that ended by itself, too.
    pub fn is_alive(&mut self, id: u64) -> bool {
        self.alive.get_mut(&id).is_some_and(|process| process.must_live().is_ok())
    }

    /// Kills a node with signal 9.
    pub async fn kill(&mut self, id: u64) -> anyhow::Result<()> {
        self.alive.remove(&id).with_context(|| format!("node {id} is not alive"))?.kill().await
    }

    /// Asks a node to stop in order. It is not alive any more from now on; [`Cluster::left`] waits for its end.
    pub fn ask_to_stop(&mut self, id: u64) -> anyhow::Result<()> {
        let process = self.alive.remove(&id).with_context(|| format!("node {id} is not alive"))?;
        let stop = tokio::spawn(async move { process.stop(STOP_PATIENCE).await.unwrap_or(false) });
        self.leaving.insert(id, stop);
        Ok(())
    }

    /// Waits until a node that was asked to stop has; whether it did so in order. None if it was not asked.
    pub async fn left(&mut self, id: u64) -> Option<bool> {
        let stop = self.leaving.remove(&id)?;
        Some(stop.await.unwrap_or(false))
    }

    /// True if a node was asked to stop and has not yet.
    pub fn is_leaving(&self, id: u64) -> bool {
        self.leaving.get(&id).is_some_and(|stop| !stop.is_finished())
    }

    /// Sends a node a signal.
    pub fn signal(&self, id: u64, signal: Signal) -> anyhow::Result<()> {
        self.alive.get(&id).with_context(|| format!("node {id} is not alive"))?.signal(signal)
    }

    /// Takes nodes that have ended by themselves off the list; which, and how.
    pub fn bury(&mut self) -> BTreeMap<u64, String> {
        let dead: BTreeMap<u64, String> = self.alive.iter_mut().filter_map(|(id, process)| Some((*id, process.ended()?))).collect();
        self.alive.retain(|id, _| !dead.contains_key(id));
        dead
    }

    /// Waits until every living node says that it serves.
    pub async fn wait_ready(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        for id in self.alive.keys().copied().collect::<Vec<_>>() {
            while !self.serves(id).await {
                if let Some(process) = self.alive.get_mut(&id) {
                    process.must_live()?;
                }
                if Instant::now() > deadline {
                    bail!("node {id} is not ready after {} s", patience.as_secs());
                }
                sleep(READY_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Fails if a node has ended without having been killed.
    pub fn must_live(&mut self) -> anyhow::Result<()> {
        self.alive.values_mut().try_for_each(Process::must_live)
    }

    /// Every node's number, living or not.
    pub fn ids(&self) -> Vec<u64> {
        self.ports.keys().copied().collect()
    }

    /// A node's data folder.
    pub fn data_of(&self, id: u64) -> PathBuf {
        self.folder.join(format!("node-{id}"))
    }

    /// Every node's address for clients, living or not.
    pub fn endpoints(&self) -> Vec<String> {
        self.ports.keys().map(|id| self.endpoint(*id)).collect()
    }

    /// Every node's address for HTTP, by node id, living or not.
    pub fn http_addresses(&self) -> Vec<String> {
        self.ports.iter().map(|(id, (_, http))| SocketAddr::from((self.home(*id).address, *http)).to_string()).collect()
    }

    /// Process ids by node id.
    pub fn pids(&self) -> BTreeMap<u64, u32> {
        self.alive.iter().map(|(id, process)| (*id, process.pid())).collect()
    }

    /// The log file of a node.
    pub fn log_of(&self, id: u64) -> PathBuf {
        self.folder.join(format!("node-{id}.log"))
    }

    /// Stops all nodes in order.
    pub async fn stop(&mut self) {
        let stops = std::mem::take(&mut self.alive).into_values().map(|process| tokio::spawn(process.stop(STOP_PATIENCE)));
        for stop in stops.collect::<Vec<_>>() {
            // A node that does not stop in order is killed; that is the end that this asks for, too.
            let _ = stop.await;
        }
        for stop in std::mem::take(&mut self.leaving).into_values() {
            let _ = stop.await;
        }
    }

    /// A node's own address for gRPC, whatever others reach it by.
    pub fn address_of(&self, id: u64) -> SocketAddr {
        SocketAddr::from((self.home(id).address, self.ports.get(&id).map_or(0, |(grpc, _)| *grpc)))
    }

    /// Where a node lives.
    pub fn home(&self, id: u64) -> &Home {
        self.homes.get(&id).unwrap_or(Home::HERE)
    }

    fn endpoint(&self, id: u64) -> String {
        format!("http://{}", self.address_of(id))
    }

    async fn serves(&self, id: u64) -> bool {
        serves(&self.endpoint(id)).await
    }
}

/// True if a node says that it is ready.
pub async fn serves(endpoint: &str) -> bool {
    let ask = async {
        let channel = Endpoint::from_shared(endpoint.to_owned())?.timeout(SILENCE_MAX).connect_timeout(SILENCE_MAX).connect().await?;
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await?;
        anyhow::Ok(answer.into_inner().status() == ServingStatus::Serving)
    };
    // A node that stands still accepts a connection and then says nothing at all.
    timeout(SILENCE_MAX * 2, ask).await.is_ok_and(|answer| answer.unwrap_or(false))
}

/// Looks for ports that nobody uses, below those that the system gives to connections: a node that is down for a while must find its own again.
pub fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    // Clusters that start at the same time look at different places.
    let first = FIRST_PORT + u16::try_from(std::process::id() % 500).unwrap_or(0) * 20;
    // All are held until all are known, so that none comes twice.
    let mut held = Vec::new();
    for port in (first..LAST_PORT).chain(FIRST_PORT..first) {
        if held.len() == count {
            break;
        }
        // With the standard library's options a port counts as taken while old connections of it fade away; those would only delay a node.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
    }
    if held.len() < count {
        bail!("{count} free ports between {FIRST_PORT} and {LAST_PORT} are needed, {} were found", held.len());
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}
