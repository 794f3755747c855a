//! What events do to the entry of a container, an item or a child, and to an entry that begins anew.

use crate::{ChildState, Failure, Phase, RunStatus, ScopeState, StepState, StepStatus, Timestamp};

pub(super) fn started(state: &mut StepState, time: Timestamp, attempt: u32, total: u32) {
    running(state, time, attempt);
    state.scope = Some(ScopeState { phase: Phase::Forward, total, failure: None });
}

/// The step's own timer gives way to the ends of what is being stopped.
pub(super) fn phase_changed(state: &mut StepState, phase: Phase, failure: &Option<Failure>) {
    let scope = state.scope.get_or_insert_default();
    scope.phase = phase;
    if failure.is_some() {
        scope.failure.clone_from(failure);
    }
    if phase != Phase::Forward {
        state.step_deadline = None;
    }
}

/// A new generation of what is inside; the step itself has no outcome yet, and goes on counting.
pub(super) fn retried(state: &mut StepState, failure: &Failure, retry_at: Timestamp) {
    state.generation += 1;
    state.failures += 1;
    state.status = StepStatus::BackingOff;
    state.due = Some(retry_at);
    state.failure = Some(failure.clone());
    state.input = None;
    state.scope = None;
    state.child = None;
}

/// What late reports are compared with stays.
pub(super) fn step_reopened(state: &mut StepState, generation: u32, epoch: u32) {
    let before = std::mem::take(state);
    *state =
        StepState { generation, epoch, attempt: before.attempt, worker: before.worker, outcomes: before.outcomes, ..StepState::default() };
}

pub(super) fn reopened(state: &mut StepState) {
    state.status = StepStatus::Running;
    state.ended_at = None;
    state.output = None;
    state.failure = None;
    state.handled = false;
    state.skip = None;
    state.end_seq = 0;
    let scope = state.scope.get_or_insert_default();
    scope.phase = Phase::Forward;
    scope.failure = None;
}

pub(super) fn child_requested(state: &mut StepState, time: Timestamp, attempt: u32, child: ChildState) {
    running(state, time, attempt);
    state.child = Some(Box::new(child));
}

pub(super) fn child_ended(state: &mut StepState, status: RunStatus, failure: &Option<Failure>) {
    with_child(state, |child| child.ended = Some(status));
    if failure.is_some() {
        state.failure.clone_from(failure);
    }
    // Nobody undid what a child did that was stopped at once.
    state.in_doubt |= status == RunStatus::Terminated;
}

pub(super) fn with_child(state: &mut StepState, change: impl FnOnce(&mut ChildState)) {
    if let Some(child) = &mut state.child {
        change(child);
    }
}

fn running(state: &mut StepState, time: Timestamp, attempt: u32) {
    state.status = StepStatus::Running;
    state.lease = None;
    state.due = None;
    state.attempt = attempt;
    if state.started_at.is_none() {
        state.started_at = Some(time);
    }
}
