//! I2: there are no phantoms.
//!
//! - For every run id `r` that is not a child's: the runs with that id are at most as many as the different requests of starts of `r` that were not
//!   refused, each with a start of the same workflow and the same digest of the input.
//! - For every child run `c`: its parent has a recorded request for the uid of `c`.
//! - For every `begin` of a worker: its run is known, and the run's history grants exactly that (step, attempt, token).
//! - For every `begin`: the digest of its input is that of the input that was recorded when the step's generation began.
//! - For every recorded signal there is a signal operation with its id and run that was not refused; for a recorded cancel a cancel, or a parent; for
//!   a terminated run a terminate.
//!
//! Sources: operations, ledger, histories. Limits: runs of schedules and triggers have no start, so runs are only judged if there are starts at all;
//! signals are not judged where a workflow has an `emit`, nor cancels of runs with a concurrency key, since other runs may have sent them. That an
//! input is the right function of earlier outputs is judged only through the recorded input.

use std::collections::{BTreeMap, BTreeSet};

use quorus_client::content_digest;
use quorus_proto::v1::{EventType, RunStatus};

use super::{
    findings::{Findings, Invariant},
    joined::{Execution, Joined, RunView, Start},
    testimony,
    verdict::Counterexample,
};
use crate::record::{Call, Operation};

pub(super) const INVARIANT: Invariant = Invariant { id: "I2", title: "nothing happened that nobody asked for", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    runs(joined, findings);
    executions(joined, findings);
    let emits = joined.evidence.shapes.values().flat_map(|shape| &shape.steps).any(|step| step.kind == "emit");
    for run in joined.runs.values() {
        if !emits {
            signals(joined, run, findings);
        }
        stops(joined, run, findings);
    }
}

fn runs(joined: &Joined<'_>, findings: &mut Findings) {
    let mut starts: BTreeMap<&str, Vec<Start<'_>>> = BTreeMap::new();
    for start in joined.starts().filter(|start| start.operation.may_have_been_done()) {
        starts.entry(start.run_id).or_default().push(start);
    }
    let children: BTreeSet<&str> =
        joined.runs.values().flat_map(|run| run.of_type(EventType::ChildRequested)).map(|event| event.child_run_uid.as_str()).collect();
    for run in joined.runs.values() {
        let counterexample =
            |summary: &str| Counterexample::new(run.name(), summary).with(run.started().map(|event| joined.clock.event(event)));
        if !run.record.parent_uid.is_empty() {
            // The parent may be in a shard that was not exported.
            if joined.runs.contains_key(run.record.parent_uid.as_str()) {
                findings.expect(children.contains(run.uid()), || counterexample("its parent never asked for this child"));
            }
        } else if joined.starts().next().is_some() {
            let input = run.started().map(|event| content_digest(event.payload.as_ref())).unwrap_or_default();
            let asked = |start: &Start<'_>| {
                start.workflow == run.record.workflow && (start.input_sha256.is_empty() || input.is_empty() || start.input_sha256 == input)
            };
            let known = starts.get(run.record.run_id.as_str()).map_or(&[][..], Vec::as_slice);
            findings.expect(known.iter().any(asked), || {
                counterexample("nobody asked for this run, or not with this input")
                    .with(known.iter().take(4).flat_map(|start| testimony::operation(start.operation)))
            });
        }
    }
    for (run_id, uids) in joined.uids.iter().filter(|(run_id, _)| starts.contains_key(*run_id)) {
        let asked = &starts[run_id];
        // Without a request id each try counts, since each makes another run.
        let requests: BTreeSet<(&str, u64)> =
            asked.iter().map(|start| (start.request_id, if start.request_id.is_empty() { start.operation.id } else { 0 })).collect();
        findings.expect(uids.len() <= requests.len(), || {
            Counterexample::new(*run_id, format!("there are {} runs with this id, and {} requests", uids.len(), requests.len()))
                .with(asked.iter().flat_map(|start| testimony::operation(start.operation)))
                .with(uids.iter().filter_map(|uid| joined.runs.get(uid)?.started()).map(|event| joined.clock.event(event)))
        });
    }
}

fn executions(joined: &Joined<'_>, findings: &mut Findings) {
    if joined.shards.is_empty() && !joined.executed.is_empty() {
        return findings.unknown("no replica was exported");
    }
    for ((uid, step), executions) in &joined.executed {
        let run = joined.runs.get(uid);
        let inputs = run.map(|run| inputs(run, step)).unwrap_or_default();
        for execution in executions {
            let granted = run.and_then(|run| run.steps.get(step)).and_then(|view| {
                view.attempts.iter().find(|attempt| attempt.leased.attempt == execution.attempt && attempt.leased.token == execution.token)
            });
            let name = || run.map_or_else(|| (*uid).to_owned(), RunView::name);
            let summary = || match run {
                None => "a worker executed a step of a run that nobody knows",
                Some(_) => "a worker executed an attempt that was never granted",
            };
            findings.expect(granted.is_some(), || Counterexample::new(name(), summary()).step(*step).with(execution.testimony()));
            if let Some(granted) = granted {
                same_input(execution, inputs.get(&granted.generation).map(String::as_str), &name, step, findings);
            }
        }
    }
}

fn same_input(execution: &Execution<'_>, recorded: Option<&str>, name: &impl Fn() -> String, step: &str, findings: &mut Findings) {
    let given = execution.begin.map_or("", |begin| begin.input_sha256.as_str());
    let Some(recorded) = recorded.filter(|recorded| !recorded.is_empty() && !given.is_empty()) else { return };
    findings.expect(recorded == given, || {
        Counterexample::new(name(), "a worker got another input than was recorded").step(step).with(execution.testimony())
    });
}

/// The digest of a step's recorded input, by generation.
fn inputs(run: &RunView<'_>, step: &str) -> BTreeMap<u32, String> {
    let events = run.steps.get(step).map(|view| view.events.as_slice()).unwrap_or_default();
    let mut inputs = BTreeMap::new();
    for (generation, event) in events.iter().filter(|(_, event)| matches!(event.r#type(), EventType::StepQueued | EventType::StepLeased)) {
        if let Some(payload) = &event.payload {
            inputs.entry(*generation).or_insert_with(|| content_digest(Some(payload)));
        }
    }
    inputs
}

fn signals(joined: &Joined<'_>, run: &RunView<'_>, findings: &mut Findings) {
    for event in run.of_type(EventType::SignalReceived) {
        let sent = calls(joined, run).any(|operation| {
            matches!(&operation.call, Call::Signal { signal, signal_id, .. } if *signal == event.signal && *signal_id == event.signal_id)
        });
        findings.expect(sent, || Counterexample::new(run.name(), "nobody sent this signal").with([joined.clock.event(event)]));
    }
}

fn stops(joined: &Joined<'_>, run: &RunView<'_>, findings: &mut Findings) {
    let alone = run.record.parent_uid.is_empty() && !run.has(EventType::SlotRequested);
    // Starts with a policy for conflicts stop the run that is there.
    let several = joined.uids.get(run.record.run_id.as_str()).is_some_and(|uids| uids.len() > 1);
    if !alone || several || joined.starts().next().is_none() {
        return;
    }
    for event in run.of_type(EventType::RunCancelRequested) {
        let asked = calls(joined, run).any(|operation| matches!(operation.call, Call::Cancel { .. }));
        findings.expect(asked, || Counterexample::new(run.name(), "nobody cancelled this run").with([joined.clock.event(event)]));
    }
    for event in run.of_type(EventType::RunEnded).filter(|event| event.run_status() == RunStatus::Terminated) {
        let asked = calls(joined, run).any(|operation| matches!(operation.call, Call::Terminate { .. }));
        findings.expect(asked, || Counterexample::new(run.name(), "nobody terminated this run").with([joined.clock.event(event)]));
    }
}

/// Calls about a run that were done, or may have been.
fn calls<'e>(joined: &'e Joined<'_>, run: &RunView<'_>) -> impl Iterator<Item = &'e Operation> {
    let by = |name: &str| joined.operations.get(name).map(|operations| operations.iter()).into_iter().flatten().copied();
    by(&run.record.run_id).chain(by(&run.record.run_uid)).filter(|operation| operation.may_have_been_done())
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{Scene, assert_only};
    use crate::record::{Call, Evidence};

    fn legal() -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.signal(&run, "go", "s-1");
        scene.task(&run, "a");
        scene.cancel(&run);
        scene.end(&run, quorus_proto::v1::RunStatus::Cancelled);
        scene.evidence()
    }

    #[test]
    fn what_was_asked_for_is_no_phantom() {
        assert_only(&legal(), &[]);
    }

    #[test]
    fn a_run_a_signal_and_a_cancel_of_nobody_are_phantoms() {
        let mut evidence = legal();
        evidence.operations.retain(|operation| !matches!(operation.call, Call::Signal { .. }));
        assert_only(&evidence, &["I2"]);
        let mut evidence = legal();
        evidence.operations.retain(|operation| !matches!(operation.call, Call::Cancel { .. }));
        assert_only(&evidence, &["I2"]);
        let mut scene = Scene::new();
        let (known, unknown) = (scene.start("known", "w"), scene.start("unknown", "w"));
        scene.succeed(&known);
        scene.succeed(&unknown);
        let mut evidence = scene.evidence();
        evidence.operations.remove(1);
        assert_only(&evidence, &["I2"]);
    }

    #[test]
    fn an_execution_without_a_run_or_a_grant_or_with_another_input_is_a_phantom() {
        let mut evidence = legal();
        let mut ghost = evidence.ledger.clone();
        for line in &mut ghost {
            line.run_uid = "nobody".to_owned();
        }
        evidence.ledger.extend(ghost);
        assert_only(&evidence, &["I2"]);
        let mut evidence = legal();
        evidence.ledger[0].input_sha256 = "0".repeat(64);
        assert_only(&evidence, &["I2"]);
    }

    #[test]
    fn a_child_that_its_parent_never_asked_for_is_a_phantom() {
        let mut scene = Scene::new();
        let parent = scene.start("p", "w");
        let child = scene.child(&parent, "c");
        scene.succeed(&child);
        scene.child_ended(&parent, "c", &child);
        scene.succeed(&parent);
        let mut evidence = scene.evidence();
        assert_only(&evidence, &[]);
        for run in evidence.replicas.iter_mut().flat_map(|replica| &mut replica.runs) {
            for event in &mut run.events {
                if !event.child_run_uid.is_empty() {
                    event.child_run_uid = "another".to_owned();
                }
            }
        }
        assert_only(&evidence, &["I2"]);
    }
}
