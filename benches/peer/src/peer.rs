//! Their side: three nodes as in production (replication 2 of 3, synced write-ahead logs, four partitions), and the service that they call.

use std::{path::Path, process::Stdio};

use anyhow::Context as _;
use serde_json::json;
use tokio::process::Command;

use crate::process::{Process, free_ports, rss_bytes, until};

const NODES: usize = 3;

/// The peer at work.
#[derive(Debug)]
pub(crate) struct Peer {
    nodes: Vec<Process>,
    service: Process,
    /// Where clients send.
    pub(crate) ingresses: Vec<String>,
}

impl Peer {
    /// Starts it, and waits until the service answers.
    pub(crate) async fn start(server: &Path, folder: &Path) -> anyhow::Result<Self> {
        let ports = free_ports(NODES * 3 + 1)?;
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let (own, rest) = ports.split_at(NODES);
        let (ingress, rest) = rest.split_at(NODES);
        let (admin, rest) = rest.split_at(NODES);
        let service_port = *rest.first().context("a port for the service")?;
        let addresses = serde_json::to_string(&own.iter().map(url).collect::<Vec<_>>())?;
        let mut nodes = Vec::new();
        for (index, ((own, ingress), admin)) in own.iter().zip(ingress).zip(admin).enumerate() {
            let name = format!("peer-{}", index + 1);
            let data = folder.join(&name);
            std::fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
            let mut command = Command::new(server);
            command.arg("--no-logo").stdout(Stdio::null());
            for (variable, value) in [
                ("NODE_NAME", name.as_str()),
                ("CLUSTER_NAME", "bench"),
                ("LISTEN_MODE", "tcp"),
                ("BIND_IP", "127.0.0.1"),
                ("BIND_PORT", &own.to_string()),
                ("ADVERTISED_ADDRESS", &url(own)),
                ("INGRESS__BIND_ADDRESS", &format!("127.0.0.1:{ingress}")),
                ("ADMIN__BIND_ADDRESS", &format!("127.0.0.1:{admin}")),
                // One node makes the cluster, the others join it.
                ("AUTO_PROVISION", if index == 0 { "true" } else { "false" }),
                ("DEFAULT_NUM_PARTITIONS", "4"),
                ("DEFAULT_REPLICATION", "2"),
                ("METADATA_CLIENT__ADDRESSES", &addresses),
                ("LOG_FILTER", "warn"),
                ("LOG_DISABLE_ANSI_CODES", "true"),
                ("DISABLE_TELEMETRY", "true"),
            ] {
                command.env(format!("RESTATE_{variable}"), value);
            }
            command.env("RESTATE_BASE_DIR", &data);
            nodes.push(Process::start(&name, &mut command, &folder.join(format!("{name}.log")))?);
        }
        let this = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(this);
        command.args(["service", "--listen", &format!("127.0.0.1:{service_port}")]).stdout(Stdio::null());
        let service = Process::start("the service", &mut command, &folder.join("service.log"))?;
        let mut peer = Self { nodes, service, ingresses: ingress.iter().map(url).collect() };
        peer.register(&admin.iter().map(url).collect::<Vec<_>>(), &url(&service_port)).await?;
        Ok(peer)
    }

    /// Makes the service known, and waits until every node calls it.
    async fn register(&mut self, admins: &[String], service: &str) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(5)).build()?;
        let admin = admins.first().context("a node for administration")?;
        let registered = || async {
            let answer = client.post(format!("{admin}/deployments")).json(&json!({ "uri": service })).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        until("registering the service with the peer", registered).await.context("see the peer's logs")?;
        for ingress in self.ingresses.clone() {
            let answers = || async {
                let answer = client.post(format!("{ingress}/Bench/call")).json(&1).send().await;
                answer.is_ok_and(|answer| answer.status().is_success())
            };
            until("a first call", answers).await.context("see the peer's logs")?;
        }
        self.must_live()
    }

    /// Fails if anything has ended by itself.
    pub(crate) fn must_live(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().chain([&mut self.service]).try_for_each(Process::must_live)
    }

    /// Resident memory of each node.
    pub(crate) fn rss_bytes(&self) -> Vec<Option<u64>> {
        self.nodes.iter().map(|node| rss_bytes(node.pid()?)).collect()
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        for process in self.nodes.into_iter().chain([self.service]) {
            process.kill().await?;
        }
        Ok(())
    }
}
