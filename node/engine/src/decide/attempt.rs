//! The table of outcomes: what follows from the end of an attempt.
//!
//! | outcome | retried by policy |
//! |---|---|
//! | succeeded | - |
//! | failed, timed out (attempt, heartbeat) | yes, unless not retryable |
//! | abandoned | leased again at once; counts as a preemption |
//! | released | leased again, with back-off unless the checkpoint advanced; counts as a preemption |
//! | cancelled | no |
//!
//! Whether it leaves the step in doubt is decided where it is recorded, in fold. While the run is being stopped nothing is tried again.

use super::schedule::FirstTime;
use super::{Decider, backoff, reserved};
use crate::{EventKind, Failure, Millis, Outcome, Payload, PlannedStep, PlannedTask, RetryPolicy, StepState, StepStatus, failure_type};

/// Preemptions that a step may see in all.
const PREEMPTIONS_MAX: u32 = 10;

/// What to do with the step after its attempt.
enum Next {
    Succeed(Option<Payload>),
    Fail(Failure),
    Cancel(Option<Failure>),
    Retry(Millis),
}

impl Decider<'_, '_, '_> {
    /// Records the end of the live attempt, and what follows.
    pub(super) fn end_attempt(&mut self, step: &PlannedStep, state: &StepState, outcome: Outcome) {
        let Some(task) = step.kind.task() else { return };
        let next = self.next(step, task, state, &outcome);
        let retry_at = match &next {
            Next::Retry(delay) if delay.0 > 0 => Some(self.context.now.plus(*delay)),
            Next::Retry(_) | Next::Succeed(_) | Next::Fail(_) | Next::Cancel(_) => None,
        };
        self.push(EventKind::AttemptEnded { step: step.id.clone(), attempt: state.attempt, outcome, retry_at });
        match next {
            Next::Succeed(output) => self.succeed(step, output),
            Next::Fail(failure) => self.fail_step(&step.id, failure),
            Next::Cancel(failure) => self.end_step(&step.id, StepStatus::Cancelled, failure),
            Next::Retry(_) if retry_at.is_some() => {}
            Next::Retry(_) => self.schedule(step, task, FirstTime::default()),
        }
    }

    fn next(&self, step: &PlannedStep, task: &PlannedTask, state: &StepState, outcome: &Outcome) -> Next {
        let stopping = !self.draft.is_running();
        match outcome {
            // Also when it was asked to stop: what happened is the truth.
            Outcome::Succeeded(output) => Next::Succeed(output.clone()),
            Outcome::Failed(failure) | Outcome::TimedOut(failure) => {
                let failures = state.failures + 1;
                let retry = is_retryable(&task.retry, failure) && failures < task.retry.max_attempts;
                match (retry, stopping) {
                    (true, true) => Next::Cancel(Some(failure.clone())),
                    (true, false) => Next::Retry(self.delay(step, &task.retry, state, failures)),
                    (false, _) => Next::Fail(failure.clone()),
                }
            }
            Outcome::Abandoned(_) | Outcome::Released(_) if stopping => Next::Cancel(None),
            Outcome::Abandoned(_) => self.preempted(state).map_or(Next::Retry(Millis(0)), Next::Fail),
            Outcome::Released(checkpoint) => match self.preempted(state) {
                Some(failure) => Next::Fail(failure),
                None if has_advanced(state, checkpoint.as_ref()) => Next::Retry(Millis(0)),
                None => Next::Retry(self.delay(step, &task.retry, state, state.preemptions + 1)),
            },
            Outcome::Cancelled { .. } if stopping => Next::Cancel(None),
            Outcome::Cancelled { nothing_done } => {
                let failure = reserved(failure_type::CANCELLED, "the worker stopped without being asked to");
                Next::Fail(Failure { non_retryable: true, nothing_done: *nothing_done, ..failure })
            }
        }
    }

    /// The failure of a step that was preempted once too often.
    fn preempted(&self, state: &StepState) -> Option<Failure> {
        (state.preemptions >= PREEMPTIONS_MAX).then(|| {
            let message = format!("workers were lost or gave the task back more than {PREEMPTIONS_MAX} times");
            Failure { non_retryable: true, ..reserved(failure_type::PREEMPTION_LIMIT, message) }
        })
    }

    fn delay(&self, step: &PlannedStep, policy: &RetryPolicy, state: &StepState, failed: u32) -> Millis {
        backoff::delay(policy, failed, self.context.seed, (step.index as u64) << 32 | u64::from(state.attempt))
    }
}

fn is_retryable(policy: &RetryPolicy, failure: &Failure) -> bool {
    !failure.non_retryable && !policy.non_retryable.contains(&failure.kind)
}

/// True if the attempt got further than where it began.
fn has_advanced(state: &StepState, checkpoint: Option<&Payload>) -> bool {
    state.checkpoint_attempt == state.attempt || checkpoint.is_some_and(|checkpoint| state.checkpoint.as_ref() != Some(checkpoint))
}
