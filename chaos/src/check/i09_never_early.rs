//! I9: timers, retries and timeouts are never early.
//!
//! In every history, with all times as their leaders recorded them (the rule that a timer of another term waits for the clock bound on top makes this
//! exact): the event by which something fired is not earlier than what was recorded as due:
//! - the end of a wait, or the begin of what was postponed, against the wait's due time;
//! - the next queueing or grant after an attempt that is to be retried, and the next try of a container or child, against that time;
//! - an attempt that ran out of its time, a task that nobody took, a step that waited for somebody for too long, a run that took too long, each against
//!   the deadline that was recorded for it. No attempt is "timed out" before.
//!
//! On the clock of the experiment, which no node has, within the clock bound and a moment:
//! - what needs a wait of length `w` begins at least `w` after all that the wait needs has ended;
//! - an attempt begins at least as long after the end of the last one as was recorded as the pause;
//! - the times themselves are right: no grant is recorded later than its worker began, no reported end earlier than its worker wrote it, nothing later
//!   than it was exported. A leader whose clock is a day ahead fires nothing early by its own clock, and lets what it arms sleep for a day.
//!
//! And: an attempt that a worker reported as failed is followed by a pause of at least what the shape says; failed attempts of a generation are at most
//! as many as the shape says.
//!
//! Sources: histories, ledger, shapes. Limits: deadlines that the history does not show (of a whole step with attempts, of heartbeats) are not judged;
//! neither is lateness, but for what is overdue at the end (I6).

use std::collections::BTreeMap;

use quorus_proto::v1::{EventType, HistoryEvent};

use super::{
    findings::{Findings, Invariant},
    joined::{Joined, RunView, StepView},
    path,
    testimony::{due_ms, signed, wall_ms},
    verdict::Counterexample,
};

pub(super) const INVARIANT: Invariant = Invariant { id: "I9", title: "timers, retries and timeouts are never early", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for run in joined.runs.values() {
        run_timeout(joined, run, findings);
        of_the_future(joined, run, findings);
        for (step, view) in &run.steps {
            fired(joined, run, step, view, findings);
            timed_out(joined, run, step, view, findings);
            retries(joined, run, step, view, findings);
            outside(joined, run, step, findings);
            recorded_right(joined, run, step, view, findings);
        }
    }
}

fn early(
    joined: &Joined<'_>,
    run: &RunView<'_>,
    step: &str,
    what: &str,
    armed: &HistoryEvent,
    fired: &HistoryEvent,
    findings: &mut Findings,
) {
    let Some(due) = due_ms(armed) else { return };
    findings.expect(wall_ms(fired) >= due, || {
        Counterexample::new(run.name(), format!("{what} {} ms early", due - wall_ms(fired)))
            .step(step)
            .with([joined.clock.event(armed), joined.clock.event(fired)])
    });
}

/// Waits and pauses.
fn fired(joined: &Joined<'_>, run: &RunView<'_>, step: &str, view: &StepView<'_>, findings: &mut Findings) {
    let mut armed: Option<&HistoryEvent> = None;
    for (_, event) in &view.events {
        match event.r#type() {
            EventType::StepWaiting | EventType::ScopeRetried => armed = Some(event),
            EventType::AttemptEnded => armed = event.due_at.as_ref().map(|_| *event),
            // Somebody passed it, or it was stopped.
            EventType::StepEnded if event.step_status() != quorus_proto::v1::StepStatus::Succeeded => armed = None,
            EventType::StepReopened | EventType::PhaseChanged | EventType::Repaired | EventType::AttentionRequested => {}
            _ => {
                if let Some(armed) = armed.take() {
                    early(joined, run, step, "a wait or a pause was over", armed, event, findings);
                }
            }
        }
    }
}

fn failure(event: &HistoryEvent) -> &str {
    event.failure.as_ref().map_or("", |failure| &failure.r#type)
}

fn timed_out(joined: &Joined<'_>, run: &RunView<'_>, step: &str, view: &StepView<'_>, findings: &mut Findings) {
    for attempt in &view.attempts {
        if let Some(ended) = attempt.ended.filter(|ended| ended.outcome == "timed_out" && failure(ended) == "QuorusAttemptTimeout") {
            early(joined, run, step, "an attempt ran out of time", attempt.leased, ended, findings);
        }
    }
    let mut last: BTreeMap<&str, &HistoryEvent> = BTreeMap::new();
    for (_, event) in &view.events {
        match (event.r#type(), failure(event)) {
            (EventType::StepQueued, _) => drop(last.insert("QuorusScheduleTimeout", event)),
            (EventType::StepAwaiting, _) => drop(last.insert("QuorusStepTimeout", event)),
            (EventType::StepEnded | EventType::PoolChanged, failure @ ("QuorusScheduleTimeout" | "QuorusStepTimeout")) => {
                if let Some(armed) = last.get(failure) {
                    early(joined, run, step, "a step ran out of time", armed, event, findings);
                }
            }
            _ => {}
        }
    }
}

fn run_timeout(joined: &Joined<'_>, run: &RunView<'_>, findings: &mut Findings) {
    let mut armed = run.started();
    for event in &run.record.events {
        match event.r#type() {
            EventType::RunReopened => armed = Some(event),
            EventType::PhaseChanged if event.step.is_empty() && event.phase == "running" => armed = Some(event),
            EventType::RunFailing if failure(event) == "QuorusRunTimeout" => {
                if let Some(armed) = armed {
                    early(joined, run, "", "the run ran out of time", armed, event, findings);
                }
            }
            _ => {}
        }
    }
}

/// Pauses and numbers of attempts, as the shape says.
fn retries(joined: &Joined<'_>, run: &RunView<'_>, step: &str, view: &StepView<'_>, findings: &mut Findings) {
    let Some(planned) = run.planned(step).filter(|_| path::undoes(step).is_none()) else { return };
    let mut failed: BTreeMap<u32, Vec<&HistoryEvent>> = BTreeMap::new();
    for (position, attempt) in view.attempts.iter().enumerate() {
        let Some(ended) = attempt.ended.filter(|ended| matches!(ended.outcome.as_str(), "failed" | "timed_out")) else { continue };
        failed.entry(attempt.generation).or_default().push(ended);
        let next = view.attempts.get(position + 1).filter(|next| next.generation == attempt.generation);
        if let Some(next) = next.filter(|_| planned.retry_after_ms > 0) {
            let pause = due_ms(ended).map_or(0, |due| due - wall_ms(ended));
            findings.expect(pause >= signed(planned.retry_after_ms), || {
                Counterexample::new(
                    run.name(),
                    format!("the pause before the next attempt was {pause} ms, less than {}", planned.retry_after_ms),
                )
                .step(step)
                .with([joined.clock.event(ended), joined.clock.event(next.leased)])
            });
        }
    }
    for ended in failed.into_values().filter(|_| planned.attempts_max > 0) {
        findings.expect(ended.len() <= planned.attempts_max as usize, || {
            Counterexample::new(run.name(), format!("{} attempts failed, at most {} are allowed", ended.len(), planned.attempts_max))
                .step(step)
                .with(ended.iter().map(|event| joined.clock.event(event)))
        });
    }
}

/// On a clock that no node has.
fn outside(joined: &Joined<'_>, run: &RunView<'_>, step: &str, findings: &mut Findings) {
    let Some(executions) = joined.executed.get(&(run.uid(), step)) else { return };
    let Some(view) = run.steps.get(step) else { return };
    for attempt in &view.attempts {
        let Some((ended, due)) = attempt.ended.and_then(|ended| Some((ended, due_ms(ended)?))) else { continue };
        // Only what a worker reported itself began with its line.
        let reported = matches!(ended.outcome.as_str(), "failed" | "released");
        let last = executions.iter().find(|known| known.token == attempt.leased.token).filter(|_| reported);
        let next = executions.iter().find(|known| known.token > attempt.leased.token);
        let (Some(last), Some(next)) = (last, next) else { continue };
        let Some(end) = last.end else { continue };
        apart(joined, run, step, due - wall_ms(ended), signed(end.mono_us), next.begun_us(), "the next attempt began", findings, || {
            last.testimony().chain(next.testimony()).chain([joined.clock.event(ended)]).collect()
        });
    }
    for need in run.planned(step).map(|planned| planned.needs.as_slice()).unwrap_or_default() {
        let Some(wait) = path::beside(step, need) else { continue };
        let Some(planned) = run.planned(&wait).filter(|planned| planned.kind == "wait" && planned.wait_ms > 0) else { continue };
        let waited = run.steps.get(wait.as_str()).filter(|view| view.events.iter().all(|(generation, _)| *generation == 0));
        let slept = waited.is_some_and(|view| {
            view.of_type(EventType::StepEnded).any(|(_, event)| event.step_status() == quorus_proto::v1::StepStatus::Succeeded)
        });
        let Some(first) = executions.first().filter(|_| slept) else { continue };
        let before = planned.needs.iter().filter_map(|need| path::beside(&wait, need));
        let ends = before.filter_map(|need| {
            let view = run.steps.get(need.as_str())?;
            let winner = view.attempts.iter().find(|attempt| attempt.outcome() == "succeeded")?;
            let execution = joined.executed.get(&(run.uid(), need.as_str()))?.iter().find(|known| known.token == winner.leased.token)?;
            execution.end
        });
        let Some(last) = ends.max_by_key(|end| end.mono_us) else { continue };
        apart(
            joined,
            run,
            step,
            signed(planned.wait_ms),
            signed(last.mono_us),
            first.begun_us(),
            "what follows a wait began",
            findings,
            || first.testimony().chain([super::testimony::ledger(last)]).collect(),
        );
    }
}

/// Nothing is recorded later than it was exported.
fn of_the_future(joined: &Joined<'_>, run: &RunView<'_>, findings: &mut Findings) {
    let exported = signed(joined.evidence.setup.exported_us);
    for event in &run.record.events {
        let ahead = joined.clock.at_us(event) - exported;
        findings.expect(ahead <= joined.clock.slack_us, || {
            Counterexample::new(run.name(), format!("an event was recorded {} ms after the export", ahead / 1000))
                .step(&event.step)
                .with([joined.clock.event(event)])
        });
    }
}

/// What leaders recorded as the time, against the workers' own.
fn recorded_right(joined: &Joined<'_>, run: &RunView<'_>, step: &str, view: &StepView<'_>, findings: &mut Findings) {
    let Some(executions) = joined.executed.get(&(run.uid(), step)) else { return };
    let (clock, slack) = (joined.clock, joined.clock.slack_us);
    for attempt in &view.attempts {
        let Some(execution) = executions.iter().find(|known| known.token == attempt.leased.token) else { continue };
        let ahead = clock.at_us(attempt.leased) - execution.begun_us();
        findings.expect(ahead <= slack, || {
            Counterexample::new(run.name(), format!("a grant was recorded {} ms later than its worker began", ahead / 1000))
                .step(step)
                .with([clock.event(attempt.leased)])
                .with(execution.testimony())
        });
        let reported = attempt.ended.filter(|ended| matches!(ended.outcome.as_str(), "succeeded" | "failed" | "released"));
        let (Some(ended), Some(end)) = (reported, execution.end) else { continue };
        let behind = signed(end.mono_us) - clock.at_us(ended);
        findings.expect(behind <= slack, || {
            Counterexample::new(run.name(), format!("an end was recorded {} ms before its worker reported it", behind / 1000))
                .step(step)
                .with([clock.event(ended)])
                .with(execution.testimony())
        });
    }
}

#[expect(clippy::too_many_arguments, reason = "one sentence, said in two places")]
fn apart(
    joined: &Joined<'_>,
    run: &RunView<'_>,
    step: &str,
    pause_ms: i64,
    from_us: i64,
    to_us: i64,
    what: &str,
    findings: &mut Findings,
    evidence: impl FnOnce() -> Vec<super::verdict::Testimony>,
) {
    let passed = to_us - from_us;
    findings.expect(passed + joined.clock.slack_us >= pause_ms * 1000, || {
        Counterexample::new(run.name(), format!("{what} after {} ms, the pause was {pause_ms} ms", passed / 1000))
            .step(step)
            .with(evidence())
    });
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::{EventType, StepStatus};

    use crate::check::testing::{Scene, assert_only, event};
    use crate::record::{Evidence, Shape, StepShape};

    fn shape() -> Shape {
        let step = |step: &str, kind: &str, needs: &[&str]| StepShape {
            step: step.to_owned(),
            kind: kind.to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            ..StepShape::default()
        };
        let wait = StepShape { wait_ms: 5_000, ..step("wait", "wait", &["a"]) };
        let flaky = StepShape { retry_after_ms: 1_000, attempts_max: 2, ..step("flaky", "task", &[]) };
        Shape {
            workflow: "w".to_owned(),
            steps: vec![step("a", "task", &[]), wait, step("b", "task", &["wait"]), flaky],
            ..Shape::default()
        }
    }

    fn waited(armed_ms: u64, slept_ms: u64) -> Evidence {
        let mut scene = Scene::new();
        scene.shape(shape());
        let run = scene.start("r", "w");
        scene.task(&run, "a");
        scene.push(&run, event(EventType::StepWaiting).step("wait").due_in(armed_ms));
        scene.pass(slept_ms);
        scene.push(&run, event(EventType::StepEnded).step("wait").step_status(StepStatus::Succeeded));
        scene.task(&run, "b");
        scene.succeed(&run);
        scene.evidence()
    }

    #[test]
    fn a_wait_that_ends_early_in_the_log_or_for_the_world_is_found() {
        assert_only(&waited(5_000, 5_000), &[]);
        assert_only(&waited(5_000, 4_998), &["I9"]);
        // The log says that it was due; the experiment's clock says that five seconds had not passed.
        assert_only(&waited(1_000, 1_000), &["I9"]);
    }

    #[test]
    fn a_retry_that_is_early_or_one_too_many_is_found() {
        let retried = |pause_ms: u64, passes_ms: u64, failures: u32| {
            let mut scene = Scene::new();
            scene.shape(shape());
            let run = scene.start("r", "w");
            for _ in 0..failures {
                scene.fail_attempt(&run, "flaky", pause_ms);
                scene.pass(passes_ms);
            }
            scene.task(&run, "flaky");
            scene.succeed(&run);
            scene.evidence()
        };
        assert_only(&retried(1_000, 0, 1), &[]);
        assert_only(&retried(999, 0, 1), &["I9"]);
        assert_only(&retried(1_000, 0, 3), &["I9"]);
    }

    #[test]
    fn a_leader_whose_clock_is_wrong_is_found() {
        let shifted = |by_s: i64, with_task: bool| {
            let mut scene = Scene::new();
            let run = scene.start("r", "w");
            if with_task {
                scene.task(&run, "a");
            }
            scene.succeed(&run);
            let mut evidence = scene.evidence();
            for event in evidence.replicas.iter_mut().flat_map(|replica| &mut replica.runs).flat_map(|run| &mut run.events) {
                if let Some(time) = &mut event.time {
                    time.seconds += by_s;
                }
            }
            evidence
        };
        assert_only(&shifted(0, true), &[]);
        assert_only(&shifted(86_400, true), &["I9"]);
        assert_only(&shifted(-2, true), &["I9"]);
        // No worker was there, and yet: tomorrow is not recorded today.
        assert_only(&shifted(86_400, false), &["I9"]);
    }

    #[test]
    fn an_attempt_that_runs_out_of_time_early_is_found() {
        let cut = |after_ms: u64| {
            let mut scene = Scene::new();
            let run = scene.start("r", "w");
            scene.lease(&run, "a");
            scene.last_event(&run).due_at = Some(scene_time(&scene, 10_000));
            scene.pass(after_ms);
            scene.push(&run, event(EventType::AttemptEnded).step("a").attempt(1).outcome("timed_out").failure("QuorusAttemptTimeout"));
            scene.push(&run, event(EventType::StepEnded).step("a").step_status(StepStatus::Failed).failure("QuorusAttemptTimeout"));
            scene.end(&run, quorus_proto::v1::RunStatus::Failed);
            scene.evidence()
        };
        assert_only(&cut(10_000), &[]);
        assert_only(&cut(9_000), &["I9"]);
    }

    fn scene_time(scene: &Scene, in_ms: u64) -> prost_types::Timestamp {
        scene.wall(in_ms)
    }
}
