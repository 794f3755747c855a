//! I1: no acknowledged submission is lost.
//!
//! For every start `o`:
//! - if `o` ended ok with uid `u`: in every replica of `u`'s shard that has applied most there is exactly the run `u`, with `o`'s run id, workflow and
//!   digest of the input;
//! - for every other start `p` that ended ok with the same run id and request id: `uid(p) = uid(o)`;
//! - if every start with `o`'s run id was refused for good, there is no run with that id;
//! - if nobody knows how `o` ended, either is fine.
//!
//! Sources: operations, replicas. Limits: replicas that have applied less are judged by I13; a run of a shard that was not exported makes the verdict
//! unknown.

use std::collections::{BTreeMap, BTreeSet};

use quorus_client::content_digest;

use super::{
    findings::{Findings, Invariant},
    joined::{Joined, Start},
    testimony,
    verdict::Counterexample,
};
use crate::record::Answer;

pub(super) const INVARIANT: Invariant = Invariant { id: "I1", title: "no acknowledged start is lost", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    // Which node has which run.
    let runs = joined.shards.values().flatten().flat_map(|replica| replica.runs.iter().map(|run| (replica.node, run.run_uid.as_str())));
    let held: BTreeSet<(u64, &str)> = runs.collect();
    let mut by_request: BTreeMap<(&str, &str), Vec<(Start<'_>, &str)>> = BTreeMap::new();
    let mut refused: BTreeMap<&str, Vec<Start<'_>>> = BTreeMap::new();
    let mut possible: BTreeSet<&str> = BTreeSet::new();
    for start in joined.starts() {
        if let Some(answer) = start.operation.answer() {
            kept(joined, &held, &start, answer, findings);
        }
        if start.operation.may_have_been_done() {
            possible.insert(start.run_id);
        }
        match start.operation.answer().map(|answer| answer.run_uid.as_str()) {
            Some(uid) if !start.request_id.is_empty() && !uid.is_empty() => {
                by_request.entry((start.run_id, start.request_id)).or_default().push((start, uid));
            }
            Some(_) => {}
            None if start.operation.refusal().is_some() => refused.entry(start.run_id).or_default().push(start),
            None => {}
        }
    }
    for ((run_id, request_id), starts) in by_request.iter().filter(|(_, starts)| starts.len() > 1) {
        let uids: BTreeSet<&str> = starts.iter().map(|(_, uid)| *uid).collect();
        findings.expect(uids.len() == 1, || {
            Counterexample::new(*run_id, format!("request {request_id} was answered with {} different runs", uids.len()))
                .with(starts.iter().flat_map(|(start, _)| testimony::operation(start.operation)))
        });
    }
    for (run_id, starts) in refused.iter().filter(|(run_id, _)| !possible.contains(*run_id)) {
        let found = joined.uids.get(run_id);
        findings.expect(found.is_none(), || {
            Counterexample::new(*run_id, "every start of this run was refused for good, and yet it is there")
                .with(starts.iter().flat_map(|start| testimony::operation(start.operation)))
                .with(found.into_iter().flatten().filter_map(|uid| joined.runs.get(uid)?.started()).map(|event| joined.clock.event(event)))
        });
    }
}

/// A start that was acknowledged is in all replicas that have applied most, as it was asked for.
fn kept(joined: &Joined<'_>, held: &BTreeSet<(u64, &str)>, start: &Start<'_>, answer: &Answer, findings: &mut Findings) {
    if let Some(why) = missing_export(joined, answer) {
        return findings.unknown(why);
    }
    findings.look();
    let by_id = || joined.uids.get(start.run_id).and_then(|uids| joined.runs.get(uids.first()?));
    let run = if answer.run_uid.is_empty() { by_id() } else { joined.runs.get(answer.run_uid.as_str()) };
    let counterexample = |summary: String| Counterexample::new(start.run_id, summary).with(testimony::operation(start.operation));
    let Some(run) = run else {
        let exported = joined.evidence.setup.exported_us;
        let of_shard = |replica: &&crate::record::Replica| answer.shard == 0 || replica.shard == answer.shard;
        // The run may be gone from the replica that stands for the others only.
        let has = |replica: &crate::record::Replica| replica.runs.iter().any(|run| run.run_id == start.run_id);
        let replicas: Vec<_> = joined.shards.values().flatten().copied().filter(of_shard).collect();
        let whence = if replicas.iter().any(|replica| has(replica)) { "gone from some replicas" } else { "gone" };
        return findings.violated(|| {
            let says = |replica| {
                testimony::replica(
                    replica,
                    exported,
                    format!("{} run {}", if has(replica) { "has" } else { "does not have" }, start.run_id),
                )
            };
            counterexample(format!("the start was acknowledged, and now the run is {whence}")).with(replicas.into_iter().take(6).map(says))
        });
    };
    let replicas = joined.shards.get(&run.shard).map_or(&[][..], Vec::as_slice);
    let most = replicas.first().map_or(0, |replica| replica.index);
    for replica in replicas.iter().filter(|replica| replica.index == most) {
        if !held.contains(&(replica.node, run.uid())) {
            findings.violated(|| {
                counterexample(format!("the start was acknowledged, and node {} does not have the run", replica.node))
                    .with([testimony::replica(replica, joined.evidence.setup.exported_us, format!("does not have run {}", start.run_id))])
            });
        }
    }
    let recorded = run.started();
    let input = recorded.map(|event| content_digest(event.payload.as_ref())).unwrap_or_default();
    let same_input = start.input_sha256.is_empty() || input.is_empty() || input == start.input_sha256;
    if run.record.run_id != start.run_id || run.record.workflow != start.workflow || !same_input {
        findings.violated(|| {
            counterexample("the run is there, but it is not the one that was asked for".to_owned())
                .with(recorded.map(|event| joined.clock.event(event)))
        });
    }
}

/// Why nobody can tell whether a run is there, if that is so.
pub(super) fn missing_export(joined: &Joined<'_>, answer: &Answer) -> Option<String> {
    if joined.shards.is_empty() {
        return Some("no replica was exported".to_owned());
    }
    (answer.shard > 0 && !joined.shards.contains_key(&answer.shard)).then(|| format!("no replica of shard {} was exported", answer.shard))
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{Scene, assert_only, result};
    use crate::record::{Call, Ending};

    #[test]
    fn a_run_that_is_gone_from_all_or_one_of_the_replicas_is_lost() {
        let mut scene = Scene::new();
        let kept = scene.start("kept", "w");
        let gone = scene.start("gone", "w");
        scene.succeed(&kept);
        scene.succeed(&gone);
        let evidence = scene.evidence();
        assert_only(&evidence, &[]);
        let mut all = evidence.clone();
        for replica in &mut all.replicas {
            replica.runs.retain(|run| run.run_id != "gone");
        }
        assert_only(&all, &["I1"]);
        let mut one = evidence.clone();
        one.replicas[1].runs.retain(|run| run.run_id != "gone");
        assert_only(&one, &["I1", "I13"]);

        // The counterexample does not say of the others what is true of the first.
        let mut first = evidence;
        first.replicas[0].runs.retain(|run| run.run_id != "gone");
        let found = result(&first, "I1");
        let said: Vec<&str> = found.violations[0].evidence.iter().map(|said| said.said.as_str()).collect();
        assert_eq!(found.violations[0].summary, "the start was acknowledged, and now the run is gone from some replicas");
        assert!(said.iter().any(|said| said.ends_with("does not have run gone")), "{said:?}");
        assert!(said.iter().any(|said| said.ends_with("has run gone") && !said.contains("not")), "{said:?}");
    }

    #[test]
    fn a_run_with_another_input_or_workflow_is_not_the_one_that_was_asked_for() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.succeed(&run);
        let evidence = scene.evidence();
        let mut other = evidence.clone();
        for operation in &mut other.operations {
            if let Call::Start { input_sha256, .. } = &mut operation.call {
                *input_sha256 = "0".repeat(64);
            }
        }
        assert_only(&other, &["I1", "I2"]);
    }

    #[test]
    fn the_same_request_has_one_answer() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.succeed(&run);
        let mut evidence = scene.evidence();
        let mut again = evidence.operations[0].clone();
        again.id = 99;
        evidence.operations.push(again.clone());
        assert_only(&evidence, &[]);
        let mut scene = Scene::new();
        let (one, two) = (scene.start("r", "w"), scene.start("r", "w"));
        scene.succeed(&one);
        scene.succeed(&two);
        let mut evidence = scene.evidence();
        assert_only(&evidence, &[]);
        for operation in &mut evidence.operations {
            if let Call::Start { request_id, .. } = &mut operation.call {
                *request_id = "same".to_owned();
            }
        }
        assert_only(&evidence, &["I1", "I2"]);
    }

    #[test]
    fn a_start_that_was_refused_for_good_leaves_nothing() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.succeed(&run);
        let mut evidence = scene.evidence();
        evidence.operations[0].ending = Some(Ending::Info { what: "timeout".to_owned() });
        assert_only(&evidence, &[]);
        evidence.operations[0].ending = Some(Ending::Fail { reason: "RUN_EXISTS".to_owned() });
        assert_only(&evidence, &["I1", "I2"]);
    }

    #[test]
    fn a_shard_that_was_not_exported_leaves_the_question_open() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.succeed(&run);
        let mut evidence = scene.evidence();
        evidence.replicas.clear();
        let results = crate::check::judge(&evidence);
        assert_eq!(results.verdict, crate::check::verdict::Verdict::Unknown);
    }
}
