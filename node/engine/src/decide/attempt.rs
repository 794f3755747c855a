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
//! Whether it leaves the step in doubt is decided where it is recorded, in fold. What was asked to stop is not tried again.

use quorus_mutants::{Mutant, active};

use super::schedule::FirstTime;
use super::{Decider, End, backoff, reserved};
use crate::run::{Instance, States};
use crate::{EventKind, Failure, Millis, Outcome, Payload, PlannedTask, RetryPolicy, StepState, StepStatus, failure_type};

/// Preemptions that a step may see in all, unless it has pools.
const PREEMPTIONS_MAX: u32 = 10;

/// What to do with the step after its attempt.
enum Next {
    Succeed(Option<Payload>),
    Fail(Failure),
    Cancel(Option<Failure>),
    Retry(Millis),
    /// In the next pool, at once.
    Move,
}

impl<'d> Decider<'_, 'd, '_> {
    /// Records the end of the live attempt, and what follows.
    pub(super) fn end_attempt(&mut self, instance: &Instance<'d>, state: &StepState, outcome: Outcome) {
        let Some(task) = instance.step.kind.task() else { return };
        let next = self.next(instance, task, state, &outcome);
        let retry_at = match &next {
            Next::Retry(delay) if delay.0 > 0 => Some(self.context.now.plus(*delay)),
            Next::Retry(_) | Next::Succeed(_) | Next::Fail(_) | Next::Cancel(_) | Next::Move => None,
        };
        let lifts = reports_nothing_done(&outcome);
        self.push(EventKind::AttemptEnded { step: instance.id.clone(), attempt: state.attempt, outcome, retry_at });
        let after = self.draft.current(instance);
        if lifts && after.is_some_and(|after| after.no_return && !after.in_doubt && after.preemptions == 0) {
            self.push(EventKind::NoReturnLifted { step: instance.id.clone() });
        }
        match next {
            Next::Succeed(output) => self.succeed(instance, output),
            Next::Fail(failure) => self.fail_step(instance, failure),
            Next::Cancel(failure) => self.end(instance, End { failure, ..End::of(StepStatus::Cancelled) }),
            Next::Retry(_) if retry_at.is_some() => {}
            Next::Retry(_) => self.schedule(instance, task, FirstTime::default()),
            Next::Move => {
                self.push(EventKind::PoolChanged { step: instance.id.clone(), pool: state.pool + 1 });
                self.schedule(instance, task, FirstTime::default());
            }
        }
    }

    fn next(&self, instance: &Instance<'d>, task: &PlannedTask, state: &StepState, outcome: &Outcome) -> Next {
        let stopping = state.cancel_deadline.is_some();
        match outcome {
            // Also when it was asked to stop: what happened is the truth.
            Outcome::Succeeded(output) => Next::Succeed(output.clone()),
            Outcome::Failed(failure) | Outcome::TimedOut(failure) => {
                let failures = state.failures + 1;
                let most = task.retry.max_attempts.saturating_add(u32::from(active(Mutant::OneRetryTooMany)));
                let retry = is_retryable(&task.retry, failure) && failures < most;
                match (retry, stopping) {
                    (true, true) => Next::Cancel(Some(failure.clone())),
                    (true, false) if active(Mutant::NoBackoff) => Next::Retry(Millis(0)),
                    (true, false) => {
                        let delay = self.delay(instance, &task.retry, state, failures);
                        Next::Retry(failure.retry_after.map_or(delay, |after| delay.max(after)))
                    }
                    (false, _) => Next::Fail(failure.clone()),
                }
            }
            Outcome::Abandoned(_) | Outcome::Released(_) if stopping => Next::Cancel(None),
            Outcome::Abandoned(_) => preempted(task, state).unwrap_or(Next::Retry(Millis(0))),
            Outcome::Released(checkpoint) => match preempted(task, state) {
                Some(next) => next,
                None if has_advanced(state, checkpoint.as_ref()) => Next::Retry(Millis(0)),
                None => Next::Retry(self.delay(instance, &task.retry, state, state.preemptions + 1)),
            },
            Outcome::Cancelled { .. } if stopping => Next::Cancel(None),
            Outcome::Cancelled { nothing_done } => {
                let failure = reserved(failure_type::CANCELLED, "the worker stopped without being asked to");
                Next::Fail(Failure { non_retryable: true, nothing_done: *nothing_done, ..failure })
            }
        }
    }

    fn delay(&self, instance: &Instance<'d>, policy: &RetryPolicy, state: &StepState, failed: u32) -> Millis {
        backoff::delay(policy, failed, self.context.seed, salt(instance, state.attempt))
    }
}

/// What follows from a preemption that is one too many: for the pool, or for the step.
fn preempted(task: &PlannedTask, state: &StepState) -> Option<Next> {
    let pool = task.pools.get(state.pool as usize);
    let (seen, most) = match pool {
        Some(pool) => (state.preemptions.saturating_sub(state.pool_preemptions), pool.max_preemptions),
        None => (state.preemptions, PREEMPTIONS_MAX),
    };
    if seen < most {
        return None;
    }
    if task.pools.len() > state.pool as usize + 1 {
        return Some(Next::Move);
    }
    let message = format!("workers were lost or gave the task back more than {most} times");
    Some(Next::Fail(Failure { non_retryable: true, ..reserved(failure_type::PREEMPTION_LIMIT, message) }))
}

/// Keeps the jitter of steps apart that are decided with the same chance.
pub(super) fn salt(instance: &Instance<'_>, attempt: u32) -> u64 {
    let items =
        instance.id.as_str().bytes().filter(u8::is_ascii_digit).fold(0_u64, |hash, digit| hash.wrapping_mul(31).wrapping_add(digit.into()));
    let items = if instance.id.is_plain() && instance.within().is_none() { 0 } else { items };
    ((instance.step.index as u64) << 32 | u64::from(attempt)) ^ items.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

pub(super) fn is_retryable(policy: &RetryPolicy, failure: &Failure) -> bool {
    !failure.non_retryable && !policy.non_retryable.contains(&failure.kind)
}

fn reports_nothing_done(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed(failure) => failure.nothing_done,
        Outcome::Cancelled { nothing_done } => *nothing_done,
        Outcome::Succeeded(_) | Outcome::TimedOut(_) | Outcome::Abandoned(_) | Outcome::Released(_) => false,
    }
}

/// True if the attempt got further than where it began.
fn has_advanced(state: &StepState, checkpoint: Option<&Payload>) -> bool {
    state.checkpoint_attempt == state.attempt || checkpoint.is_some_and(|checkpoint| state.checkpoint.as_ref() != Some(checkpoint))
}
