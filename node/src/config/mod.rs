//! The configuration of a node: file < environment < flags, each value with its origin.
//!
//! One table ([`setting::SETTINGS`]) names every setting; flags, environment names, defaults, `config print` and the reference in
//! `docs/operations.md` follow from it. A layer ([`mod@file`], [`layers`]) only collects texts with their origins; [`mod@resolve`] merges the layers,
//! gives the texts their types and checks what must hold between them. Everything that is wrong is reported at once, with its place.
//!
//! Invariant: a [`Config`] that exists is valid; nobody downstream checks it again.

pub mod file;
pub mod layers;
pub mod print;
pub mod problem;
mod resolve;
pub mod setting;
pub mod value;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use crate::executors::Cidr;

pub use self::{
    problem::{Invalid, Origin, Problem},
    resolve::{Resolved, resolve},
};

/// Everything that a node is told when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who the node is.
    pub node: Node,
    /// Where it listens for gRPC, from clients, workers and peers.
    pub listen: SocketAddr,
    /// `host:port` at which others reach its gRPC.
    pub advertise: String,
    /// Where it listens for HTTP: probes, metrics, version.
    pub http_listen: SocketAddr,
    /// All nodes of the cluster by id, this one included, as `host:port`.
    pub peers: BTreeMap<u64, String>,
    /// How many nodes must meet before a new cluster is made; 0 never makes one.
    pub bootstrap_expect: usize,
    /// Approvals count although nobody vouches for the person. Fixed when the cluster is made.
    pub allow_unverified_approvals: bool,
    /// Number of shards beside the system group. Fixed when the cluster is made.
    pub shards: u32,
    /// Replicas per shard, at most the number of peers.
    pub replication_factor: usize,
    /// How long a worker holds a task after its last acknowledged heartbeat.
    pub lease: Duration,
    /// How long a cancelled attempt may take to stop.
    pub cancel_grace: Duration,
    /// How long ended runs are kept whose definition does not say it.
    pub retention: Duration,
    /// Where histories are written before their runs are removed, if anywhere.
    pub export_dir: Option<PathBuf>,
    /// Attempts of built-in steps that this node executes at a time.
    pub builtin_concurrency: u32,
    /// Address ranges beside the public ones that built-in steps may call.
    pub http_allow_private: Vec<Cidr>,
    /// The folder with a file per secret.
    pub secrets_dir: Option<PathBuf>,
    /// Times of the consensus.
    pub raft: Raft,
    /// Bounds that turn overload into refusals.
    pub limits: Limits,
    /// What is logged, and how.
    pub log: Log,
}

/// Who the node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number; unique in the cluster, never given to another data folder.
    pub id: u64,
    /// The folder with everything that it must not forget.
    pub data_dir: PathBuf,
}

/// Times of the consensus. Invariant: `2 * heartbeat <= election_min < election_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raft {
    /// How often a leader tells its followers that it lives.
    pub heartbeat: Duration,
    /// Shortest silence after which a follower stands for election.
    pub election_min: Duration,
    /// Longest such silence.
    pub election_max: Duration,
}

/// Bounds that turn overload into refusals. The pools are apart, so that none can starve another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Starts, cancels, terminates and changes of definitions at a time.
    pub changes: usize,
    /// Reads at a time.
    pub reads: usize,
    /// Watch streams at a time.
    pub watches: usize,
    /// Workers' streams at a time.
    pub workers: usize,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The shape of a line.
    pub format: LogFormat,
    /// A level, or directives such as `info,quorus_raft=debug`.
    pub level: String,
}

/// The shape of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// The configuration of a node that is told nothing: alone, on loopback.
    ///
    /// Tests and simulations start from it and change fields.
    pub fn alone(id: u64, data_dir: impl Into<PathBuf>) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 7401));
        Self {
            node: Node { id, data_dir: data_dir.into() },
            listen,
            advertise: listen.to_string(),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 8401)),
            peers: BTreeMap::from([(id, listen.to_string())]),
            bootstrap_expect: 1,
            allow_unverified_approvals: false,
            shards: 16,
            replication_factor: 1,
            lease: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(10),
            retention: Duration::from_secs(30 * 24 * 3600),
            export_dir: None,
            builtin_concurrency: 1000,
            http_allow_private: Vec::new(),
            secrets_dir: None,
            raft: Raft {
                heartbeat: Duration::from_millis(100),
                election_min: Duration::from_millis(300),
                election_max: Duration::from_millis(450),
            },
            limits: Limits { changes: 1024, reads: 4096, watches: 4096, workers: 4096 },
            log: Log { format: LogFormat::Auto, level: "info".to_owned() },
        }
    }
}
