//! What the ends of a step's needs mean for it. That they have ended is counted elsewhere, see `index`.

use quorus_mutants::{Mutant, active};

use crate::{Accept, RunOn, SkipCause, StepState, StepStatus};

/// What a step makes of its needs, all of which have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Go,
    Skip(SkipCause),
}

/// The ends of a step's needs, each with what the step accepts.
pub(crate) fn verdict<'s>(run_on: RunOn, needs: impl Iterator<Item = (Accept, &'s StepState)>) -> Verdict {
    let (mut blocked, mut failed, mut failure_blocks) = (false, false, false);
    for (accept, need) in needs {
        let accepted = is_accepted(accept, need);
        blocked |= !accepted;
        failed |= is_failure(need);
        failure_blocks |= !accepted && (is_failure(need) || need.status == StepStatus::Cancelled);
    }
    match run_on {
        RunOn::Always => Verdict::Go,
        RunOn::Failure if failed => Verdict::Go,
        RunOn::Failure => Verdict::Skip(SkipCause::RunOn),
        RunOn::Success if failure_blocks => Verdict::Skip(SkipCause::UpstreamFailure),
        RunOn::Success if blocked => Verdict::Skip(SkipCause::Upstream),
        RunOn::Success => Verdict::Go,
    }
}

fn is_accepted(accept: Accept, need: &StepState) -> bool {
    match (need.status, need.skip) {
        (status, _) if active(Mutant::JoinTooEarly) && !status.is_final() => true,
        (StepStatus::Succeeded, _) => accept.succeeded,
        (StepStatus::Failed, _) => accept.failed && need.handled,
        (StepStatus::Skipped, Some(SkipCause::If | SkipCause::Operator) | None) => accept.skipped,
        (StepStatus::Skipped, Some(SkipCause::Upstream | SkipCause::UpstreamFailure | SkipCause::RunOn)) => accept.skipped_upstream,
        (
            StepStatus::Pending
            | StepStatus::Queued
            | StepStatus::Leased
            | StepStatus::Waiting
            | StepStatus::BackingOff
            | StepStatus::Running
            | StepStatus::Awaiting
            | StepStatus::Cancelled,
            _,
        ) => false,
    }
}

/// It failed (also when that was handled), timed out, or was blocked by a failure before it.
fn is_failure(need: &StepState) -> bool {
    need.status == StepStatus::Failed || need.skip == Some(SkipCause::UpstreamFailure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: StepStatus, skip: Option<SkipCause>, handled: bool) -> StepState {
        StepState { status, skip, handled, ..StepState::default() }
    }

    #[test]
    fn each_end_of_a_need_means_what_the_language_says() {
        use SkipCause::{If, Operator, RunOn as ByRunOn, Upstream, UpstreamFailure};
        use Verdict::{Go, Skip};
        let only_success = Accept { succeeded: true, failed: false, skipped: false, skipped_upstream: false };
        let everything = Accept { succeeded: true, failed: true, skipped: true, skipped_upstream: true };
        let cases = [
            // The end of the need; the short form, `[succeeded]`, and all; `run_on: failure`.
            (ended(StepStatus::Succeeded, None, false), [Go, Go, Go], Skip(ByRunOn)),
            (ended(StepStatus::Skipped, Some(If), false), [Go, Skip(Upstream), Go], Skip(ByRunOn)),
            (ended(StepStatus::Skipped, Some(Operator), false), [Go, Skip(Upstream), Go], Skip(ByRunOn)),
            (ended(StepStatus::Skipped, Some(ByRunOn), false), [Skip(Upstream), Skip(Upstream), Go], Skip(ByRunOn)),
            (ended(StepStatus::Skipped, Some(Upstream), false), [Skip(Upstream), Skip(Upstream), Go], Skip(ByRunOn)),
            (ended(StepStatus::Skipped, Some(UpstreamFailure), false), [Skip(UpstreamFailure), Skip(UpstreamFailure), Go], Go),
            (ended(StepStatus::Failed, None, true), [Go, Skip(UpstreamFailure), Go], Go),
            (ended(StepStatus::Failed, None, false), [Skip(UpstreamFailure); 3], Go),
            (ended(StepStatus::Cancelled, None, false), [Skip(UpstreamFailure); 3], Skip(ByRunOn)),
        ];
        for (need, expected, on_failure) in cases {
            let of = |run_on, accept| {
                verdict(run_on, [(Accept::default(), &ended(StepStatus::Succeeded, None, false)), (accept, &need)].into_iter())
            };
            assert_eq!([Accept::default(), only_success, everything].map(|accept| of(RunOn::Success, accept)), expected, "{need:?}");
            assert_eq!(of(RunOn::Failure, Accept::default()), on_failure, "{need:?}");
            assert_eq!(of(RunOn::Always, only_success), Go, "{need:?}");
        }
    }
}
