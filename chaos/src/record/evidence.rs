//! Everything that a verdict is made from.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Starts that may be under way at once, as the nodes were told; 0 if that is not known.
    #[serde(default)]
    pub starts_at_once: u64,
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
    /// Runs that are not of this experiment: begun before its first operation, with room for clocks that differ, and of no operation; and all that came
    /// of them. A cluster that somebody else set up may have some.
    pub fn strangers(&self) -> BTreeSet<&str> {
        let Some(first_us) = self.operations.iter().map(|operation| operation.invoked_us).min() else { return BTreeSet::new() };
        let bound_ms = i64::try_from(self.setup.clock_bound_ms).unwrap_or(i64::MAX / 2);
        let began_ms = self.setup.wall_at_zero_ms.saturating_add(i64::try_from(first_us / 1000).unwrap_or(i64::MAX / 2)) - bound_ms;
        let runs = || self.replicas.iter().flat_map(|replica| &replica.runs);
        let own: BTreeSet<&str> = self.operations.iter().map(|operation| operation.call.run()).collect();
        let is_earlier = |run: &&RecordedRun| {
            let earlier = run.events.first().and_then(|event| event.time).is_some_and(|time| millis(time) < began_ms);
            earlier && !own.contains(run.run_id.as_str())
        };
        let mut strangers: BTreeSet<&str> = runs().filter(is_earlier).map(|run| run.run_uid.as_str()).collect();
        loop {
            let of_them = |run: &&RecordedRun| strangers.contains(run.parent_uid.as_str()) && !strangers.contains(run.run_uid.as_str());
            let more: Vec<&str> = runs().filter(of_them).map(|run| run.run_uid.as_str()).collect();
            if more.is_empty() {
                return strangers;
            }
            strangers.extend(more);
        }
    }

    /// The history that counts, by run uid: of the replica of each shard that has applied most. Other replicas are compared with it by I13. Without
    /// [`Self::strangers`].
    pub fn histories(&self) -> BTreeMap<&str, &RecordedRun> {
        let mut best: BTreeMap<u32, &Replica> = BTreeMap::new();
        for replica in self.replicas.iter().filter(|replica| replica.shard > 0) {
            let known = best.entry(replica.shard).or_insert(replica);
            if replica.index > known.index {
                *known = replica;
            }
        }
        let strangers = self.strangers();
        let runs = best.values().flat_map(|replica| &replica.runs).filter(|run| !strangers.contains(run.run_uid.as_str()));
        runs.map(|run| (run.run_uid.as_str(), run)).collect()
    }
}

fn millis(time: prost_types::Timestamp) -> i64 {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::HistoryEvent;

    use super::*;
    use crate::record::Call;

    #[test]
    fn runs_from_before_the_experiment_and_their_children_are_strangers() {
        let run = |uid: &str, parent: &str, ms: i64| {
            let time = prost_types::Timestamp { seconds: ms / 1000, nanos: i32::try_from(ms % 1000).unwrap() * 1_000_000 };
            let events = vec![HistoryEvent { sequence: 1, time: Some(time), ..HistoryEvent::default() }];
            RecordedRun { run_id: uid.to_owned(), run_uid: uid.to_owned(), parent_uid: parent.to_owned(), events, ..RecordedRun::default() }
        };
        let runs = vec![run("old", "", 10_000), run("child", "old", 70_000), run("near", "", 59_700), run("own", "", 10_000)];
        let call = Call::Get { run_id: "own".to_owned(), stale: false };
        let first = Operation { id: 1, client: "c".to_owned(), call, invoked_us: 20_000_000, ended_us: None, ending: None };
        let evidence = Evidence {
            setup: Setup { clock_bound_ms: 500, wall_at_zero_ms: 40_000, ..Setup::default() },
            operations: vec![first],
            replicas: vec![Replica { shard: 1, index: 1, runs, ..Replica::default() }],
            ..Evidence::default()
        };
        assert_eq!(evidence.strangers(), BTreeSet::from(["old", "child"]));
        assert_eq!(evidence.histories().into_keys().collect::<Vec<_>>(), ["near", "own"]);
        assert!(Evidence { operations: Vec::new(), ..evidence }.strangers().is_empty(), "nobody knows when it began");
    }
}
