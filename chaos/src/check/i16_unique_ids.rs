//! I16: ids never repeat.
//!
//! - No two recorded runs of a replica have the same uid; no uid is told to clients for two run ids, or recorded under two.
//! - No child uid is asked for by two steps or tries.
//! - In a run no token is granted twice, nor does any attempt of a step have two tokens.
//! - In the ledger a token of a run belongs to one attempt of one step.
//!
//! Sources: operations, replicas, ledger. Limits: leases have no id but (run uid, token).

use std::collections::BTreeMap;

use quorus_proto::v1::{EventType, HistoryEvent};

use super::{
    findings::{Findings, Invariant},
    joined::{Execution, Joined},
    testimony,
    verdict::Counterexample,
};

pub(super) const INVARIANT: Invariant = Invariant { id: "I16", title: "uids, tokens and leases never repeat", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    uids(joined, findings);
    let mut children: BTreeMap<&str, (&str, &HistoryEvent)> = BTreeMap::new();
    for run in joined.runs.values() {
        let mut tokens: BTreeMap<u64, &HistoryEvent> = BTreeMap::new();
        for event in run.of_type(EventType::StepLeased) {
            let known = tokens.insert(event.token, event);
            findings.expect(known.is_none(), || {
                Counterexample::new(run.name(), format!("token {} was granted twice", event.token))
                    .step(&event.step)
                    .with(known.into_iter().chain([event]).map(|event| joined.clock.event(event)))
            });
        }
        for event in run.of_type(EventType::ChildRequested) {
            let known = children.insert(&event.child_run_uid, (run.uid(), event));
            findings.expect(known.is_none(), || {
                Counterexample::new(run.name(), format!("child {} was asked for twice", event.child_run_uid))
                    .step(&event.step)
                    .with(known.into_iter().map(|(_, event)| event).chain([event]).map(|event| joined.clock.event(event)))
            });
        }
    }
    let mut owners: BTreeMap<(&str, u64), (&str, &Execution<'_>)> = BTreeMap::new();
    let mut numbers: BTreeMap<(&str, &str, u32), &Execution<'_>> = BTreeMap::new();
    for ((uid, step), executions) in &joined.executed {
        for execution in executions {
            let (owner, first) = *owners.entry((uid, execution.token)).or_insert((step, execution));
            let other = numbers.entry((uid, step, execution.attempt)).or_insert(execution);
            let same = owner == *step && first.attempt == execution.attempt && other.token == execution.token;
            findings.expect(same, || {
                let other = if other.token == execution.token { first } else { *other };
                let name = joined.runs.get(uid).map_or_else(|| (*uid).to_owned(), |run| run.name());
                Counterexample::new(name, "a token was used for two attempts, or an attempt had two tokens")
                    .step(*step)
                    .with(other.testimony().chain(execution.testimony()))
            });
        }
    }
}

fn uids(joined: &Joined<'_>, findings: &mut Findings) {
    for replica in joined.shards.values().flatten() {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for run in &replica.runs {
            let known = seen.insert(&run.run_uid, &run.run_id);
            findings.expect(known.is_none(), || {
                Counterexample::new(&run.run_id, format!("two runs have the uid {}", run.run_uid)).with([testimony::replica(
                    replica,
                    joined.evidence.setup.exported_us,
                    format!("runs {} and {} have it", known.unwrap_or_default(), run.run_id),
                )])
            });
        }
    }
    let mut told: BTreeMap<&str, (&str, &crate::record::Operation)> = BTreeMap::new();
    for start in joined.starts() {
        let uid = start.operation.answer().map_or("", |answer| answer.run_uid.as_str());
        if uid.is_empty() {
            continue;
        }
        let (run_id, first) = *told.entry(uid).or_insert((start.run_id, start.operation));
        findings.expect(run_id == start.run_id, || {
            Counterexample::new(start.run_id, format!("the uid {uid} was told for two run ids"))
                .with(testimony::operation(first))
                .with(testimony::operation(start.operation))
        });
    }
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::EventType;

    use crate::check::testing::{Scene, assert_only, each_event, violated};
    use crate::record::Evidence;

    fn legal() -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.fail_attempt(&run, "a", 500);
        scene.task(&run, "a");
        scene.task(&run, "b");
        scene.succeed(&run);
        let other = scene.start("other", "w");
        scene.task(&other, "a");
        scene.succeed(&other);
        scene.evidence()
    }

    #[test]
    fn the_same_tokens_in_two_runs_are_legal() {
        assert_only(&legal(), &[]);
    }

    #[test]
    fn a_token_that_repeats_is_found() {
        let mut evidence = legal();
        let first = evidence.ledger.iter().find(|line| line.step == "a").unwrap().token;
        for line in evidence.ledger.iter_mut().filter(|line| line.step == "b") {
            line.token = first;
        }
        // It was never granted, either, and the outcome that was recorded has no line any more.
        assert_only(&evidence, &["I2", "I3", "I16"]);
        let mut evidence = legal();
        let mut first = 0;
        each_event(&mut evidence, |event| {
            if event.r#type() == EventType::StepLeased && event.step == "a" && event.attempt == 1 {
                first = event.token;
            }
            if event.r#type() == EventType::StepLeased && event.step == "b" {
                event.token = first;
            }
        });
        assert!(violated(&evidence).contains("I16"));
    }

    #[test]
    fn a_uid_that_repeats_is_found() {
        let mut evidence = legal();
        let uid = evidence.replicas[0].runs[0].run_uid.clone();
        for replica in &mut evidence.replicas {
            replica.runs[1].run_uid = uid.clone();
        }
        assert!(violated(&evidence).contains("I16"));
    }

    #[test]
    fn a_child_that_is_asked_for_twice_is_found() {
        let mut scene = Scene::new();
        let parent = scene.start("p", "w");
        let child = scene.child(&parent, "c");
        scene.succeed(&child);
        scene.child_ended(&parent, "c", &child);
        let asked = scene.nth_event(&parent, 1).clone();
        scene.push(&parent, quorus_proto::v1::HistoryEvent { step: "d".to_owned(), ..asked });
        scene.child_ended(&parent, "d", &child);
        scene.succeed(&parent);
        assert_only(&scene.evidence(), &["I16"]);
    }
}
