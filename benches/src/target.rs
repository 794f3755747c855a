//! Where the load goes: a cluster of its own, or one that somebody named.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use quorus_bench_options::Configuration;
use quorus_chaos::cluster::Cluster;
use quorus_client::Client;
use serde::Serialize;
use tempfile::TempDir;

use crate::nodes::Source;

/// How long nodes may take to be ready.
pub(crate) const READY_PATIENCE: Duration = Duration::from_secs(60);

/// Where the load goes.
#[derive(Debug)]
pub(crate) struct Target {
    endpoints: Vec<String>,
    http: Vec<String>,
    own: Option<Own>,
}

/// A cluster that this tool started.
#[derive(Debug)]
struct Own {
    cluster: Cluster,
    /// Deleted when this goes.
    _temporary: Option<TempDir>,
}

/// What a cluster is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct About {
    pub(crate) nodes: usize,
    pub(crate) shards: usize,
    /// Of the nodes; more than one in the middle of an update.
    pub(crate) versions: BTreeSet<String>,
    /// Whether this tool started it.
    pub(crate) own: bool,
}

impl Target {
    /// Starts a cluster if one is asked for, and waits until it is ready.
    pub(crate) async fn of(configuration: &Configuration) -> anyhow::Result<Self> {
        let options = &configuration.options;
        let Some(count) = options.cluster else {
            if configuration.endpoints.is_empty() {
                bail!("there is no node to talk to: name some with --endpoints, or start some with --cluster 3");
            }
            return Ok(Self { endpoints: configuration.endpoints.clone(), http: options.http.clone(), own: None });
        };
        let quorusd = match &options.quorusd {
            Some(path) => path.clone(),
            None => std::env::current_exe().context("finding this program")?.with_file_name("quorusd"),
        };
        if !quorusd.is_file() {
            bail!(
                "the node program {} is not there: build it (cargo build --workspace), or say where it is with --quorusd",
                quorusd.display()
            );
        }
        let (folder, temporary) = match &options.data {
            Some(folder) => (folder.clone(), None),
            None => TempDir::new().map(|temporary| (temporary.path().to_owned(), Some(temporary)))?,
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        // Nodes are started where the folder says, whatever that is relative to.
        let folder = folder.canonicalize().with_context(|| format!("finding {}", folder.display()))?;
        let mut cluster = Cluster::start(&quorusd, &folder, count, &options.node_flags)?;
        if let Err(error) = cluster.wait_ready(READY_PATIENCE).await {
            return Err(error.context(complaint(cluster.ids().into_iter().map(|id| cluster.log_of(id)).collect())));
        }
        Ok(Self { endpoints: cluster.endpoints(), http: Vec::new(), own: Some(Own { cluster, _temporary: temporary }) })
    }

    /// Addresses for clients.
    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Where the nodes' figures come from, as of now.
    pub(crate) fn sources(&self) -> Vec<Source> {
        if let Some(Own { cluster, .. }) = &self.own {
            let pids = cluster.pids();
            let source = |id: u64| Source::Process { address: cluster.address_of(id).to_string(), pid: pids.get(&id).copied() };
            return cluster.ids().into_iter().map(source).collect();
        }
        if self.http.is_empty() {
            self.endpoints.iter().cloned().map(Source::Unknown).collect()
        } else {
            self.http.iter().cloned().map(Source::Metrics).collect()
        }
    }

    /// The cluster that this tool started, and may break.
    pub(crate) fn own(&mut self) -> Option<&mut Cluster> {
        self.own.as_mut().map(|own| &mut own.cluster)
    }

    /// Whether the cluster ends with this tool.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// What the cluster is.
    pub(crate) async fn about(&self, client: &Client) -> anyhow::Result<About> {
        let status = client.cluster_status().await.context("asking for the status of the cluster")?;
        Ok(About {
            nodes: status.nodes.len(),
            shards: status.shards.iter().filter(|shard| shard.shard > 0).count(),
            versions: status.nodes.into_iter().map(|node| node.version).filter(|version| !version.is_empty()).collect(),
            own: self.is_own(),
        })
    }

    /// Fails if a node of its own ended by itself: whatever was measured then is nothing.
    pub(crate) fn must_live(&mut self) -> anyhow::Result<()> {
        self.own().map_or(Ok(()), Cluster::must_live)
    }

    /// Stops the nodes that this tool started, in order.
    pub(crate) async fn stop(&mut self) {
        if let Some(cluster) = self.own() {
            cluster.stop().await;
        }
    }
}

/// The last line of each node's log, for a cluster that does not start: its folder is gone when somebody wants to look.
fn complaint(logs: Vec<PathBuf>) -> String {
    let last = |log: &PathBuf| {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        text.lines().last().map(|line| format!("\n  {}: {line}", log.file_name().unwrap_or_default().display()))
    };
    let lines: String = logs.iter().filter_map(last).collect();
    format!("the cluster did not start; the last lines of its logs:{lines}\nwhy")
}
