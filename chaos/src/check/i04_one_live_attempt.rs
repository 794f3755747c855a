//! I4: at most one attempt of a step is live.
//!
//! For every run, every step `s`, and attempts `a`, `b` of `s` granted one after the other:
//! - (a, exclusive) `a` ended in the history before the grant of `b`; the token of every grant is the sequence of its event, so it rises strictly in
//!   the run, across leaders; attempt numbers of `s` rise strictly;
//! - (b, apart) if in the ledger a deed of `a` (begin, effect, end as succeeded or failed) is later than the begin of `b`: the worker of `a` itself was
//!   hit by a fault since it began `a`, or `a` was ended because its time was over or somebody stopped it, which a worker learns a moment later;
//! - (c, by itself) if `a` was given up because its worker was lost, and that worker was not hit: no deed of `a` is later than that record, within
//!   the clock bound and a moment;
//! - (d, not before its time) if `a` was given up because its worker was lost, and that worker was not hit, nor had been until a moment before the
//!   grant: a whole lease lies between its grant and that record, within the clock bound and a moment. (A grant can fall to the stream of a process
//!   that is dead already; the one that comes after it says so.) Nodes' own workers, which die with their node, are left out; and so is everything if a clock
//!   was out of the bound.
//!
//! Sources: histories, ledger, faults. Limits: renewals of leases are not in the log, so (b) and (c) judge by what was recorded after a lease had run
//! out, not by the deadline that the worker itself computed.

use quorus_proto::v1::EventType;

use super::{
    findings::{Findings, Invariant},
    joined::{Attempt, Execution, Joined, RunView, StepView},
    verdict::Counterexample,
};

pub(super) const INVARIANT: Invariant = Invariant { id: "I4", title: "leases are disjoint, tokens rise, lost workers stop", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for run in joined.runs.values() {
        tokens(joined, run, findings);
        for (step, view) in &run.steps {
            exclusive(joined, run, step, view, findings);
            for attempt in &view.attempts {
                in_its_time(joined, run, step, attempt, findings);
            }
            let executions = joined.executions(run.uid(), step);
            for pair in executions.windows(2) {
                apart(joined, run, step, view, (&pair[0], &pair[1]), findings);
            }
            for execution in executions {
                by_itself(joined, run, step, view, execution, findings);
            }
        }
    }
}

fn tokens(joined: &Joined<'_>, run: &RunView<'_>, findings: &mut Findings) {
    let mut last = 0;
    for event in run.of_type(EventType::StepLeased) {
        findings.expect(event.token == event.sequence && event.token > last, || {
            Counterexample::new(run.name(), format!("token {} of a grant is not its sequence, or does not rise above {last}", event.token))
                .step(&event.step)
                .with([joined.clock.event(event)])
        });
        last = last.max(event.token);
    }
}

fn exclusive(joined: &Joined<'_>, run: &RunView<'_>, step: &str, view: &StepView<'_>, findings: &mut Findings) {
    for pair in view.attempts.windows(2) {
        let (first, second) = (&pair[0], &pair[1]);
        let gone = first.ended.is_some_and(|ended| ended.sequence < second.leased.sequence);
        let rises = first.leased.attempt < second.leased.attempt;
        findings.expect(gone && rises, || {
            let summary = if gone { "the numbers of attempts do not rise" } else { "an attempt was granted while another one was live" };
            let evidence = [Some(first.leased), first.ended, Some(second.leased), second.ended];
            Counterexample::new(run.name(), summary).step(step).with(evidence.into_iter().flatten().map(|event| joined.clock.event(event)))
        });
    }
}

fn apart(
    joined: &Joined<'_>,
    run: &RunView<'_>,
    step: &str,
    view: &StepView<'_>,
    (first, second): (&Execution<'_>, &Execution<'_>),
    findings: &mut Findings,
) {
    let overlaps = first.last_deed_us() > second.begun_us();
    let excused = overlaps && {
        let outcome = attempt_of(view, first).map_or("", Attempt::outcome);
        joined.worker_was_hit(first.worker, first.begun_us(), second.begun_us()) || matches!(outcome, "timed_out" | "cancelled")
    };
    findings.expect(!overlaps || excused, || {
        Counterexample::new(
            run.name(),
            "two attempts of a step were executed at the same time, though nothing had happened to the first worker",
        )
        .step(step)
        .with(first.testimony().chain(second.testimony()))
        .with(history(joined, view, [first, second]))
        .with(joined.faults_between(first.begun_us(), second.begun_us()))
    });
}

fn by_itself(joined: &Joined<'_>, run: &RunView<'_>, step: &str, view: &StepView<'_>, execution: &Execution<'_>, findings: &mut Findings) {
    let Some(attempt) = attempt_of(view, execution) else { return };
    let Some(ended) = attempt.ended.filter(|ended| ended.outcome == "abandoned") else { return };
    let lost_at = joined.clock.at_us(ended);
    let late = execution.last_deed_us() > lost_at + joined.clock.slack_us;
    findings.expect(!late || joined.worker_was_hit(execution.worker, execution.begun_us(), lost_at), || {
        Counterexample::new(run.name(), "a worker to which nothing had happened went on after its lease was over")
            .step(step)
            .with(execution.testimony())
            .with(history(joined, view, [execution]))
            .with(joined.faults_between(execution.begun_us(), lost_at))
    });
}

fn in_its_time(joined: &Joined<'_>, run: &RunView<'_>, step: &str, attempt: &Attempt<'_>, findings: &mut Findings) {
    let Some(ended) = attempt.ended.filter(|ended| ended.outcome == "abandoned" && !attempt.is_builtin()) else { return };
    if joined.windows.iter().any(|window| window.fault.kind.contains("clock-jump")) {
        return;
    }
    let (granted_at, lost_at) = (joined.clock.at_us(attempt.leased), joined.clock.at_us(ended));
    let early = lost_at - granted_at < joined.lease_us() - joined.clock.slack_us;
    let was_hit = joined.worker_was_hit(&attempt.leased.worker, granted_at - joined.clock.slack_us, lost_at);
    findings.expect(!early || was_hit, || {
        Counterexample::new(run.name(), "an attempt was given up before its lease could be over, though nothing had happened to its worker")
            .step(step)
            .with([joined.clock.event(attempt.leased), joined.clock.event(ended)])
            .with(joined.executions(run.uid(), step).iter().flat_map(|execution| execution.testimony()))
            .with(joined.faults_between(granted_at, lost_at))
    });
}

fn attempt_of<'v, 'e>(view: &'v StepView<'e>, execution: &Execution<'_>) -> Option<&'v Attempt<'e>> {
    view.attempts.iter().find(|attempt| attempt.leased.attempt == execution.attempt && attempt.leased.token == execution.token)
}

fn history<'v, const N: usize>(
    joined: &'v Joined<'_>,
    view: &'v StepView<'_>,
    executions: [&'v Execution<'_>; N],
) -> impl Iterator<Item = super::verdict::Testimony> + 'v {
    let attempts = executions.into_iter().filter_map(|execution| attempt_of(view, execution));
    attempts.flat_map(|attempt| [Some(attempt.leased), attempt.ended]).flatten().map(|event| joined.clock.event(event))
}

#[cfg(test)]
mod tests {
    use quorus_client::{LedgerEntry, LedgerEvent};
    use quorus_proto::v1::EventType;

    use crate::check::testing::{Scene, assert_only, each_event, remove_event};
    use crate::record::Evidence;

    /// A worker is lost after half a minute; another one finishes.
    fn abandoned(fault: Option<&str>) -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        if let Some(target) = fault {
            scene.fault("worker-pause", target, 40_000);
        }
        scene.abandon(&run, "a", 31_000);
        scene.task(&run, "a");
        scene.succeed(&run);
        scene.evidence()
    }

    #[test]
    fn a_grant_after_the_last_one_was_given_up_is_legal() {
        assert_only(&abandoned(Some("worker-1")), &[]);
    }

    #[test]
    fn a_lease_that_is_given_up_before_its_time_is_found() {
        let early = |fault: &str, after_ms: u64| {
            let mut scene = Scene::new();
            let run = scene.start("r", "w");
            // Of a worker, so that nothing is said about nodes alone.
            scene.fault("worker-pause", fault, 40_000);
            scene.abandon(&run, "a", after_ms);
            scene.task(&run, "a");
            scene.succeed(&run);
            scene.evidence()
        };
        assert_only(&early("worker-9", 29_000), &["I4"]);
        assert_only(&early("worker-1", 29_000), &[]);
        assert_only(&early("worker-9", 29_600), &[]);
    }

    #[test]
    fn a_grant_to_a_process_that_has_just_died_may_be_given_up_at_once() {
        let killed_before = |ms: u64| {
            let mut scene = Scene::new();
            let run = scene.start("r", "w");
            scene.fault("worker-kill", "worker-1", 1_000);
            scene.pass(1_000 + ms);
            scene.abandon(&run, "a", 50);
            scene.task(&run, "a");
            scene.succeed(&run);
            scene.evidence()
        };
        assert_only(&killed_before(100), &[]);
        assert_only(&killed_before(5_000), &["I4"]);
    }

    #[test]
    fn a_grant_beside_a_live_one_is_found() {
        let mut evidence = abandoned(Some("worker-1"));
        remove_event(&mut evidence, |event| event.r#type() == EventType::AttemptEnded && event.outcome == "abandoned");
        assert_only(&evidence, &["I4"]);
    }

    #[test]
    fn a_token_that_is_not_its_sequence_is_found() {
        let mut evidence = abandoned(Some("worker-1"));
        each_event(&mut evidence, |event| {
            if event.r#type() == EventType::StepLeased && event.attempt == 2 {
                event.token -= 1;
            }
        });
        for line in evidence.ledger.iter_mut().filter(|line| line.attempt == 2) {
            line.token -= 1;
        }
        assert_only(&evidence, &["I4"]);
    }

    #[test]
    fn a_deed_after_the_next_begin_needs_a_fault_of_the_worker() {
        let late = |mut evidence: Evidence| {
            let begun = evidence.ledger.iter().find(|line| line.attempt == 2).unwrap().mono_us;
            let mut effect = evidence.ledger.iter().find(|line| line.attempt == 1).unwrap().clone();
            effect.event = LedgerEvent::Effect;
            effect.mono_us = begun + 100;
            evidence.ledger.push(effect);
            evidence
        };
        assert_only(&late(abandoned(Some("worker-1"))), &[]);
        assert_only(&late(abandoned(Some("worker-9"))), &["I4"]);
        assert_only(&late(abandoned(None)), &["I4"]);
    }

    #[test]
    fn what_a_task_writes_itself_has_no_incarnation_and_is_its_workers_deed() {
        let mut evidence = abandoned(Some("worker-1"));
        let begin = evidence.ledger.iter().find(|line| line.attempt == 1).unwrap().clone();
        let worker = begin.worker.split('/').next().unwrap().to_owned();
        let effect = LedgerEntry { event: LedgerEvent::Effect, mono_us: begin.mono_us + 1, worker, ..begin };
        evidence.ledger.push(effect);
        assert_only(&evidence, &[]);
    }
}
