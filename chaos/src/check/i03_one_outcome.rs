//! I3: each outcome is recorded once, and equals what the worker recorded.
//!
//! For every run, step `s` and generation `g`, and every attempt `a` of `s`:
//! - there is at most one end of `(s, g)`, and no grant, queueing or end of an attempt of `s` follows it before `s` begins anew;
//! - there is at most one end of the run between its start, each time that it goes on, and the end of the history;
//! - there is at most one end of `a`, after the grant of `a`;
//! - if `a` was executed by a worker and is recorded as succeeded: the ledger has an `end` of `a` as succeeded, with the digest of the recorded output;
//! - if `a` is recorded as failed and not by the cluster itself: the ledger has an `end` of `a` as failed, or `a` did nothing and has no `begin`;
//! - if the ledger's `end` of `a` says failed, `a` is not recorded as succeeded;
//! - if `(s, g)` succeeded by an attempt, its output is the attempt's.
//!
//! Sources: histories, ledger. Limits: attempts of the nodes' own workers have no ledger; without any ledger only the history is judged. That replicas
//! agree is I13, that clients saw the same is I10.

use std::collections::{BTreeMap, BTreeSet};

use quorus_client::content_digest;
use quorus_proto::v1::{EventType, HistoryEvent, Payload, StepStatus};

use super::{
    findings::{Findings, Invariant},
    joined::{Attempt, Joined, RunView, StepView},
    verdict::Counterexample,
};

pub(super) const INVARIANT: Invariant = Invariant { id: "I3", title: "one outcome, the one that the worker recorded", check };

/// Failures that the cluster makes of what a worker reported.
const MADE_BY_CLUSTER: &str = "Quorus";

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for run in joined.runs.values() {
        run_ends(joined, run, findings);
        for (step, view) in &run.steps {
            step_ends(joined, run, step, view, findings);
            attempt_ends(joined, run, step, view, findings);
            for attempt in view.attempts.iter().filter(|attempt| !attempt.is_builtin()) {
                as_the_worker_says(joined, run, step, attempt, findings);
            }
        }
    }
}

fn run_ends(joined: &Joined<'_>, run: &RunView<'_>, findings: &mut Findings) {
    let mut ended: Option<&HistoryEvent> = None;
    for event in &run.record.events {
        match event.r#type() {
            EventType::RunReopened => ended = None,
            EventType::RunEnded => {
                findings.expect(ended.is_none(), || {
                    Counterexample::new(run.name(), "the run ended twice")
                        .with(ended.into_iter().chain([event]).map(|event| joined.clock.event(event)))
                });
                ended = Some(event);
            }
            _ => {}
        }
    }
}

fn step_ends(joined: &Joined<'_>, run: &RunView<'_>, step: &str, view: &StepView<'_>, findings: &mut Findings) {
    let mut ends: BTreeMap<u32, &HistoryEvent> = BTreeMap::new();
    for (generation, event) in &view.events {
        let known = ends.get(generation).copied();
        let summary = match event.r#type() {
            EventType::StepEnded => "the step has two outcomes",
            EventType::StepQueued | EventType::StepLeased | EventType::AttemptEnded | EventType::ScopeStarted => {
                "the step went on after its outcome"
            }
            _ => continue,
        };
        findings.expect(known.is_none(), || {
            Counterexample::new(run.name(), summary)
                .step(step)
                .with(known.into_iter().chain([*event]).map(|event| joined.clock.event(event)))
        });
        if event.r#type() == EventType::StepEnded {
            ends.entry(*generation).or_insert(event);
            same_output(joined, run, step, view, *generation, event, findings);
        }
    }
}

fn same_output(
    joined: &Joined<'_>,
    run: &RunView<'_>,
    step: &str,
    view: &StepView<'_>,
    generation: u32,
    end: &HistoryEvent,
    findings: &mut Findings,
) {
    let won = |attempt: &&Attempt<'_>| attempt.generation == generation && attempt.outcome() == "succeeded";
    let Some(winner) = view.attempts.iter().rfind(won).and_then(|attempt| attempt.ended) else { return };
    if end.step_status() == StepStatus::Succeeded {
        findings.expect(same_content(end.payload.as_ref(), winner.payload.as_ref()), || {
            Counterexample::new(run.name(), "the step's output is not that of the attempt that succeeded")
                .step(step)
                .with([joined.clock.event(winner), joined.clock.event(end)])
        });
    }
}

fn same_content(one: Option<&Payload>, two: Option<&Payload>) -> bool {
    let bytes = |payload: Option<&Payload>| payload.map(|payload| payload.data.clone()).unwrap_or_default();
    bytes(one) == bytes(two)
}

fn attempt_ends(joined: &Joined<'_>, run: &RunView<'_>, step: &str, view: &StepView<'_>, findings: &mut Findings) {
    let ends = view.events.iter().filter(|(_, event)| event.r#type() == EventType::AttemptEnded);
    let granted: BTreeMap<u32, u64> = view.attempts.iter().map(|attempt| (attempt.leased.attempt, attempt.leased.sequence)).collect();
    let mut seen: BTreeSet<u32> = BTreeSet::new();
    for (_, event) in ends {
        let first = seen.insert(event.attempt);
        let after_grant = granted.get(&event.attempt).is_some_and(|sequence| *sequence < event.sequence);
        let summary = if first { "an attempt ended that was never granted" } else { "an attempt has two outcomes" };
        findings.expect(first && after_grant, || {
            let same = view.events.iter().filter(|(_, other)| other.r#type() == EventType::AttemptEnded && other.attempt == event.attempt);
            Counterexample::new(run.name(), summary).step(step).with(same.map(|(_, event)| joined.clock.event(event)))
        });
    }
}

/// No output, an empty one and `null` are the same to the history.
fn is_nothing(digest: &str) -> bool {
    let of = |data: &'static str| content_digest(Some(&Payload { data: data.into(), ..Payload::default() }));
    digest.is_empty() || digest == of("") || digest == of("null")
}

fn as_the_worker_says(joined: &Joined<'_>, run: &RunView<'_>, step: &str, attempt: &Attempt<'_>, findings: &mut Findings) {
    let Some(ended) = attempt.ended.filter(|_| !joined.evidence.ledger.is_empty()) else { return };
    let mine = |known: &&super::joined::Execution<'_>| known.attempt == ended.attempt && known.token == attempt.leased.token;
    let executions: Vec<_> = joined.executed.get(&(run.uid(), step)).into_iter().flatten().filter(mine).collect();
    let ends: Vec<_> = executions.iter().filter_map(|execution| execution.end).collect();
    let failure = ended.failure.as_ref();
    let summary = match ended.outcome.as_str() {
        "succeeded" => {
            let output = content_digest(ended.payload.as_ref());
            let same = |digest: &str| digest == output || is_nothing(&output) && is_nothing(digest);
            if ends.iter().any(|end| matches!(end.outcome.as_str(), "succeeded" | "lost") && same(&end.output_sha256)) {
                None
            } else if ends.iter().any(|end| end.outcome == "succeeded") {
                Some("the recorded output is not the one that the worker wrote down")
            } else {
                Some("recorded as succeeded, but no worker wrote that it was")
            }
        }
        "failed" => {
            let by_cluster =
                failure.is_some_and(|failure| failure.r#type.starts_with(MADE_BY_CLUSTER) || failure.r#type == "OutputTooLarge");
            let not_begun = executions.is_empty() && failure.is_some_and(|failure| failure.nothing_done);
            let said = ends.iter().any(|end| matches!(end.outcome.as_str(), "failed" | "lost"));
            (!said && !by_cluster && !not_begun).then_some("recorded as failed, but no worker wrote that it did")
        }
        _ => None,
    };
    findings.expect(summary.is_none(), || {
        Counterexample::new(run.name(), summary.unwrap_or_default())
            .step(step)
            .with([joined.clock.event(attempt.leased), joined.clock.event(ended)])
            .with(executions.iter().flat_map(|execution| execution.testimony()))
    });
}

#[cfg(test)]
mod tests {
    use quorus_client::LedgerEvent;
    use quorus_proto::v1::{EventType, StepStatus};

    use crate::check::testing::{Scene, assert_only, duplicate_event, each_event};
    use crate::record::Evidence;

    fn legal() -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.fail_attempt(&run, "a", 500);
        scene.task(&run, "a");
        scene.succeed(&run);
        scene.evidence()
    }

    #[test]
    fn an_attempt_that_failed_and_one_that_succeeded_are_one_outcome() {
        assert_only(&legal(), &[]);
    }

    #[test]
    fn a_second_end_of_a_step_an_attempt_or_a_run_is_found() {
        for kind in [EventType::StepEnded, EventType::RunEnded] {
            let mut evidence = legal();
            duplicate_event(&mut evidence, kind);
            assert_only(&evidence, &["I3"]);
        }
        let mut evidence = legal();
        duplicate_event(&mut evidence, EventType::AttemptEnded);
        // It comes after a later grant, too.
        assert_only(&evidence, &["I3", "I12"]);
    }

    #[test]
    fn a_success_or_output_that_no_worker_wrote_is_found() {
        let mut evidence = legal();
        for line in evidence.ledger.iter_mut().filter(|line| line.outcome == "succeeded") {
            line.output_sha256 = "0".repeat(64);
        }
        assert_only(&evidence, &["I3"]);
        let mut evidence = legal();
        for line in evidence.ledger.iter_mut().filter(|line| line.outcome == "succeeded") {
            line.outcome = "failed".to_owned();
        }
        assert_only(&evidence, &["I3"]);
        let mut evidence = legal();
        evidence.ledger.retain(|line| line.event != LedgerEvent::End || line.outcome != "failed");
        assert_only(&evidence, &["I3"]);
    }

    #[test]
    fn an_output_that_was_dropped_is_found() {
        let mut evidence = legal();
        each_event(&mut evidence, |event| {
            let succeeded = event.outcome == "succeeded" || event.r#type() == EventType::StepEnded;
            if succeeded && event.step_status() == StepStatus::Succeeded {
                event.payload = None;
            }
        });
        assert_only(&evidence, &["I3"]);
    }

    #[test]
    fn an_output_that_is_not_that_of_the_attempt_is_found() {
        let mut evidence = legal();
        each_event(&mut evidence, |event| {
            if event.r#type() == EventType::StepEnded && event.step_status() == StepStatus::Succeeded {
                event.payload = Some(quorus_proto::v1::Payload { data: "\"other\"".into(), encoding: String::new() });
            }
        });
        assert_only(&evidence, &["I3"]);
    }
}
