//! I6: after healing every run has ended, or waits for something that will wake it.
//!
//! Let `T` be two leases, the clock bound and [`SETTLE_US`]. For every recorded run that has not ended, at the time of the export:
//! - it needs attention, or is paused, or waits for a concurrency key that another run holds, or some step of it is open;
//! - for every open step: a wait or a back-off is due later than `T` ago; a grant is younger than `T`, or its worker has not written an end of it and was
//!   not hit by a fault; a child has not ended, or ended less than `T` ago; a step in its queue has waited for less than `T`, or no worker has begun the
//!   same step of another run since; a signal or an approval has not come.
//!
//! Sources: histories, ledger, faults. Limits: if the export came less than `T` after healing, `T` counts as nothing, and what is wrong then is unknown. Whether a
//! queue has workers is only seen from what they begin: a step that nobody passed over is unknown, not a violation. That a container has something
//! open in it is judged for the run as a whole.

use std::collections::BTreeMap;

use quorus_proto::v1::{EventType, HistoryEvent, RunStatus};

use super::{
    findings::{Findings, Invariant},
    joined::{Joined, RunView},
    path,
    standing::{self, Waits},
    testimony::signed,
    verdict::Counterexample,
};

pub(super) const INVARIANT: Invariant = Invariant { id: "I6", title: "every run ends, or waits for what will wake it", check };

/// How long a cluster may take after its faults until everything moves again.
const SETTLE_US: i64 = 10_000_000;

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    let now = signed(joined.evidence.setup.exported_us);
    let patience = 2 * joined.lease_us() + joined.clock.slack_us + SETTLE_US;
    let early = now < signed(joined.evidence.setup.healed_us) + patience;
    // What is not settled yet is to be seen as such, and not as right.
    let judge = Judge { joined, now, patience: if early { 0 } else { patience }, holders: holders(joined), served: served(joined) };
    for run in joined.runs.values() {
        findings.look();
        let wrong = judge.wrong(run);
        for (step, event, summary) in wrong {
            if early {
                findings
                    .unknown(format!("the export came less than {} s after healing, and not every run had ended", patience / 1_000_000));
            } else if summary.is_empty() {
                findings
                    .unknown(format!("step {step} of run {} waits in its queue, and nobody knows whether that has workers", run.name()));
            } else {
                findings.violated(|| {
                    let executions = joined.executed.get(&(run.uid(), step)).into_iter().flatten();
                    Counterexample::new(run.name(), summary)
                        .step(step)
                        .with([joined.clock.event(event)])
                        .with(executions.flat_map(|execution| execution.testimony()))
                });
            }
        }
    }
}

struct Judge<'j, 'e> {
    joined: &'j Joined<'e>,
    now: i64,
    patience: i64,
    /// Runs that hold a concurrency key and have not ended.
    holders: BTreeMap<&'e str, Vec<&'e str>>,
    /// When a worker last began a step, by workflow and step of the shape.
    served: BTreeMap<(&'e str, String), i64>,
}

type Wrong<'e> = (&'e str, &'e HistoryEvent, String);

impl<'e> Judge<'_, 'e> {
    fn wrong(&self, run: &RunView<'e>) -> Vec<Wrong<'e>> {
        let status = standing::statuses(&run.record.events).last().copied().unwrap_or_default();
        let Some(last) = run.record.events.last() else { return Vec::new() };
        if standing::is_final(status) || status == RunStatus::NeedsAttention || standing::is_paused(run) {
            return Vec::new();
        }
        if status == RunStatus::Queued {
            return self.without_slot(run);
        }
        let open = standing::open(run);
        if open.iter().all(|(_, waits, _)| *waits == Waits::Inside) {
            let text = "the run has not ended, and nothing in it is open";
            return self.is_old(last).then(|| ("", last, text.to_owned())).into_iter().collect();
        }
        open.into_iter().filter_map(|(step, waits, event)| Some((step, event, self.wrong_step(run, step, waits, event)?))).collect()
    }

    fn without_slot(&self, run: &RunView<'e>) -> Vec<Wrong<'e>> {
        let Some(event) = run.of_type(EventType::SlotRequested).last() else { return Vec::new() };
        let held = self.holders.get(event.key.as_str()).is_some_and(|holders| holders.iter().any(|uid| *uid != run.uid()));
        let orphaned = !held && self.is_old(event);
        orphaned.then(|| ("", event, "the run waits for a concurrency key that nobody holds".to_owned())).into_iter().collect()
    }

    /// None if it may wait like this; empty if nobody can tell.
    fn wrong_step(&self, run: &RunView<'e>, step: &'e str, waits: Waits<'_>, event: &HistoryEvent) -> Option<String> {
        let text = match waits {
            Waits::Somebody | Waits::Inside => return None,
            Waits::Nothing => self.is_old(event).then_some("an attempt ended, and nothing followed"),
            Waits::Time(due) => {
                let due_us = (due - self.joined.clock.wall_at_zero_ms) * 1000;
                (due_us + self.patience < self.now).then_some("what the step waits for was due long ago")
            }
            Waits::Outcome { attempt, token } => self.without_outcome(run, step, attempt, token, event),
            Waits::Child(uid) => self.without_child(uid, event),
            Waits::Worker => {
                let place = (run.record.workflow.as_str(), path::in_shape(step));
                let passed_over = self.served.get(&place).is_some_and(|served| *served > self.joined.clock.at_us(event));
                self.is_old(event).then_some(if passed_over { "the step waits in its queue, and was passed over" } else { "" })
            }
        };
        text.map(str::to_owned)
    }

    fn without_outcome(&self, run: &RunView<'e>, step: &'e str, attempt: u32, token: u64, event: &HistoryEvent) -> Option<&'static str> {
        if !self.is_old(event) || event.worker.ends_with("/builtin") {
            return None;
        }
        let executions = self.joined.executions(run.uid(), step);
        let Some(execution) = executions.iter().find(|known| (known.attempt, known.token) == (attempt, token)) else {
            return (!self.joined.evidence.ledger.is_empty()).then_some("an attempt was granted long ago, and no worker ever began it");
        };
        if let Some(end) = execution.end {
            return (signed(end.mono_us) + self.patience < self.now)
                .then_some("the worker ended the attempt long ago, and nobody recorded it");
        }
        let healed = signed(self.joined.evidence.setup.healed_us);
        let hit = self.joined.worker_was_hit(execution.worker, execution.begun_us(), healed);
        hit.then_some("the worker of the attempt was lost long ago, and nobody gave the attempt up")
    }

    fn without_child(&self, uid: &str, event: &HistoryEvent) -> Option<&'static str> {
        let Some(child) = self.joined.runs.get(uid) else {
            return self.is_old(event).then_some("a child was asked for long ago, and is not there");
        };
        let ended = child.of_type(EventType::RunEnded).last()?;
        let is_final = standing::is_final(standing::statuses(&child.record.events).last().copied().unwrap_or_default());
        (is_final && ended.sequence > 0 && self.is_old(ended) && self.is_old(event))
            .then_some("the child ended long ago, and its parent does not know")
    }

    fn is_old(&self, event: &HistoryEvent) -> bool {
        self.joined.clock.at_us(event) + self.patience < self.now
    }
}

fn holders<'e>(joined: &Joined<'e>) -> BTreeMap<&'e str, Vec<&'e str>> {
    let mut holders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for run in joined.runs.values() {
        let key = run.of_type(EventType::SlotRequested).last().map(|event| event.key.as_str());
        // A run that was reopened after its end asks again.
        let steps = [EventType::SlotRequested, EventType::SlotGranted, EventType::SlotReleased];
        let last = steps.iter().filter_map(|step| Some((run.of_type(*step).last()?.sequence, *step))).max_by_key(|(sequence, _)| *sequence);
        let granted = last.is_some_and(|(_, step)| step == EventType::SlotGranted);
        // Any number may hold the empty key, so it keeps nobody waiting.
        if let Some(key) = key.filter(|key| granted && !key.is_empty()) {
            holders.entry(key).or_default().push(run.uid());
        }
    }
    holders
}

fn served<'e>(joined: &Joined<'e>) -> BTreeMap<(&'e str, String), i64> {
    let mut served = BTreeMap::new();
    for ((uid, step), executions) in &joined.executed {
        let Some(run) = joined.runs.get(uid) else { continue };
        let last = executions.iter().map(super::joined::Execution::begun_us).max().unwrap_or(0);
        let known = served.entry((run.record.workflow.as_str(), path::in_shape(step))).or_insert(last);
        *known = last.max(*known);
    }
    served
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::{EventType, RunStatus};

    use crate::check::testing::{Scene, assert_only, event, result};
    use crate::check::verdict::Verdict;

    #[test]
    fn a_run_with_nothing_open_is_an_orphan() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.task(&run, "a");
        scene.heal();
        assert_only(&scene.evidence(), &["I6"]);
    }

    #[test]
    fn people_signals_and_far_timers_may_be_waited_for() {
        let mut scene = Scene::new();
        let (signal, timer, people) = (scene.start("s", "w"), scene.start("t", "w"), scene.start("p", "w"));
        scene.push(&signal, event(EventType::StepAwaiting).step("go"));
        scene.push(&timer, event(EventType::StepWaiting).step("far").due_in(3_600_000));
        scene.push(&people, event(EventType::AttentionRequested).run_status(RunStatus::NeedsAttention));
        scene.heal();
        assert_only(&scene.evidence(), &[]);
    }

    #[test]
    fn a_run_may_wait_for_a_key_that_another_one_has_taken_again_but_not_for_one_that_nobody_holds() {
        let told = |key: &str, last: EventType| {
            let mut scene = Scene::new();
            let (holds, waits) = (scene.start("h", "w"), scene.start("w", "w"));
            for kind in [EventType::SlotRequested, EventType::SlotGranted, EventType::SlotReleased, EventType::SlotRequested, last] {
                scene.push(&holds, event(kind).key(key));
            }
            scene.push(&holds, event(EventType::StepAwaiting).step("go"));
            scene.push(&waits, event(EventType::SlotRequested).key(key));
            scene.heal();
            scene.evidence()
        };
        assert_only(&told("k", EventType::SlotGranted), &[]);
        assert_only(&told("k", EventType::SlotReleased), &["I6"]);
        assert_only(&told("", EventType::SlotGranted), &["I6"]);
    }

    #[test]
    fn a_timer_that_is_overdue_is_an_orphan() {
        let mut scene = Scene::new();
        let run = scene.start("t", "w");
        scene.push(&run, event(EventType::StepWaiting).step("near").due_in(1_000));
        scene.heal();
        assert_only(&scene.evidence(), &["I6"]);
    }

    #[test]
    fn an_end_that_nobody_recorded_is_an_orphan_and_a_worker_at_work_is_not() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.lease(&run, "a");
        scene.heal();
        let mut evidence = scene.evidence();
        assert_only(&evidence, &[]);
        let mut end = evidence.ledger[0].clone();
        end.event = quorus_client::LedgerEvent::End;
        end.outcome = "succeeded".to_owned();
        end.mono_us += 1_000;
        evidence.ledger.push(end);
        assert_only(&evidence, &["I6"]);
    }

    #[test]
    fn a_worker_that_was_killed_and_never_given_up_is_an_orphan() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.lease(&run, "a");
        scene.fault("worker-kill", "worker-1", 1_000);
        scene.heal();
        assert_only(&scene.evidence(), &["I6"]);
    }

    #[test]
    fn a_step_that_was_passed_over_is_an_orphan_and_one_that_nobody_serves_is_unknown() {
        let mut scene = Scene::new();
        let waits = scene.start("waits", "w");
        scene.push(&waits, event(EventType::StepQueued).step("a"));
        let mut alone = scene.clone();
        alone.heal();
        assert_eq!(result(&alone.evidence(), "I6").verdict, Verdict::Unknown);
        let other = scene.start("other", "w");
        scene.task(&other, "a");
        scene.succeed(&other);
        scene.heal();
        assert_only(&scene.evidence(), &["I6"]);
    }

    #[test]
    fn a_child_that_ended_without_its_parent_is_an_orphan() {
        let mut scene = Scene::new();
        let parent = scene.start("p", "w");
        let child = scene.child(&parent, "c");
        scene.succeed(&child);
        scene.heal();
        assert_only(&scene.evidence(), &["I6"]);
    }

    #[test]
    fn an_export_that_came_too_early_leaves_the_question_open() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.task(&run, "a");
        assert_eq!(result(&scene.evidence(), "I6").verdict, Verdict::Unknown);
    }
}
