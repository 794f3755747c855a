//! What events do to a run's head.

use crate::{
    Attention, AttentionCause, Compensation, Failure, OnConflict, Payload, Phase, Principal, Repair, RunHead, RunInfo, RunStatus,
    SlotState, StepId, Timestamp,
};

pub(super) fn started(head: &mut RunHead, time: Timestamp, info: &RunInfo) {
    head.status = RunStatus::Running;
    head.started_at = time;
    head.deadline = info.deadline;
    head.parent.clone_from(&info.parent);
}

/// The run's timer is gone: from here on each live attempt has a deadline of its own.
pub(super) fn failing(head: &mut RunHead, failure: &Failure) {
    head.status = RunStatus::Failing;
    head.failure = Some(failure.clone());
    head.deadline = None;
}

pub(super) fn cancel_requested(head: &mut RunHead, principal: &Principal, reason: &str, compensate: bool) {
    head.cancel_compensates = compensate;
    head.status = RunStatus::Cancelling;
    head.cancelled_by = Some((principal.clone(), reason.to_owned()));
    head.deadline = None;
}

pub(super) fn ended(
    head: &mut RunHead,
    time: Timestamp,
    status: RunStatus,
    output: &Option<Payload>,
    failure: &Option<Failure>,
    principal: &Option<Principal>,
    reason: &str,
) {
    head.status = status;
    head.ended_at = Some(time);
    head.deadline = None;
    head.compensation_deadline = None;
    head.attention = None;
    head.output.clone_from(output);
    if failure.is_some() {
        head.failure.clone_from(failure);
    }
    if let Some(principal) = principal {
        head.cancelled_by = Some((principal.clone(), reason.to_owned()));
    }
}

pub(super) fn phase_changed(head: &mut RunHead, phase: Phase, deadline: Option<Timestamp>) {
    head.phase = phase;
    head.compensation_deadline = None;
    match phase {
        Phase::Compensating => {
            head.status = RunStatus::Compensating;
            head.compensation = Compensation::Running;
            head.compensation_deadline = deadline;
        }
        Phase::Compensated => {
            head.status = stopping(head);
            head.compensation = Compensation::Completed;
        }
        Phase::Rewinding => head.status = RunStatus::Compensating,
        // What was rewound begins again; nothing else leads back here.
        Phase::Forward => {
            head.status = RunStatus::Running;
            head.rewinds_to = None;
            head.deadline = deadline;
        }
        // The forward part is over, and its time with it.
        Phase::Finally => head.deadline = None,
        Phase::Closing | Phase::Stopping | Phase::Observing => {}
    }
}

pub(super) fn attention_requested(
    head: &mut RunHead,
    time: Timestamp,
    cause: AttentionCause,
    step: &Option<StepId>,
    failure: &Option<Failure>,
) {
    head.status = RunStatus::NeedsAttention;
    head.attentions += 1;
    head.attention = Some(Attention { cause, step: step.clone(), failure: failure.clone(), since: time });
    head.deadline = None;
    head.compensation_deadline = None;
}

pub(super) fn repaired(head: &mut RunHead, repair: Repair, step: &Option<StepId>) {
    if repair == Repair::RestartFrom {
        head.rewinds_to.clone_from(step);
    }
}

/// What happened before stays in the history; a run that goes forward again has failed no more.
pub(super) fn reopened(head: &mut RunHead, phase: Phase, deadline: Option<Timestamp>, notify: &Option<StepId>) {
    head.phase = phase;
    head.generation += 1;
    head.attention = None;
    head.ended_at = None;
    head.output = None;
    head.parent_notified = false;
    head.notify.clone_from(notify);
    match phase {
        Phase::Compensating => {
            head.status = RunStatus::Compensating;
            head.compensation = Compensation::Running;
            head.compensation_deadline = deadline;
        }
        Phase::Rewinding => {
            head.status = RunStatus::Compensating;
            forgive(head);
        }
        Phase::Compensated | Phase::Finally | Phase::Observing | Phase::Stopping | Phase::Closing => {
            head.status = stopping(head);
        }
        Phase::Forward => {
            head.status = RunStatus::Running;
            head.deadline = deadline;
            head.rewinds_to = None;
            forgive(head);
        }
    }
}

/// How a run stands that is on its way to a bad end.
fn stopping(head: &RunHead) -> RunStatus {
    if head.cancelled_by.is_some() { RunStatus::Cancelling } else { RunStatus::Failing }
}

fn forgive(head: &mut RunHead) {
    head.failure = None;
    head.cancelled_by = None;
    head.compensation = Compensation::None;
}

pub(super) fn slot_requested(head: &mut RunHead, key: &str, limit: u32, on_conflict: OnConflict, deadline: Option<Timestamp>) {
    head.status = RunStatus::Queued;
    head.compensation_deadline = None;
    head.slot = Some(SlotState { key: key.to_owned(), limit, on_conflict, deadline, granted: false, released: false });
}

pub(super) fn slot_granted(head: &mut RunHead) {
    if head.status == RunStatus::Queued {
        head.status = match head.phase {
            Phase::Forward => RunStatus::Running,
            Phase::Compensating | Phase::Rewinding => RunStatus::Compensating,
            Phase::Closing | Phase::Stopping | Phase::Observing | Phase::Compensated | Phase::Finally => stopping(head),
        };
    }
    if let Some(slot) = &mut head.slot {
        slot.granted = true;
        slot.deadline = None;
    }
}

pub(super) fn slot_released(head: &mut RunHead) {
    if let Some(slot) = &mut head.slot {
        slot.released = true;
    }
}
