//! Somebody else's cluster on this machine, as `quorusd dev` describes it in `dev.json`. Only its processes can be acted on.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::card::NodeCard;
use crate::process::{Signal, send};

/// Name of the card that `quorusd dev` writes.
const DEV_CARD: &str = "dev.json";
/// How long a node may stay away; `quorusd dev --restart` takes two seconds.
const BACK_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The cluster.
#[derive(Clone, Debug)]
pub struct Dev {
    folder: PathBuf,
}

/// What `quorusd dev` says.
#[derive(Clone, Debug, Deserialize)]
pub struct DevCard {
    /// The process that owns the nodes.
    pub pid: u32,
    /// True if a node that ends comes back by itself.
    pub restart: bool,
    /// The nodes.
    pub nodes: Vec<NodeCard>,
}

impl Dev {
    /// The cluster in a folder.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.canonicalize().with_context(|| format!("finding {}", folder.display()))?;
        let dev = Self { folder };
        dev.card()?;
        Ok(dev)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it is now.
    pub fn card(&self) -> anyhow::Result<DevCard> {
        let path = self.folder.join(DEV_CARD);
        let text = fs::read(&path).with_context(|| {
            format!(
                "{} has no {DEV_CARD}: is `quorusd dev` running with this folder? It says where its data and logs are",
                self.folder.display()
            )
        })?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Sends a node a signal.
    pub fn signal(&self, id: u64, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid_of(id)?.with_context(|| format!("node {id} is not alive"))?;
        send(pid, signal).with_context(|| format!("signalling node {id}"))
    }

    /// The process of a node, if it lives.
    pub fn pid_of(&self, id: u64) -> anyhow::Result<Option<u32>> {
        let node = self.card()?.nodes.into_iter().find(|node| node.id == id).with_context(|| format!("there is no node {id}"))?;
        Ok(node.pid)
    }

    /// Waits until a node that ended lives again: only then is its end undone.
    pub async fn must_come_back(&self, id: u64) -> anyhow::Result<String> {
        let deadline = Instant::now() + BACK_WITHIN;
        while self.pid_of(id)?.is_none() {
            if Instant::now() > deadline {
                bail!("node {id} has not come back after {} s", BACK_WITHIN.as_secs());
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(String::new())
    }

    /// Fails if a node that ends would stay away.
    pub fn must_restart(&self) -> anyhow::Result<()> {
        if !self.card()?.restart {
            bail!("a node of this cluster that ends stays away; start it with: quorusd dev --restart");
        }
        Ok(())
    }
}
