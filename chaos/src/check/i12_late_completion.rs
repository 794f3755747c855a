//! I12: a stale completion is never accepted, a repeated one is answered like the first.
//!
//! For every completion `c` of attempt `a` with token `k` that was answered:
//! - if it was accepted: `a` was granted with `k`, and is recorded as ended by what a worker said, not as given up or out of time;
//! - if it repeats one that was acknowledged, of an attempt that is recorded as ended by what a worker said: it is accepted again.
//!
//! In every history: no attempt ends after a later one of its step was granted.
//!
//! Sources: operations, histories. Limits: a repeat is recognised by the cluster only while it remembers the attempt (the last 16 of a step, and not
//! across generations); repeats of steps that began anew, or with as many attempts, are only held to the first rule. What a completion said is not in the
//! operation, so that two different outcomes are told apart by I3, against the ledger.

use quorus_proto::v1::EventType;

use super::{
    findings::{Findings, Invariant},
    joined::{Attempt, Joined, RunView, StepView},
    testimony,
    verdict::Counterexample,
};
use crate::record::Call;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I12", title: "a late outcome is refused, a repeated one answered the same", check };

/// As many attempts of a step the cluster remembers.
const REMEMBERED: usize = 16;

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for operation in &joined.evidence.operations {
        let Call::Complete { run_uid, step, attempt: number, token, repeated, .. } = &operation.call else { continue };
        let accepted = match (operation.answer(), operation.refusal()) {
            (Some(answer), _) => answer.accepted.unwrap_or(true),
            (None, Some(_)) => false,
            // Nobody knows.
            (None, None) => continue,
        };
        let view = joined.runs.get(run_uid.as_str()).and_then(|run| run.steps.get(step.as_str()));
        let attempts = view.map_or(&[][..], |view| view.attempts.as_slice());
        let attempt = attempts.iter().find(|attempt| attempt.leased.attempt == *number && attempt.leased.token == *token);
        let by_worker = attempt.is_some_and(|attempt| matches!(attempt.outcome(), "succeeded" | "failed" | "released" | "cancelled"));
        let remembered = view.is_some_and(|view| view.of_type(EventType::StepReopened).next().is_none()) && attempts.len() <= REMEMBERED;
        let summary = match (accepted, by_worker) {
            (true, false) => "an outcome was accepted of an attempt that was over, or never was",
            (false, true) if *repeated && remembered => "an outcome that had been acknowledged was refused when it was sent again",
            _ => "",
        };
        findings.expect(summary.is_empty(), || {
            let name = joined.runs.get(run_uid.as_str()).map_or_else(|| run_uid.clone(), RunView::name);
            Counterexample::new(name, summary).step(step).with(testimony::operation(operation)).with(
                attempts.iter().flat_map(|attempt| [Some(attempt.leased), attempt.ended]).flatten().map(|event| joined.clock.event(event)),
            )
        });
    }
    for run in joined.runs.values() {
        for (step, view) in &run.steps {
            in_history(joined, run, step, view, findings);
        }
    }
}

fn in_history(joined: &Joined<'_>, run: &RunView<'_>, step: &str, view: &StepView<'_>, findings: &mut Findings) {
    let mut latest: Option<&Attempt<'_>> = None;
    let mut granted = view.attempts.iter().peekable();
    for (_, event) in view.of_type(EventType::AttemptEnded) {
        while let Some(attempt) = granted.next_if(|attempt| attempt.leased.sequence < event.sequence) {
            latest = Some(attempt);
        }
        let newer = latest.filter(|attempt| attempt.leased.attempt > event.attempt);
        findings.expect(newer.is_none(), || {
            Counterexample::new(run.name(), "an attempt ended after a later one had been granted")
                .step(step)
                .with(newer.map(|attempt| attempt.leased).into_iter().chain([event]).map(|event| joined.clock.event(event)))
        });
    }
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::EventType;

    use crate::check::testing::{Scene, assert_only, event};
    use crate::record::Evidence;

    fn with(attempt: u32, repeated: bool, accepted: bool) -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.fault("worker-pause", "worker-1", 40_000);
        scene.abandon(&run, "a", 31_000);
        scene.task(&run, "a");
        scene.complete(&run, "a", attempt, repeated, accepted);
        scene.succeed(&run);
        scene.evidence()
    }

    #[test]
    fn a_late_outcome_is_refused_and_a_repeated_one_accepted() {
        assert_only(&with(1, false, false), &[]);
        assert_only(&with(2, true, true), &[]);
    }

    #[test]
    fn a_late_outcome_that_is_accepted_is_found() {
        assert_only(&with(1, false, true), &["I12"]);
        assert_only(&with(7, false, true), &["I12"]);
    }

    #[test]
    fn a_repeated_outcome_that_is_refused_is_found() {
        assert_only(&with(2, true, false), &["I12"]);
    }

    #[test]
    fn an_end_after_a_later_grant_is_found() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.fault("worker-pause", "worker-1", 40_000);
        scene.abandon(&run, "a", 31_000);
        scene.lease(&run, "a");
        scene.push(&run, event(EventType::AttemptEnded).step("a").attempt(1).outcome("abandoned"));
        scene.finish(&run, "a");
        scene.succeed(&run);
        assert_only(&scene.evidence(), &["I3", "I12"]);
    }
}
