//! What was done to the cluster.

use serde::{Deserialize, Serialize};

/// A line about a fault. A fault that lasts has one line when it begins and one when it ends, with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Unique per fault in an experiment.
    pub id: u64,
    /// What, as the tool's catalogue names it: `kill`, `pause`, `partition`, `clock-offset`, `worker-kill`, ...
    pub kind: String,
    /// On whom: `node-1`, `worker-2`, `link-1-3` (from node 1 to node 3).
    pub targets: Vec<String>,
    /// How far it got.
    pub phase: FaultPhase,
    /// When.
    pub at_us: u64,
    /// Shards that a target led when it began.
    #[serde(default)]
    pub led_shards: Vec<u32>,
    /// Parameters and what was seen, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How far a fault got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultPhase {
    /// It is in force (or, for an event such as a kill, has happened).
    Installed,
    /// It is over.
    Healed,
    /// It was not tried, or could not be.
    Skipped,
    /// It was tried, and nobody knows whether it is in force.
    Indeterminate,
}

impl Fault {
    /// True for faults of nodes, disks, clocks and links between nodes: those that, alone, may not repeat a step.
    pub fn of_servers_only(&self) -> bool {
        self.targets.iter().all(|target| !target.starts_with("worker"))
    }
}
