//! What events do to a step's entry. `status`, `lease` and `due` are set together, so that the invariants of [`StepState`] hold.

use crate::{
    Failure, Lease, Millis, Outcome, Payload, Phase, RecordedOutcome, SkipCause, StepState, StepStatus, Timestamp, Token, WorkerId,
    failure_type,
};

/// The first event of a generation brings what was fixed when the step became ready.
pub(super) fn ready(state: &mut StepState, time: Timestamp, input: &Option<Payload>, step_deadline: Option<Timestamp>) {
    if state.ready_at.is_none() {
        state.ready_at = Some(time);
    }
    if input.is_some() {
        state.input.clone_from(input);
    }
    if step_deadline.is_some() {
        state.step_deadline = step_deadline;
    }
}

pub(super) fn queued(
    state: &mut StepState,
    time: Timestamp,
    input: &Option<Payload>,
    queue: &str,
    priority: u8,
    schedule_deadline: Option<Timestamp>,
    step_deadline: Option<Timestamp>,
) {
    ready(state, time, input, step_deadline);
    state.status = StepStatus::Queued;
    state.lease = None;
    state.due = None;
    queue.clone_into(&mut state.queue);
    state.priority = priority;
    state.schedule_deadline = schedule_deadline;
}

pub(super) fn leased(
    state: &mut StepState,
    time: Timestamp,
    attempt: u32,
    token: Token,
    worker: &WorkerId,
    duration: Millis,
    attempt_deadline: Option<Timestamp>,
) {
    state.status = StepStatus::Leased;
    state.attempt = attempt;
    state.lease = Some(Lease { token, leased_at: time, duration, attempt_deadline });
    state.worker = Some(worker.clone());
    state.due = None;
    state.schedule_deadline = None;
    state.cancel_deadline = None;
    if state.started_at.is_none() {
        state.started_at = Some(time);
    }
}

pub(super) fn waiting(state: &mut StepState, until: Timestamp) {
    state.status = StepStatus::Waiting;
    state.lease = None;
    state.due = Some(until);
}

/// The lease stays until the attempt ended; the step's own timer gives way to the end of the grace period.
pub(super) fn cancel_requested(state: &mut StepState, deadline: Timestamp) {
    state.cancel_deadline = Some(deadline);
    state.step_deadline = None;
}

pub(super) fn attempt_ended(state: &mut StepState, attempt: u32, outcome: &Outcome, retry_at: Option<Timestamp>) {
    let token = state.lease.take().map(|lease| lease.token).unwrap_or_default();
    if state.outcomes.len() == RecordedOutcome::KEPT_MAX {
        state.outcomes.remove(0);
    }
    state.outcomes.push(RecordedOutcome { attempt, token, kind: outcome.kind() });
    state.cancel_deadline = None;
    state.due = retry_at;
    state.status = if retry_at.is_some() { StepStatus::BackingOff } else { StepStatus::Pending };
    match outcome {
        Outcome::Succeeded(_) => {}
        Outcome::Failed(failure) => {
            state.failures += 1;
            state.in_doubt |= !failure.nothing_done;
            state.failure = Some(failure.clone());
        }
        Outcome::TimedOut(failure) => {
            state.failures += 1;
            state.in_doubt = true;
            state.failure = Some(failure.clone());
        }
        Outcome::Abandoned(reason) => {
            state.preemptions += 1;
            state.in_doubt = true;
            state.failure = Some(Failure { kind: failure_type::ABANDONED.to_owned(), message: reason.clone(), ..Failure::default() });
        }
        Outcome::Released(checkpoint) => {
            state.preemptions += 1;
            if checkpoint.is_some() {
                state.checkpoint.clone_from(checkpoint);
                state.checkpoint_attempt = attempt;
            }
        }
        Outcome::Cancelled { nothing_done } => state.in_doubt |= !nothing_done,
    }
}

pub(super) fn ended(
    state: &mut StepState,
    time: Timestamp,
    status: StepStatus,
    output: &Option<Payload>,
    failure: &Option<Failure>,
    skip: Option<SkipCause>,
) {
    state.status = status;
    state.ended_at = Some(time);
    state.output.clone_from(output);
    state.failure.clone_from(failure);
    state.skip = skip;
    if status == StepStatus::Succeeded {
        state.in_doubt = false;
    }
    // Nothing wakes a step that has ended, and nobody needs what its attempts worked with.
    state.lease = None;
    state.due = None;
    state.step_deadline = None;
    state.schedule_deadline = None;
    state.cancel_deadline = None;
    state.input = None;
    state.checkpoint = None;
    state.checkpoint_attempt = 0;
    // A scope that is ended while it undoes itself does so no more.
    if let Some(scope) = state.scope.as_mut().filter(|scope| scope.phase == Phase::Compensating) {
        scope.phase = Phase::Stopping;
    }
}

/// What stays of a step that something may have to undo.
pub(super) struct Kept {
    input: Option<Payload>,
    checkpoint: Option<Payload>,
    checkpoint_attempt: u32,
    end_seq: u64,
}

impl Kept {
    pub(super) fn of(state: &mut StepState, end_seq: u64) -> Self {
        Self { input: state.input.take(), checkpoint: state.checkpoint.take(), checkpoint_attempt: state.checkpoint_attempt, end_seq }
    }

    pub(super) fn restore(self, state: &mut StepState) {
        state.input = self.input;
        state.checkpoint = self.checkpoint;
        state.checkpoint_attempt = self.checkpoint_attempt;
        state.end_seq = self.end_seq;
    }
}
