//! Our own extension of the format: what a game day needs beside the method. Other runners carry it along and ignore it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stage::{DiskKind, network::Network};

/// The name under `extensions`.
pub const NAME: &str = "quorus";

/// How a game day around an experiment is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GameDay {
    /// Always `quorus`.
    pub name: String,
    /// What is touched at most, in words.
    pub blast_radius: String,
    /// When people should stop it, in words.
    pub abort_conditions: Vec<String>,
    /// How large the stage is.
    pub stage: StageSize,
    /// What goes on meanwhile.
    pub workload: Load,
    /// Seconds that work goes on before the first fault.
    pub settle_seconds: u64,
    /// Seconds after healing in which everything must have ended.
    pub end_within_seconds: u64,
    /// Seconds that the whole day may take.
    pub bound_seconds: u64,
    /// Faults and paths by name, with the least count that proves that something was tested.
    pub expects: BTreeMap<String, u64>,
}

/// How large a stage is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StageSize {
    /// Nodes.
    pub nodes: u64,
    /// Workers.
    pub workers: u64,
    /// What connects the nodes.
    pub network: Network,
    /// What nodes keep their data on: `plain`, or `lossy` for disks that can be broken.
    pub disks: DiskKind,
    /// Flags for `quorus-chaos cluster up`, as they are.
    pub flags: Vec<String>,
}

/// What goes on during an experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Which mix of workflows.
    pub mix: String,
    /// How many runs.
    pub runs: u64,
    /// Starts per second.
    pub rate: u64,
    /// Workers beside the others that break the protocol's rules on purpose: outcomes that come twice, late, or never.
    pub misbehaving: u64,
}

impl Default for GameDay {
    fn default() -> Self {
        Self {
            name: NAME.to_owned(),
            blast_radius: String::new(),
            abort_conditions: Vec::new(),
            stage: StageSize::default(),
            workload: Load::default(),
            settle_seconds: 3,
            end_within_seconds: 120,
            bound_seconds: 600,
            expects: BTreeMap::new(),
        }
    }
}

impl Default for StageSize {
    fn default() -> Self {
        Self { nodes: 3, workers: 2, network: Network::Loopback, disks: DiskKind::Plain, flags: Vec::new() }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self { mix: "default".to_owned(), runs: 200, rate: 10, misbehaving: 0 }
    }
}
