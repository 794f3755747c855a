//! I11: acknowledged signals, approvals, cancels and terminates are kept, and applied once.
//!
//! - For every signal operation with id `x` on run `r`: if it ended ok, `x` was received in `r` exactly once; if every operation with `x` was refused for
//!   good, never; else at most once. No signal id is received twice in a run.
//! - The steps that took a signal of a name are at most as many as the signals of that name that were received before.
//! - An approval that ended ok is recorded with its step, its subject and its word.
//! - A cancel that ended ok: the run was asked to cancel, or was already failing or over when it was answered. A terminate that ended ok: the run has ended.
//! - After a cancel is recorded, nothing is granted but compensations, until the run comes to its `finally`, or goes on; and no worker begins anything
//!   but these later than a lease after the cancel was acknowledged.
//!
//! Sources: operations, histories, ledger. Limits: runs in which a scope observes a failure, or that needed attention, may execute steps of `run_on` and
//! `on_attention` after a cancel; these runs are left out of the last rule.

use std::collections::BTreeMap;

use quorus_proto::v1::{EventType, HistoryEvent, RunStatus};

use super::{
    findings::{Findings, Invariant},
    joined::{Joined, RunView},
    path, testimony,
    verdict::Counterexample,
};
use crate::record::{Call, Operation};

pub(super) const INVARIANT: Invariant = Invariant { id: "I11", title: "signals, approvals and cancels are kept, and applied once", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for operation in &joined.evidence.operations {
        if let Some(answer) = operation.answer()
            && let Some(why) = super::i01_no_lost_submission::missing_export(joined, answer)
        {
            findings.unknown(why);
            continue;
        }
        kept(joined, operation, findings);
    }
    signals(joined, findings);
    for run in joined.runs.values() {
        taken(joined, run, findings);
        after_cancel(joined, run, findings);
    }
}

/// What was acknowledged is in the history of a run that it can be about.
fn kept(joined: &Joined<'_>, operation: &Operation, findings: &mut Findings) {
    if let Some(summary) = lost(joined, operation) {
        findings.expect(summary.is_empty(), || Counterexample::new(operation.call.run(), summary).with(testimony::operation(operation)));
    }
}

/// True if a run was asked to cancel; or if it was on its way to its end anyway by the time of an answer, after so many events (0: nobody knows).
fn was_stopped(run: &RunView<'_>, sequence: u64) -> bool {
    let ends = |event: &HistoryEvent| match event.r#type() {
        EventType::RunFailing | EventType::RunEnded => true,
        EventType::PhaseChanged => event.step.is_empty(),
        _ => false,
    };
    let in_time = |event: &&HistoryEvent| sequence == 0 || event.sequence <= sequence;
    run.has(EventType::RunCancelRequested) || run.record.events.iter().filter(in_time).any(ends)
}

/// Why an acknowledged call is lost, empty if it is kept; none if it is not about that.
pub(super) fn lost(joined: &Joined<'_>, operation: &Operation) -> Option<&'static str> {
    operation.answer()?;
    let runs = joined.about(operation);
    let any = |holds: &dyn Fn(&RunView<'_>) -> bool| runs.iter().any(|run| holds(run));
    let (holds, summary) = match &operation.call {
        Call::Signal { signal, signal_id, .. } => {
            let is_it = |event: &HistoryEvent| event.signal == *signal && event.signal_id == *signal_id;
            (any(&|run| run.of_type(EventType::SignalReceived).any(is_it)), "the signal was acknowledged, and the run does not have it")
        }
        Call::Approve { step, subject, approve, .. } => {
            let word = if *approve { "approved" } else { "rejected" };
            let is_it = |event: &HistoryEvent| {
                let who = event.principal.as_ref().map_or("", |principal| principal.subject.as_str());
                event.step == *step && event.outcome == word && who == subject
            };
            (any(&|run| run.of_type(EventType::ApprovalRecorded).any(is_it)), "the approval was acknowledged, and the run does not have it")
        }
        Call::Cancel { .. } => {
            let sequence = operation.answer().map_or(0, |answer| answer.sequence);
            (any(&|run| was_stopped(run, sequence)), "the cancel was acknowledged, and the run was never asked to stop")
        }
        Call::Terminate { .. } => {
            let is_it = |event: &HistoryEvent| event.run_status() == RunStatus::Terminated;
            (any(&|run| run.of_type(EventType::RunEnded).any(is_it)), "the terminate was acknowledged, and the run was never terminated")
        }
        _ => return None,
    };
    Some(if holds { "" } else { summary })
}

fn signals(joined: &Joined<'_>, findings: &mut Findings) {
    let mut sent: BTreeMap<(&str, &str, &str), Vec<&Operation>> = BTreeMap::new();
    for operation in &joined.evidence.operations {
        if let Call::Signal { run_id, signal, signal_id } = &operation.call {
            sent.entry((run_id, signal, signal_id)).or_default().push(operation);
        }
    }
    for run in joined.runs.values() {
        let mut received: BTreeMap<(&str, &str), Vec<&HistoryEvent>> = BTreeMap::new();
        for event in run.of_type(EventType::SignalReceived) {
            received.entry((&event.signal, &event.signal_id)).or_default().push(event);
        }
        for ((signal, id), events) in received {
            let operations = sent.get(&(run.record.run_id.as_str(), signal, id)).map_or(&[][..], Vec::as_slice);
            let refused = !operations.is_empty() && operations.iter().all(|operation| !operation.may_have_been_done());
            let summary = if refused { "a signal was refused for good, and the run has it" } else { "a signal was received twice" };
            findings.expect(!refused && (events.len() == 1 || id.is_empty()), || {
                Counterexample::new(run.name(), format!("{summary}: {signal} with id {id}"))
                    .with(events.iter().map(|event| joined.clock.event(event)))
                    .with(operations.iter().flat_map(|operation| testimony::operation(operation)))
            });
        }
    }
}

fn taken(joined: &Joined<'_>, run: &RunView<'_>, findings: &mut Findings) {
    let mut unread: BTreeMap<&str, u64> = BTreeMap::new();
    for event in &run.record.events {
        match event.r#type() {
            EventType::SignalReceived => *unread.entry(&event.signal).or_default() += 1,
            EventType::SignalConsumed => {
                let left = unread.entry(&event.signal).or_default();
                findings.expect(*left > 0, || {
                    let same = run.record.events.iter().filter(|other| {
                        matches!(other.r#type(), EventType::SignalReceived | EventType::SignalConsumed) && other.signal == event.signal
                    });
                    Counterexample::new(run.name(), "a signal was taken twice")
                        .step(&event.step)
                        .with(same.map(|event| joined.clock.event(event)))
                });
                *left = left.saturating_sub(1);
            }
            _ => {}
        }
    }
}

fn after_cancel(joined: &Joined<'_>, run: &RunView<'_>, findings: &mut Findings) {
    let excused = run.has(EventType::AttentionRequested) || run.of_type(EventType::PhaseChanged).any(|event| event.phase == "observing");
    let Some(cancel) = run.of_type(EventType::RunCancelRequested).next().filter(|_| !excused) else { return };
    let after = &run.record.events[run.record.events.iter().position(|event| event.sequence == cancel.sequence).unwrap_or(0)..];
    let goes_on = |event: &&HistoryEvent| {
        event.r#type() == EventType::RunReopened
            || event.r#type() == EventType::PhaseChanged && event.step.is_empty() && event.phase == "finally"
    };
    let until = after.iter().find(goes_on).map_or(u64::MAX, |event| event.sequence);
    for event in after.iter().take_while(|event| event.sequence < until).filter(|event| event.r#type() == EventType::StepLeased) {
        findings.expect(path::undoes(&event.step).is_some(), || {
            Counterexample::new(run.name(), "a step was granted after the run was cancelled")
                .step(&event.step)
                .with([joined.clock.event(cancel), joined.clock.event(event)])
        });
    }
    let acked = joined.operations.get(run.record.run_id.as_str()).into_iter().flatten().filter(|operation| {
        let mine = operation.answer().is_some_and(|answer| answer.run_uid.is_empty() || answer.run_uid == run.uid());
        matches!(operation.call, Call::Cancel { .. }) && mine
    });
    let Some(cancelled) = acked.min_by_key(|operation| operation.acked_us()) else { return };
    let latest = cancelled.acked_us().saturating_add(joined.lease_us()).saturating_add(joined.clock.slack_us);
    for step in run.steps.keys().filter(|step| path::undoes(step).is_none()) {
        for execution in joined.executions(run.uid(), step).iter().filter(|execution| execution.token < cancel.sequence) {
            let hit = joined.worker_was_hit(execution.worker, cancelled.acked_us(), execution.begun_us());
            findings.expect(execution.begun_us() <= latest || hit, || {
                Counterexample::new(run.name(), "a worker began a step long after the run was cancelled")
                    .step(*step)
                    .with(testimony::operation(cancelled))
                    .with(execution.testimony())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::{EventType, RunStatus};

    use crate::check::testing::{Scene, assert_only, duplicate_event, event, remove_event};
    use crate::record::{Ending, Evidence};

    fn signalled() -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.signal(&run, "go", "s-1");
        scene.signal(&run, "go", "s-2");
        scene.push(&run, event(EventType::SignalConsumed).step("a").signal("go"));
        scene.push(&run, event(EventType::SignalConsumed).step("b").signal("go"));
        scene.succeed(&run);
        scene.evidence()
    }

    #[test]
    fn signals_that_are_received_and_taken_once_are_legal() {
        assert_only(&signalled(), &[]);
    }

    #[test]
    fn a_signal_that_is_lost_doubled_refused_or_taken_twice_is_found() {
        let mut evidence = signalled();
        remove_event(&mut evidence, |event| event.signal_id == "s-2");
        assert_only(&evidence, &["I11"]);
        let mut evidence = signalled();
        duplicate_event(&mut evidence, EventType::SignalReceived);
        assert_only(&evidence, &["I11"]);
        let mut evidence = signalled();
        let last = evidence.operations.len() - 1;
        evidence.operations[last].ending = Some(Ending::Info { what: "timeout".to_owned() });
        assert_only(&evidence, &[]);
        evidence.operations[last].ending = Some(Ending::Fail { reason: "RUN_ENDED".to_owned() });
        assert_only(&evidence, &["I2", "I11"]);
        let mut evidence = signalled();
        duplicate_event(&mut evidence, EventType::SignalConsumed);
        assert_only(&evidence, &["I11"]);
    }

    #[test]
    fn an_approval_that_is_lost_is_found() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.approve(&run, "sign", "ann");
        scene.succeed(&run);
        let mut evidence = scene.evidence();
        assert_only(&evidence, &[]);
        remove_event(&mut evidence, |event| event.r#type() == EventType::ApprovalRecorded);
        assert_only(&evidence, &["I11"]);
    }

    #[test]
    fn a_cancel_or_terminate_that_is_lost_is_found() {
        let mut scene = Scene::new();
        let (cancelled, terminated) = (scene.start("c", "w"), scene.start("t", "w"));
        scene.cancel(&cancelled);
        scene.end(&cancelled, RunStatus::Cancelled);
        scene.terminate(&terminated);
        let evidence = scene.evidence();
        assert_only(&evidence, &[]);
        let mut scene = Scene::new();
        let run = scene.start("c", "w");
        scene.cancel(&run);
        scene.push(&run, event(EventType::StepAwaiting).step("go"));
        scene.heal();
        let mut evidence = scene.evidence();
        assert_only(&evidence, &[]);
        remove_event(&mut evidence, |event| event.r#type() == EventType::RunCancelRequested);
        assert_only(&evidence, &["I11"]);
    }

    #[test]
    fn an_end_after_the_answer_does_not_excuse_a_lost_cancel() {
        let mut scene = Scene::new();
        let run = scene.start("c", "w");
        scene.cancel(&run);
        scene.push(&run, event(EventType::StepAwaiting).step("go"));
        scene.end(&run, RunStatus::Succeeded);
        let mut evidence = scene.evidence();
        remove_event(&mut evidence, |event| event.r#type() == EventType::RunCancelRequested);
        assert_only(&evidence, &["I11"]);
    }

    #[test]
    fn a_grant_after_a_cancel_is_found_unless_it_undoes_or_comes_finally() {
        let with = |step: &str, phase: &str| {
            let mut scene = Scene::new();
            let run = scene.start("r", "w");
            scene.cancel(&run);
            if !phase.is_empty() {
                scene.push(&run, event(EventType::PhaseChanged).phase(phase));
            }
            scene.task(&run, step);
            scene.end(&run, RunStatus::Cancelled);
            scene.evidence()
        };
        assert_only(&with("a:compensate", "compensating"), &[]);
        assert_only(&with("bye", "finally"), &[]);
        assert_only(&with("a", ""), &["I11"]);
    }

    #[test]
    fn a_begin_long_after_a_cancel_is_found() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.lease(&run, "a");
        scene.cancel(&run);
        scene.push(&run, event(EventType::AttemptEnded).step("a").attempt(1).outcome("cancelled"));
        scene.end(&run, RunStatus::Cancelled);
        let mut evidence = scene.evidence();
        assert_only(&evidence, &[]);
        evidence.ledger[0].mono_us += 40_000_000;
        assert_only(&evidence, &["I11"]);
    }
}
