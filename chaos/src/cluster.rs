//! A cluster of real `quorusd` processes on loopback, each with its own data folder.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::process::Process;

/// How often a node is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(50);
/// How long a node may take to stop in order.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

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
    alive: BTreeMap<u64, Process>,
}

impl Cluster {
    /// Starts `count` nodes with their folders in `folder`, and `flags` for each of them.
    pub fn start(program: &Path, folder: &Path, count: u64, flags: &[String]) -> anyhow::Result<Self> {
        let ports = free_ports(usize::try_from(count)? * 2)?;
        let mut pairs = ports.chunks_exact(2);
        let ports = (1..=count).map_while(|id| Some((id, pairs.next().and_then(|pair| Some((*pair.first()?, *pair.get(1)?)))?))).collect();
        let mut cluster = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            flags: flags.to_vec(),
            variables: BTreeMap::new(),
            ports,
            alive: BTreeMap::new(),
        };
        for id in 1..=count {
            cluster.start_node(id)?;
        }
        Ok(cluster)
    }

    /// Starts a node, for the first time or again.
    pub fn start_node(&mut self, id: u64) -> anyhow::Result<u32> {
        let (grpc, http) = *self.ports.get(&id).with_context(|| format!("there is no node {id}"))?;
        let peers = self.ports.iter().map(|(id, (grpc, _))| format!("{id}=127.0.0.1:{grpc}")).collect::<Vec<_>>().join(",");
        let mut command = Command::new(&self.program);
        command
            .arg("serve")
            .args(["--node-id", &id.to_string(), "--peers", &peers, "--bootstrap-expect", &self.ports.len().to_string()])
            .args(["--listen", &format!("127.0.0.1:{grpc}"), "--http-listen", &format!("127.0.0.1:{http}")])
            .arg("--data-dir")
            .arg(self.folder.join(format!("node-{id}")))
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

    /// Every node's address for clients, living or not.
    pub fn endpoints(&self) -> Vec<String> {
        self.ports.keys().map(|id| self.endpoint(*id)).collect()
    }

    /// Every node's address for HTTP, by node id, living or not.
    pub fn http_addresses(&self) -> Vec<String> {
        self.ports.values().map(|(_, http)| format!("127.0.0.1:{http}")).collect()
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
    }

    fn endpoint(&self, id: u64) -> String {
        format!("http://127.0.0.1:{}", self.ports.get(&id).map_or(0, |(grpc, _)| *grpc))
    }

    async fn serves(&self, id: u64) -> bool {
        let ask = async {
            let channel = Endpoint::from_shared(self.endpoint(id))?.timeout(Duration::from_secs(1)).connect().await?;
            let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await?;
            anyhow::Ok(answer.into_inner().status() == ServingStatus::Serving)
        };
        ask.await.unwrap_or(false)
    }
}

/// Asks the system for ports that nobody uses. Another process could take one before it is used; then the node says so.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    // All are held until all are known, so that none comes twice.
    let held = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    Ok(held.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect::<Result<_, _>>()?)
}
