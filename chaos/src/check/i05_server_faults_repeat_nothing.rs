//! I5: faults of servers alone cause no second attempt.
//!
//! If every fault is one of nodes, disks, clocks or links between nodes, and no outage is longer than a lease: for every step `s` that workers execute
//! and every generation `g` of it,
//! - no attempt of `(s, g)` was given up because its worker was lost;
//! - `attempts(s, g) <= 1 + attempts of (s, g) that a worker reported as failed or gave back, or whose time was over, or that were stopped`;
//! - the ledger has at most one `begin` per attempt.
//!
//! An outage is a time in which shards may be without a leader that workers reach. It is derived from the faults, and rather too long than too short:
//! a killed node is an outage for the time of an election, or, while most nodes are down, until they are back; any other fault is one for as long as it
//! lasts. Outages that come less than [`APART_US`] after each other are one.
//!
//! Sources: faults, histories, ledger. Limits: outside of its condition it says nothing; the reason is given. Of a generation of a step that a worker had
//! which misbehaves on purpose it says nothing either: it is given up as it should be.

use std::collections::BTreeSet;

use super::{
    findings::{Findings, Invariant},
    joined::{Joined, Window},
    verdict::Counterexample,
};
use crate::workload::misbehaving::NAME_PREFIX;

pub(super) const INVARIANT: Invariant = Invariant { id: "I5", title: "faults of nodes alone repeat no step", check };

/// How long the shards of a node that died are without a leader.
const ELECTION_US: i64 = 3_000_000;

/// Workers need this long between two outages to renew what they hold.
const APART_US: i64 = 1_000_000;

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    if let Some(why) = out_of_scope(joined) {
        return findings.not_applicable(why);
    }
    for run in joined.runs.values() {
        for (step, view) in &run.steps {
            let attempts: Vec<_> = view.attempts.iter().filter(|attempt| !attempt.is_builtin()).collect();
            for generation in attempts.iter().map(|attempt| attempt.generation).collect::<BTreeSet<_>>() {
                let mine: Vec<_> = attempts.iter().filter(|attempt| attempt.generation == generation).collect();
                if mine.iter().any(|attempt| attempt.leased.worker.starts_with(NAME_PREFIX)) {
                    continue;
                }
                let explained = |outcome: &str| matches!(outcome, "failed" | "timed_out" | "released" | "cancelled");
                let excuses = mine.iter().filter(|attempt| explained(attempt.outcome())).count();
                let lost = mine.iter().any(|attempt| attempt.outcome() == "abandoned");
                findings.expect(!lost && mine.len() <= 1 + excuses, || {
                    let summary =
                        if lost { "a healthy worker was given up" } else { "the step was granted again without a reported failure" };
                    let from = mine.first().map_or(0, |attempt| joined.clock.at_us(attempt.leased));
                    let to = mine.last().map_or(0, |attempt| joined.clock.at_us(attempt.leased));
                    Counterexample::new(run.name(), summary)
                        .step(*step)
                        .with(
                            mine.iter()
                                .flat_map(|attempt| [Some(attempt.leased), attempt.ended])
                                .flatten()
                                .map(|event| joined.clock.event(event)),
                        )
                        .with(joined.executions(run.uid(), step).iter().flat_map(|execution| execution.testimony()))
                        .with(joined.faults_between(from, to))
                });
            }
        }
    }
    for ((uid, step), executions) in &joined.executed {
        let mut begun = BTreeSet::new();
        for execution in executions.iter().filter(|execution| execution.begin.is_some()) {
            findings.expect(begun.insert((execution.attempt, execution.token)), || {
                let same = executions.iter().filter(|other| (other.attempt, other.token) == (execution.attempt, execution.token));
                let run = joined.runs.get(uid).map_or_else(|| (*uid).to_owned(), |run| run.name());
                Counterexample::new(run, "an attempt was executed twice").step(*step).with(same.flat_map(|execution| execution.testimony()))
            });
        }
    }
}

fn out_of_scope(joined: &Joined<'_>) -> Option<String> {
    if joined.windows.is_empty() {
        return Some("there was no fault".to_owned());
    }
    if let Some(window) = joined.windows.iter().find(|window| !window.fault.of_servers_only()) {
        return Some(format!("there were faults of workers ({} of {})", window.fault.kind, window.fault.targets.join(", ")));
    }
    let longest = outages(joined).into_iter().map(|(from, to)| to.saturating_sub(from)).max().unwrap_or(0);
    (longest >= joined.lease_us()).then(|| {
        let long = if longest > joined.lease_us() * 1000 { "without an end".to_owned() } else { format!("of {} s", longest / 1_000_000) };
        format!("an outage {long} is not shorter than a lease ({} s)", joined.lease_us() / 1_000_000)
    })
}

/// Times in which a shard may be without a leader that workers reach; merged.
fn outages(joined: &Joined<'_>) -> Vec<(i64, i64)> {
    let nodes: BTreeSet<u64> = joined.evidence.replicas.iter().map(|replica| replica.node).collect();
    let mut single: Vec<(i64, i64)> = joined
        .windows
        .iter()
        .map(|window| match is_death(window) {
            true => (window.from_us, if is_majority(joined, window, nodes.len()) { window.to_us } else { window.from_us + ELECTION_US }),
            false => (window.from_us, window.to_us),
        })
        .collect();
    single.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for (from, to) in single {
        match merged.last_mut() {
            Some(last) if from <= last.1.saturating_add(APART_US) => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// A process that is gone: its streams close, and workers go elsewhere at once.
fn is_death(window: &Window<'_>) -> bool {
    let kind = window.fault.kind.as_str();
    ["kill", "term", "restart", "stop", "wipe", "drain", "leave"].iter().any(|word| kind.contains(word)) && !kind.contains("pause")
}

/// True if at some time of the window at least half of the nodes were gone.
fn is_majority(joined: &Joined<'_>, window: &Window<'_>, nodes: usize) -> bool {
    let at_once = |other: &&Window<'_>| is_death(other) && other.from_us < window.to_us && window.from_us < other.to_us;
    let gone: BTreeSet<&str> = joined.windows.iter().filter(at_once).flat_map(|window| &window.fault.targets).map(String::as_str).collect();
    gone.len() * 2 >= nodes
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::EventType;

    use crate::check::testing::{Scene, assert_only, result};
    use crate::check::verdict::Verdict;
    use crate::record::Evidence;

    fn with(fault: &str, target: &str, lasts_ms: u64, abandon: bool) -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.fault(fault, target, lasts_ms);
        if abandon {
            scene.abandon(&run, "a", 31_000);
        }
        scene.task(&run, "a");
        scene.succeed(&run);
        scene.evidence()
    }

    #[test]
    fn a_step_that_a_dead_node_repeated_is_found() {
        assert_only(&with("kill", "node-1", 60_000, false), &[]);
        assert_only(&with("kill", "node-1", 60_000, true), &["I5"]);
        assert_only(&with("partition", "link-1-2", 10_000, true), &["I5"]);
    }

    #[test]
    fn a_worker_that_misbehaves_on_purpose_is_given_up_as_it_should_be() {
        let mut evidence = with("kill", "node-1", 5_000, true);
        for record in evidence.replicas.iter_mut().flat_map(|replica| &mut replica.runs) {
            for event in record.events.iter_mut().filter(|event| event.r#type() == EventType::StepLeased && event.attempt == 1) {
                event.worker = "misbehaving-forget-4".to_owned();
            }
        }
        assert_eq!(result(&evidence, "I5").violations.len(), 0);
    }

    #[test]
    fn a_begin_twice_is_found() {
        let mut evidence = with("kill", "node-1", 5_000, false);
        let mut again = evidence.ledger.clone();
        for line in &mut again {
            line.mono_us += 60_000_000;
        }
        evidence.ledger.extend(again);
        assert_only(&evidence, &["I5"]);
    }

    #[test]
    fn it_says_why_it_says_nothing() {
        for (fault, target, lasts_ms) in [("worker-pause", "worker-1", 5_000), ("partition", "link-1-2", 31_000)] {
            let evidence = with(fault, target, lasts_ms, true);
            let result = result(&evidence, "I5");
            assert_eq!(result.verdict, Verdict::NotApplicable);
            assert!(!result.reason.is_empty());
        }
    }

    #[test]
    fn two_of_three_nodes_down_are_an_outage() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.fault("kill", "node-1", 40_000);
        scene.fault("kill", "node-2", 40_000);
        scene.succeed(&run);
        let result = result(&scene.evidence(), "I5");
        assert_eq!(result.verdict, Verdict::NotApplicable, "{}", result.reason);
    }
}
