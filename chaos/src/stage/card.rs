//! `stage.json`: by which tools find everything of a stage.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// Name of the card in a stage's folder.
pub const STAGE_CARD: &str = "stage.json";
/// Name of the socket in a stage's folder.
pub const SOCKET: &str = "control.sock";
/// Name of the faults' record in a stage's folder.
pub const NEMESIS: &str = "nemesis.jsonl";

/// A stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Card {
    /// The process that owns it.
    pub pid: u32,
    /// Where faults are ordered.
    pub socket: PathBuf,
    /// Where faults are written down.
    pub nemesis: PathBuf,
    /// Addresses for clients, each through a proxy of its own.
    pub endpoints: Vec<String>,
    /// Nodes by number.
    pub nodes: Vec<NodeCard>,
    /// Workers by number.
    pub workers: Vec<WorkerCard>,
    /// Links.
    pub links: Vec<LinkCard>,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeCard {
    /// Its number.
    pub id: u64,
    /// Its process; none while it does not live.
    pub pid: Option<u32>,
    /// Its own port for gRPC, without a proxy, as `host:port`.
    pub grpc: String,
    /// Its port for HTTP, as `host:port`.
    pub http: String,
    /// Its data folder.
    pub data: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

/// A worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerCard {
    /// Its number.
    pub number: u64,
    /// Its process; none while it does not live.
    pub pid: Option<u32>,
    /// What it wrote down.
    pub ledger: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

/// A link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkCard {
    /// Its name: `link-1-3`, `link-client-3`, `link-worker-2-3`.
    pub name: String,
    /// Where it listens.
    pub port: u16,
}

impl Card {
    /// Reads the card of a folder.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(STAGE_CARD);
        if !path.exists() {
            bail!(
                "{} is no stage: it has no {STAGE_CARD}; make one with: quorus-chaos cluster up --dir {}",
                folder.display(),
                folder.display()
            );
        }
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Writes it as a whole: a reader never sees half of it.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let (path, next) = (folder.join(STAGE_CARD), folder.join("stage.json.next"));
        fs::write(&next, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&next, &path))
            .with_context(|| format!("writing {}", path.display()))
    }
}
