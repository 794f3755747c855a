//! Everything that a verdict is made from.

use std::collections::BTreeMap;

use quorus_client::LedgerEntry;

use super::{Fault, Operation, RecordedRun, Replica, Shape};

/// Everything that is known about an experiment.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// How it was made.
    pub setup: Setup,
    /// What the workflows promise, by name.
    pub shapes: BTreeMap<String, Shape>,
    /// What clients asked, by id.
    pub operations: Vec<Operation>,
    /// What workers wrote down, by time.
    pub ledger: Vec<LedgerEntry>,
    /// What was done to the cluster, by time.
    pub faults: Vec<Fault>,
    /// What every replica of every shard has, after healing.
    pub replicas: Vec<Replica>,
    /// Faults that the runner itself had: if there are any, no verdict is better than unknown.
    pub harness_errors: Vec<String>,
}

/// How an experiment was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Setup {
    /// Its title.
    pub title: String,
    /// Seed of all that was drawn.
    pub seed: u64,
    /// Commit of the programs under test, if known.
    pub commit: String,
    /// True if everything was simulated.
    pub simulated: bool,
    /// How long a lease lives.
    pub lease_ms: u64,
    /// Bound between two nodes' clocks.
    pub clock_bound_ms: u64,
    /// When healing began: all faults are over.
    pub healed_us: u64,
    /// When the export was made.
    pub exported_us: u64,
    /// Wall time in milliseconds since 1970 at microsecond 0 of the monotonic clock.
    pub wall_at_zero_ms: i64,
    /// What coverage the experiment promises: faults and paths by name with the least count. Less makes every verdict unknown.
    pub expects: BTreeMap<String, u64>,
}

impl Evidence {
    /// The history that counts, by run uid: of the replica of each shard that has applied most. Other replicas are compared with it by I13.
    pub fn histories(&self) -> BTreeMap<&str, &RecordedRun> {
        let mut best: BTreeMap<u32, &Replica> = BTreeMap::new();
        for replica in self.replicas.iter().filter(|replica| replica.shard > 0) {
            let known = best.entry(replica.shard).or_insert(replica);
            if replica.index > known.index {
                *known = replica;
            }
        }
        best.values().flat_map(|replica| &replica.runs).map(|run| (run.run_uid.as_str(), run)).collect()
    }
}
