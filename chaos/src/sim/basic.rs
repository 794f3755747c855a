//! The invariants without which nothing else matters. They join what clients were told, what workers wrote down, and what replicas have.
//!
//! Formally, for the replica of each shard with the highest index after healing (each history in it is H(run)):
//! - kept: a start that ended in ok has a run with the uid that it was told; one that was refused has none under its request.
//! - agreed: replicas of a shard with the same index have the same digest, and after healing all have the same index.
//! - ended: every run has a final status.
//! - as foreseen: a run that nobody cancelled has the status that its shape predicts.
//! - one outcome: a step ends once per generation; an attempt that succeeded has an `end` in the ledger with the same output.
//! - known: whatever a worker began is a lease in some history, and no attempt was begun twice.
//! - not repeated: under short faults of nodes alone, no attempt was abandoned or timed out.

use std::collections::BTreeMap;

use quorus_client::{LedgerEvent, content_digest};
use quorus_proto::v1::EventType;

use crate::record::{Call, Ending, Evidence, RecordedRun};

/// What is wrong; empty if nothing is.
pub(super) fn violations(evidence: &Evidence, gentle: bool) -> Vec<String> {
    let histories = evidence.histories();
    let mut found = Vec::new();
    kept(evidence, &histories, &mut found);
    agreed(evidence, &mut found);
    for run in histories.values() {
        ended(evidence, run, &mut found);
        one_outcome(evidence, run, &mut found);
    }
    known(evidence, &histories, &mut found);
    if gentle {
        not_repeated(&histories, &mut found);
    }
    found
}

/// True for a status that never changes again by itself.
pub(super) fn is_final(status: &str) -> bool {
    matches!(status, "RUN_STATUS_SUCCEEDED" | "RUN_STATUS_FAILED" | "RUN_STATUS_CANCELLED" | "RUN_STATUS_TERMINATED")
}

fn kept(evidence: &Evidence, histories: &BTreeMap<&str, &RecordedRun>, found: &mut Vec<String>) {
    for operation in &evidence.operations {
        let Call::Start { run_id, .. } = &operation.call else { continue };
        match &operation.ending {
            Some(Ending::Ok(answer)) => match histories.get(answer.run_uid.as_str()) {
                None => {
                    found.push(format!("kept: operation {} was told run {} ({run_id}), which no replica has", operation.id, answer.run_uid))
                }
                Some(run) if run.run_id != *run_id => found.push(format!("kept: run {} is {}, not {run_id}", answer.run_uid, run.run_id)),
                Some(_) => {}
            },
            Some(Ending::Fail { reason }) => {
                if let Some(run) = histories.values().find(|run| run.run_id == *run_id) {
                    found.push(format!("kept: the start of {run_id} was refused ({reason}), but run {} is there", run.run_uid));
                }
            }
            _ => {}
        }
    }
}

fn agreed(evidence: &Evidence, found: &mut Vec<String>) {
    let mut shards: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for replica in &evidence.replicas {
        shards.entry(replica.shard).or_default().push(replica);
    }
    for (shard, replicas) in shards {
        for two in replicas.windows(2) {
            let (a, b) = (two[0], two[1]);
            if a.index != b.index {
                found.push(format!(
                    "agreed: shard {shard} is at {} on node {} and at {} on node {} after healing",
                    a.index, a.node, b.index, b.node
                ));
            } else if a.digest != b.digest {
                found.push(format!("agreed: shard {shard} differs on nodes {} and {} at index {}", a.node, b.node, a.index));
            }
        }
    }
}

fn ended(evidence: &Evidence, run: &RecordedRun, found: &mut Vec<String>) {
    if !is_final(&run.status) {
        found.push(format!("ended: run {} ({}) is still {} after healing", run.run_id, run.run_uid, run.status));
        return;
    }
    let touched = run.events.iter().any(|event| matches!(event.r#type(), EventType::RunCancelRequested));
    let prediction = evidence.shapes.get(&run.workflow).and_then(|shape| shape.predictions.get(""));
    if let Some(prediction) = prediction.filter(|prediction| !touched && !prediction.status.is_empty())
        && prediction.status != run.status
        && run.parent_uid.is_empty()
    {
        found.push(format!("as foreseen: run {} ({}) is {}, not {}", run.run_id, run.run_uid, run.status, prediction.status));
    }
}

fn one_outcome(evidence: &Evidence, run: &RecordedRun, found: &mut Vec<String>) {
    let mut open: BTreeMap<&str, u32> = BTreeMap::new();
    let mut sequence = 0;
    for event in &run.events {
        sequence += 1;
        if event.sequence != sequence {
            found.push(format!("one outcome: run {} has event {} in place {sequence}", run.run_id, event.sequence));
            return;
        }
        match event.r#type() {
            EventType::StepEnded => {
                let ends = open.entry(&event.step).or_default();
                *ends += 1;
                if *ends > 1 {
                    found.push(format!("one outcome: step {} of {} ended twice", event.step, run.run_id));
                }
            }
            EventType::StepReopened => {
                open.remove(event.step.as_str());
            }
            EventType::AttemptEnded if event.outcome == "succeeded" => {
                let output = content_digest(event.payload.as_ref());
                let written = evidence.ledger.iter().any(|entry| {
                    entry.event == LedgerEvent::End
                        && entry.run_uid == run.run_uid
                        && entry.step == event.step
                        && entry.attempt == event.attempt
                        && entry.output_sha256 == output
                });
                if !written {
                    found.push(format!(
                        "one outcome: attempt {} of {} in {} succeeded, which no worker says",
                        event.attempt, event.step, run.run_id
                    ));
                }
            }
            _ => {}
        }
    }
}

fn known(evidence: &Evidence, histories: &BTreeMap<&str, &RecordedRun>, found: &mut Vec<String>) {
    let mut begun: BTreeMap<(&str, &str, u32, u64), u32> = BTreeMap::new();
    for entry in evidence.ledger.iter().filter(|entry| entry.event == LedgerEvent::Begin) {
        let times = begun.entry((&entry.run_uid, &entry.step, entry.attempt, entry.token)).or_default();
        *times += 1;
        let leased = |run: &&RecordedRun| run.events.iter().any(|event| event.token == entry.token && event.step == entry.step);
        if !histories.get(entry.run_uid.as_str()).is_some_and(leased) {
            found.push(format!(
                "known: {} began attempt {} of {} in {}, which no history has",
                entry.worker, entry.attempt, entry.step, entry.run_id
            ));
        }
    }
    for ((_, step, attempt, token), times) in begun.into_iter().filter(|(_, times)| *times > 1) {
        found.push(format!("known: attempt {attempt} of {step} with token {token} was begun {times} times"));
    }
}

fn not_repeated(histories: &BTreeMap<&str, &RecordedRun>, found: &mut Vec<String>) {
    for run in histories.values() {
        for event in &run.events {
            if matches!(event.outcome.as_str(), "abandoned" | "timed_out" | "released") {
                found.push(format!("not repeated: attempt {} of {} in {} was {}", event.attempt, event.step, run.run_id, event.outcome));
            }
        }
    }
}
