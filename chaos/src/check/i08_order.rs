//! I8: steps begin after what they need, branches and ends are as foreseen.
//!
//! For every run of a known shape, every step `s`, every instance `i` of `s` and generation `g` of `i`, and every need `p` of `s`:
//! - `i` has no event of `g` (but an end by which people passed it, or by which it was stopped) before `p` ended beside `i`;
//! - every ledger `begin` of `i` whose grant came after an attempt of `p` succeeded is not earlier than that attempt's `end`;
//! - if `i` was skipped in `g` and not by people, no attempt of `i` was granted in `g`;
//! - `i` becomes ready for the first time at most once in `g` (a join fires once).
//!
//! For every run that nobody cancelled, terminated or repaired, and in which the cluster itself let no time run out but that of signals that nobody was to
//! send: the run's status and that of its steps are as predicted; of an instance that is to fail `n` times, none of the first `n` attempts succeeded (they
//! failed, or their worker died), and no more than `n` failed.
//!
//! Sources: histories, ledger, shapes. Limits: runs without a shape are not judged; the prediction is found by the digest of the run's input, else the
//! one for any input.

use std::collections::{BTreeMap, BTreeSet};

use quorus_client::content_digest;
use quorus_proto::v1::{EventType, HistoryEvent, StepStatus};

use super::{
    findings::{Findings, Invariant},
    joined::{Joined, RunView, StepView},
    path, standing,
    verdict::Counterexample,
};
use crate::record::Prediction;

pub(super) const INVARIANT: Invariant = Invariant { id: "I8", title: "steps in order, branches and ends as foreseen", check };

/// Failures that the cluster makes because time ran out or workers were lost: how faults may show in a run's end.
const OF_TIME: [&str; 6] = [
    "QuorusAttemptTimeout",
    "QuorusHeartbeatTimeout",
    "QuorusScheduleTimeout",
    "QuorusStepTimeout",
    "QuorusRunTimeout",
    "QuorusPreemptionLimit",
];

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for run in joined.runs.values().filter(|run| run.plan.is_some()) {
        order(joined, run, findings);
        for (step, view) in run.steps.iter().filter(|(step, _)| path::undoes(step).is_none()) {
            begins(joined, run, step, findings);
            once(joined, run, step, view, findings);
        }
        if let Some(prediction) = prediction(run) {
            as_predicted(joined, run, prediction, findings);
        }
    }
}

/// Nothing of a step happens before what it needs has ended.
fn order(joined: &Joined<'_>, run: &RunView<'_>, findings: &mut Findings) {
    let mut ended: BTreeMap<&str, &HistoryEvent> = BTreeMap::new();
    let mut begun: BTreeMap<&str, bool> = BTreeMap::new();
    for event in run.record.events.iter().filter(|event| !event.step.is_empty()) {
        let step = event.step.as_str();
        match event.r#type() {
            EventType::StepReopened | EventType::ScopeReopened => {
                ended.remove(step);
                begun.remove(step);
                continue;
            }
            EventType::PhaseChanged | EventType::Repaired | EventType::AttentionRequested | EventType::ChildEnded => continue,
            _ => {}
        }
        let passed =
            event.r#type() == EventType::StepEnded && (event.outcome == "operator" || event.step_status() == StepStatus::Cancelled);
        let first = !std::mem::replace(begun.entry(step).or_default(), true);
        if first && !passed && path::undoes(step).is_none() {
            for need in run.planned(step).map(|planned| planned.needs.as_slice()).unwrap_or_default() {
                let Some(need) = path::beside(step, need) else { continue };
                findings.expect(ended.contains_key(need.as_str()), || {
                    let last = run.steps.get(need.as_str()).into_iter().flat_map(|view| &view.events).map(|(_, event)| *event);
                    Counterexample::new(run.name(), format!("the step began before {need}, which it needs, had ended")).step(step).with(
                        last.filter(|event| event.r#type() == EventType::StepEnded).chain([event]).map(|event| joined.clock.event(event)),
                    )
                });
            }
        }
        if event.r#type() == EventType::StepEnded {
            ended.insert(step, event);
        }
    }
}

/// The same in the ledger, where no clock of a node counts.
fn begins(joined: &Joined<'_>, run: &RunView<'_>, step: &str, findings: &mut Findings) {
    let Some(executions) = joined.executed.get(&(run.uid(), step)) else { return };
    for need in run.planned(step).map(|planned| planned.needs.as_slice()).unwrap_or_default() {
        let Some(need) = path::beside(step, need) else { continue };
        let (Some(view), Some(before)) = (run.steps.get(need.as_str()), joined.executed.get(&(run.uid(), need.as_str()))) else { continue };
        for execution in executions {
            let won = view
                .attempts
                .iter()
                .rfind(|attempt| attempt.outcome() == "succeeded" && attempt.ended.is_some_and(|ended| ended.sequence < execution.token));
            let Some(won) = won else { continue };
            let Some(winner) = before.iter().find(|known| known.token == won.leased.token) else { continue };
            let Some(end) = winner.end.filter(|end| end.outcome == "succeeded") else { continue };
            findings.expect(execution.lines().all(|line| line.mono_us >= end.mono_us), || {
                Counterexample::new(run.name(), format!("a worker began the step before {need}, which it needs, had ended"))
                    .step(step)
                    .with(winner.testimony().chain(execution.testimony()))
            });
        }
    }
}

fn once(joined: &Joined<'_>, run: &RunView<'_>, step: &str, view: &StepView<'_>, findings: &mut Findings) {
    // Only the first queueing or grant of a generation carries the input: a second one is a second firing.
    let mut fired: BTreeMap<u32, &HistoryEvent> = BTreeMap::new();
    for (generation, event) in &view.events {
        let first = matches!(event.r#type(), EventType::StepQueued | EventType::StepLeased) && event.payload.is_some()
            || matches!(event.r#type(), EventType::StepAwaiting | EventType::ScopeStarted);
        if first {
            let known = fired.insert(*generation, event);
            findings.expect(known.is_none(), || {
                Counterexample::new(run.name(), "the step became ready twice")
                    .step(step)
                    .with(known.into_iter().chain([*event]).map(|event| joined.clock.event(event)))
            });
        }
    }
    for (generation, end) in view.of_type(EventType::StepEnded).filter(|(_, end)| end.step_status() == StepStatus::Skipped) {
        let granted = view.attempts.iter().find(|attempt| attempt.generation == generation);
        findings.expect(granted.is_none() || end.outcome == "operator", || {
            Counterexample::new(run.name(), "a step that was skipped was executed")
                .step(step)
                .with(granted.map(|attempt| attempt.leased).into_iter().chain([end]).map(|event| joined.clock.event(event)))
        });
    }
}

fn prediction<'e>(run: &RunView<'e>) -> Option<&'e Prediction> {
    let predictions = &run.plan.as_ref()?.shape.predictions;
    let payload = run.started()?.payload.as_ref();
    let by_text = payload.and_then(|payload| std::str::from_utf8(&payload.data).ok()).and_then(|text| predictions.get(text));
    by_text.or_else(|| predictions.get(&content_digest(payload))).or_else(|| predictions.get(""))
}

/// True if the cluster let some time run out, and it was not foreseen. A signal that nobody sends is to time out, and a child may be to fail so; then what
/// they are in may fail with the same words.
fn time_ran_out(run: &RunView<'_>, prediction: &Prediction) -> bool {
    let kind = |step: &str| run.planned(step).map(|planned| planned.kind.as_str());
    let is_to_fail = |step: &str| prediction.steps.get(step).is_some_and(|wanted| wanted == StepStatus::Failed.as_str_name());
    let foreseen = |step: &str| matches!(kind(step), Some("signal" | "workflow")) && is_to_fail(step);
    let holds_others = |step: &str| matches!(kind(step), None | Some("group" | "for_each" | "repeat"));
    let of_time = |event: &HistoryEvent| {
        let failure = event.failure.as_ref()?;
        OF_TIME.into_iter().find(|kind| *kind == failure.r#type).map(|kind| (event.step.clone(), kind))
    };
    let all: Vec<(String, &str)> = run.record.events.iter().filter_map(of_time).collect();
    let passed_on: BTreeSet<&str> = all.iter().filter(|(step, _)| foreseen(step)).map(|(_, kind)| *kind).collect();
    let is_passed_on = |step: &str, kind: &str| holds_others(step) && passed_on.contains(kind);
    all.iter().any(|(step, kind)| !foreseen(step) && !is_passed_on(step, kind))
}

fn as_predicted(joined: &Joined<'_>, run: &RunView<'_>, prediction: &Prediction, findings: &mut Findings) {
    let status = standing::statuses(&run.record.events).last().copied().unwrap_or_default();
    let touched =
        |event: &HistoryEvent| matches!(event.r#type(), EventType::RunCancelRequested | EventType::Repaired | EventType::RunReopened);
    let by_somebody = status == quorus_proto::v1::RunStatus::Terminated || run.record.events.iter().any(touched);
    if !standing::is_final(status) || by_somebody || time_ran_out(run, prediction) {
        return;
    }
    let end = run.of_type(EventType::RunEnded).last();
    if !prediction.status.is_empty() {
        findings.expect(prediction.status == status.as_str_name(), || {
            let failures = run.record.events.iter().filter(|event| event.failure.is_some()).take(4);
            Counterexample::new(run.name(), format!("the run was to end as {}, and ended as {}", prediction.status, status.as_str_name()))
                .with(failures.chain(end).map(|event| joined.clock.event(event)))
        });
    }
    for (step, wanted) in &prediction.steps {
        let last = run.steps.get(step.as_str()).and_then(|view| view.of_type(EventType::StepEnded).last()).map(|(_, event)| event);
        // A step that never came to its turn shows as cancelled.
        let found = last.map_or(StepStatus::Cancelled.as_str_name(), |event| event.step_status().as_str_name());
        findings.expect(found == wanted, || {
            Counterexample::new(run.name(), format!("the step was to end as {wanted}, and is {found}"))
                .step(step)
                .with(last.into_iter().chain(end).map(|event| joined.clock.event(event)))
        });
    }
    for (step, wanted) in &prediction.failures {
        let attempts = run.steps.get(step.as_str()).map(|view| view.attempts.as_slice()).unwrap_or_default();
        let (wanted, failed) = (*wanted as usize, attempts.iter().filter(|attempt| attempt.outcome() == "failed").count());
        // What an attempt does is planned by its number. One whose worker died did not come to fail, and is not made up for.
        let came_off = attempts.get(..wanted).is_some_and(|first| first.iter().all(|attempt| attempt.outcome() != "succeeded"));
        findings.expect(came_off && failed <= wanted, || {
            Counterexample::new(run.name(), format!("the worker was to fail {wanted} times, and did {failed} times"))
                .step(step)
                .with(attempts.iter().filter_map(|attempt| attempt.ended).map(|event| joined.clock.event(event)))
        });
    }
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::{EventType, RunStatus, StepStatus};

    use crate::check::testing::{Scene, assert_only, each_event, event};
    use crate::record::{Evidence, Prediction, Shape, StepShape};

    fn shape() -> Shape {
        let task = |step: &str, needs: &[&str]| StepShape {
            step: step.to_owned(),
            kind: "task".to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            ..StepShape::default()
        };
        let prediction = Prediction {
            status: "RUN_STATUS_SUCCEEDED".to_owned(),
            steps: [("b".to_owned(), "STEP_STATUS_SUCCEEDED".to_owned())].into(),
            failures: [("a".to_owned(), 1)].into(),
        };
        Shape {
            workflow: "w".to_owned(),
            steps: vec![task("a", &[]), task("b", &["a"]), task("items[].x", &[]), task("items[].y", &["items[].x"])],
            predictions: [(String::new(), prediction)].into(),
        }
    }

    fn legal() -> Evidence {
        let mut scene = Scene::new();
        scene.shape(shape());
        let run = scene.start("r", "w");
        scene.fail_attempt(&run, "a", 500);
        scene.task(&run, "a");
        scene.task(&run, "b");
        scene.task(&run, "items[1].x");
        scene.task(&run, "items[0].x");
        scene.task(&run, "items[1].y");
        scene.succeed(&run);
        scene.evidence()
    }

    #[test]
    fn steps_in_order_are_legal() {
        assert_only(&legal(), &[]);
    }

    #[test]
    fn a_begin_before_the_end_of_a_need_is_found() {
        let mut evidence = legal();
        let end = evidence.ledger.iter().find(|line| line.step == "a" && line.outcome == "succeeded").unwrap().mono_us;
        let begin = evidence.ledger.iter_mut().find(|line| line.step == "b").unwrap();
        begin.mono_us = end - 1;
        assert_only(&evidence, &["I8"]);
    }

    #[test]
    fn an_event_before_the_end_of_a_need_is_found() {
        let mut scene = Scene::new();
        scene.shape(Shape { predictions: Default::default(), ..shape() });
        let run = scene.start("r", "w");
        scene.push(&run, event(EventType::StepEnded).step("b").step_status(StepStatus::Succeeded));
        scene.task(&run, "a");
        scene.succeed(&run);
        assert_only(&scene.evidence(), &["I8"]);
        let mut scene = Scene::new();
        scene.shape(Shape { predictions: Default::default(), ..shape() });
        let run = scene.start("r", "w");
        scene.task(&run, "items[0].x");
        scene.task(&run, "items[1].y");
        scene.succeed(&run);
        assert_only(&scene.evidence(), &["I8"]);
    }

    #[test]
    fn an_attempt_that_was_to_fail_may_die_but_not_succeed() {
        let ended = |first: fn(&mut Scene, &str)| {
            let mut scene = Scene::new();
            scene.shape(shape());
            let run = scene.start("r", "w");
            first(&mut scene, &run);
            scene.task(&run, "a");
            scene.task(&run, "b");
            scene.succeed(&run);
            scene.evidence()
        };
        assert_only(&ended(|scene, run| scene.abandon(run, "a", 31_000)), &[]);
        assert_only(&ended(|_, _| {}), &["I8"]);
        let twice = ended(|scene, run| {
            scene.fail_attempt(run, "a", 500);
            scene.fail_attempt(run, "a", 500);
        });
        assert_only(&twice, &["I8"]);
    }

    #[test]
    fn a_step_that_was_skipped_and_executed_is_found() {
        let mut evidence = legal();
        each_event(&mut evidence, |event| {
            if event.r#type() == EventType::StepEnded && event.step == "items[0].x" {
                event.step_status = StepStatus::Skipped.into();
                event.outcome = "if".to_owned();
            }
        });
        assert_only(&evidence, &["I8"]);
    }

    #[test]
    fn an_end_that_was_not_foreseen_is_found_unless_somebody_stopped_the_run() {
        let end = |status: RunStatus, cancel: bool| {
            let mut scene = Scene::new();
            scene.shape(shape());
            let run = scene.start("r", "w");
            scene.fail_attempt(&run, "a", 500);
            scene.task(&run, "a");
            if cancel {
                scene.cancel(&run);
            } else {
                scene.task(&run, "b");
            }
            scene.end(&run, status);
            scene.evidence()
        };
        assert_only(&end(RunStatus::Succeeded, false), &[]);
        assert_only(&end(RunStatus::Failed, false), &["I8"]);
        assert_only(&end(RunStatus::Cancelled, true), &[]);
    }

    #[test]
    fn a_signal_that_was_to_time_out_excuses_nothing_and_any_other_loss_of_time_does() {
        let ended = |timed_out: [&str; 2], foreseen: bool, status: RunStatus| {
            let mut scene = Scene::new();
            let mut shape = shape();
            shape.steps.push(StepShape { step: "s".to_owned(), kind: "signal".to_owned(), ..StepShape::default() });
            shape.steps.push(StepShape { step: "g".to_owned(), kind: "group".to_owned(), ..StepShape::default() });
            let steps = foreseen.then(|| ("s".to_owned(), "STEP_STATUS_FAILED".to_owned())).into_iter().collect();
            let prediction = Prediction { status: "RUN_STATUS_FAILED".to_owned(), steps, ..Prediction::default() };
            scene.shape(Shape { predictions: [(String::new(), prediction)].into(), ..shape });
            let run = scene.start("r", "w");
            for step in timed_out {
                scene.push(&run, event(EventType::StepEnded).step(step).step_status(StepStatus::Failed).failure("QuorusStepTimeout"));
            }
            scene.end(&run, status);
            scene.evidence()
        };
        assert_only(&ended(["s", "g"], true, RunStatus::Failed), &[]);
        assert_only(&ended(["s", "g"], true, RunStatus::Succeeded), &["I8"]);
        assert_only(&ended(["s", "g"], false, RunStatus::Succeeded), &[]);
        assert_only(&ended(["s", "a"], true, RunStatus::Succeeded), &[]);
    }

    #[test]
    fn a_join_that_fires_twice_is_found() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.shape(Shape { predictions: Default::default(), ..shape() });
        scene.push(&run, event(EventType::StepAwaiting).step("a"));
        scene.push(&run, event(EventType::StepAwaiting).step("a"));
        scene.push(&run, event(EventType::StepEnded).step("a").step_status(StepStatus::Succeeded));
        scene.succeed(&run);
        let evidence = scene.evidence();
        assert_only(&evidence, &["I8"]);
    }
}
