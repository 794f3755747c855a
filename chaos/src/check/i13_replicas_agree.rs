//! I13: replicas that have applied the same are the same.
//!
//! For every shard (the system group, too) and every replica `r` of it, beside the replica `m` that has applied most:
//! - if `index(r) = index(m)`: their terms and their digests are equal;
//! - every run of `r` is a run of `m`, with the same identity, and its history is a prefix of that in `m`, the same if the indexes are equal;
//! - every run of `m` is a run of `r` if the indexes are equal.
//!
//! Every history begins with the start of its run and has the sequences `1, 2, 3, ...` No run is in two shards.
//!
//! Sources: replicas. Limits: a digest is only of the index at which the export was made; replicas at different indexes are compared by their histories.

use std::collections::BTreeMap;

use quorus_proto::v1::EventType;

use super::{
    findings::{Findings, Invariant},
    joined::Joined,
    testimony,
    verdict::{Counterexample, Testimony},
};
use crate::record::{RecordedRun, Replica};

pub(super) const INVARIANT: Invariant = Invariant { id: "I13", title: "replicas that have applied the same are the same", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    let mut shards: BTreeMap<u32, Vec<&Replica>> = BTreeMap::new();
    for replica in &joined.evidence.replicas {
        shards.entry(replica.shard).or_default().push(replica);
    }
    for replicas in shards.values_mut() {
        replicas.sort_by_key(|replica| std::cmp::Reverse(replica.index));
        let Some((most, others)) = replicas.split_first() else { continue };
        for other in others {
            agree(joined, most, other, findings);
        }
    }
    let mut homes: BTreeMap<&str, u32> = BTreeMap::new();
    for (shard, replicas) in &joined.shards {
        for run in replicas.first().into_iter().flat_map(|replica| &replica.runs) {
            let known = *homes.entry(run.run_uid.as_str()).or_insert(*shard);
            findings.expect(known == *shard, || Counterexample::new(name(run), format!("the run is in shards {known} and {shard}")));
            whole(joined, run, findings);
        }
    }
}

/// A history has no holes.
fn whole(joined: &Joined<'_>, run: &RecordedRun, findings: &mut Findings) {
    let wrong = run.events.iter().zip(1..).find(|(event, sequence)| event.sequence != *sequence);
    let starts = run.events.first().is_some_and(|event| event.r#type() == EventType::RunStarted);
    findings.expect(wrong.is_none() && starts, || {
        let event = wrong.map(|(event, _)| event).or(run.events.first());
        Counterexample::new(name(run), "the history does not begin with the start, or has a hole")
            .with(event.map(|event| joined.clock.event(event)))
    });
}

/// Compares a replica with one that has applied as much, or more.
pub(super) fn agree(joined: &Joined<'_>, most: &Replica, other: &Replica, findings: &mut Findings) {
    let says = |replica: &Replica, said: String| testimony::replica(replica, joined.evidence.setup.exported_us, said);
    let level = most.index == other.index;
    if level {
        let digests_known = !most.digest.is_empty() && !other.digest.is_empty();
        findings.expect(most.term == other.term && (!digests_known || most.digest == other.digest), || {
            Counterexample::new("", format!("two replicas of shard {} at index {} are not the same", most.shard, most.index))
                .with([says(most, format!("digest {}", most.digest)), says(other, format!("digest {}", other.digest))])
        });
    }
    let runs: BTreeMap<&str, &RecordedRun> = most.runs.iter().map(|run| (run.run_uid.as_str(), run)).collect();
    for run in &other.runs {
        let known = runs.get(run.run_uid.as_str());
        let difference = known.map_or(Some(0), |known| difference(known, run, level));
        findings.expect(difference.is_none(), || {
            let position = difference.unwrap_or_default();
            let line = |replica: &Replica, run: Option<&RecordedRun>| -> Testimony {
                let event = run.and_then(|run| run.events.get(position)).map(|event| joined.clock.event(event).said);
                says(replica, event.unwrap_or_else(|| format!("has nothing at #{} of run {}", position + 1, name_of(run))))
            };
            Counterexample::new(name(run), "two replicas tell different histories")
                .with([line(most, known.copied()), line(other, Some(run))])
        });
    }
    if level && most.runs.len() > other.runs.len() {
        let theirs: BTreeMap<&str, ()> = other.runs.iter().map(|run| (run.run_uid.as_str(), ())).collect();
        for run in most.runs.iter().filter(|run| !theirs.contains_key(run.run_uid.as_str())) {
            findings.violated(|| {
                Counterexample::new(name(run), "a replica does not have a run that another one has at the same index")
                    .with([says(most, format!("has run {}", run.run_id)), says(other, format!("does not have run {}", run.run_id))])
            });
        }
    }
}

/// The first position at which two histories differ.
fn difference(most: &RecordedRun, other: &RecordedRun, level: bool) -> Option<usize> {
    let same_run = (&most.namespace, &most.run_id, &most.workflow, &most.parent_uid)
        == (&other.namespace, &other.run_id, &other.workflow, &other.parent_uid);
    if !same_run {
        return Some(0);
    }
    let shorter = most.events.len().min(other.events.len());
    let first = (0..shorter).find(|position| most.events[*position] != other.events[*position]);
    let too_long = other.events.len() > most.events.len() || level && other.events.len() != most.events.len();
    first.or(too_long.then_some(shorter))
}

fn name(run: &RecordedRun) -> String {
    format!("{} ({})", run.run_id, run.run_uid)
}

fn name_of(run: Option<&RecordedRun>) -> &str {
    run.map_or("that nobody else has", |run| run.run_id.as_str())
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{Scene, assert_only};
    use crate::record::Evidence;

    fn legal() -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.task(&run, "a");
        scene.succeed(&run);
        scene.evidence()
    }

    #[test]
    fn a_replica_that_lags_behind_is_legal() {
        let mut evidence = legal();
        let behind = &mut evidence.replicas[2];
        behind.index -= 1;
        behind.digest = "older".to_owned();
        behind.runs[0].events.pop();
        assert_only(&evidence, &[]);
    }

    #[test]
    fn another_digest_term_or_history_is_found() {
        let mut evidence = legal();
        evidence.replicas[2].digest = "other".to_owned();
        assert_only(&evidence, &["I13"]);
        let mut evidence = legal();
        evidence.replicas[2].term += 1;
        assert_only(&evidence, &["I13"]);
        let mut evidence = legal();
        evidence.replicas[2].runs[0].events[1].worker = "other".to_owned();
        assert_only(&evidence, &["I13"]);
        let mut evidence = legal();
        evidence.replicas[2].runs[0].events.pop();
        assert_only(&evidence, &["I13"]);
    }

    #[test]
    fn a_replica_that_lags_behind_and_knows_more_is_found() {
        let mut evidence = legal();
        evidence.replicas[2].index -= 1;
        let more = evidence.replicas[2].runs[0].events[1].clone();
        evidence.replicas[2].runs[0].events.push(more);
        assert_only(&evidence, &["I13"]);
    }

    #[test]
    fn a_hole_in_a_history_is_found() {
        let mut evidence = legal();
        for replica in &mut evidence.replicas {
            replica.runs[0].events.last_mut().unwrap().sequence += 1;
        }
        assert_only(&evidence, &["I13"]);
    }
}
