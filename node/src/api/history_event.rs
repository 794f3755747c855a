//! Recorded facts, as clients read them.

use quorus_engine::{AttentionCause, Event, EventKind, Outcome, Repair, StepId};
use quorus_proto::v1::{self, EventType};

use super::{
    steps::phase_name,
    to_proto::{failure, payload, principal, run_status, skip_cause, step_status, time},
};

/// A recorded fact.
pub(crate) fn event(sequence: u64, event: &Event) -> v1::HistoryEvent {
    let mut wire = v1::HistoryEvent { sequence, time: Some(time(event.time)), ..v1::HistoryEvent::default() };
    match &event.kind {
        EventKind::RunStarted(info) => {
            wire.r#type = EventType::RunStarted.into();
            wire.payload = Some(payload(&info.input));
            wire.principal = Some(principal(&info.principal));
            wire.due_at = info.deadline.map(time);
            wire.run_status = v1::RunStatus::Running.into();
        }
        EventKind::StepQueued { step, input, schedule_deadline, .. } => {
            of_step(&mut wire, EventType::StepQueued, step);
            wire.payload = input.as_ref().map(payload);
            wire.due_at = schedule_deadline.map(time);
            wire.step_status = v1::StepStatus::Queued.into();
        }
        EventKind::StepLeased { step, attempt, token, worker, input, attempt_deadline, .. } => {
            of_step(&mut wire, EventType::StepLeased, step);
            wire.attempt = *attempt;
            wire.token = token.0;
            wire.worker = worker.name.clone();
            wire.payload = input.as_ref().map(payload);
            wire.due_at = attempt_deadline.map(time);
            wire.step_status = v1::StepStatus::Leased.into();
        }
        EventKind::StepCheckpointed { step, attempt, checkpoint } => {
            of_step(&mut wire, EventType::StepCheckpointed, step);
            wire.attempt = *attempt;
            wire.payload = Some(payload(checkpoint));
        }
        EventKind::AttemptEnded { step, attempt, outcome, retry_at, .. } => {
            of_step(&mut wire, EventType::AttemptEnded, step);
            wire.attempt = *attempt;
            wire.due_at = retry_at.map(time);
            outcome_into(&mut wire, outcome);
        }
        EventKind::StepWaiting { step, until, .. } => {
            of_step(&mut wire, EventType::StepWaiting, step);
            wire.due_at = Some(time(*until));
            wire.step_status = v1::StepStatus::Waiting.into();
        }
        EventKind::StepCancelRequested { step, deadline, reason } => {
            of_step(&mut wire, EventType::StepCancelRequested, step);
            wire.due_at = Some(time(*deadline));
            wire.reason = reason.clone();
        }
        EventKind::StepEnded { step, status, output, failure: cause, skip, handled, .. } => {
            of_step(&mut wire, EventType::StepEnded, step);
            wire.step_status = step_status(*status).into();
            wire.payload = output.as_ref().map(payload);
            wire.failure = cause.as_ref().map(failure);
            wire.outcome = skip.map(skip_cause).unwrap_or_default().to_owned();
            wire.handled = *handled;
        }
        EventKind::RunFailing { failure: cause } => {
            wire.r#type = EventType::RunFailing.into();
            wire.failure = Some(failure(cause));
            wire.run_status = v1::RunStatus::Failing.into();
        }
        EventKind::RunCancelRequested { principal: who, reason, compensate } => {
            wire.r#type = EventType::RunCancelRequested.into();
            wire.principal = Some(principal(who));
            wire.reason = reason.clone();
            wire.run_status = v1::RunStatus::Cancelling.into();
            wire.no_compensate = !compensate;
        }
        EventKind::RunEnded { status, output, failure: cause, principal: who, reason } => {
            wire.r#type = EventType::RunEnded.into();
            wire.run_status = run_status(*status).into();
            wire.payload = output.as_ref().map(payload);
            wire.failure = cause.as_ref().map(failure);
            wire.principal = who.as_ref().map(principal);
            wire.reason = reason.clone();
        }
        other => later_into(&mut wire, other),
    }
    wire
}

/// The kinds that containers, signals, people, children and repairs lead to.
fn later_into(wire: &mut v1::HistoryEvent, kind: &EventKind) {
    match kind {
        EventKind::ScopeStarted { step, attempt, input, total, .. } => {
            of_step(wire, EventType::ScopeStarted, step);
            wire.attempt = *attempt;
            wire.payload = input.as_ref().map(payload);
            wire.total = *total;
            wire.step_status = v1::StepStatus::Running.into();
        }
        EventKind::PhaseChanged { scope, phase, failure: cause, deadline } => {
            wire.r#type = EventType::PhaseChanged.into();
            wire.step = scope.as_ref().map(StepId::to_string).unwrap_or_default();
            wire.phase = phase_name(*phase).to_owned();
            wire.failure = cause.as_ref().map(failure);
            wire.due_at = deadline.map(time);
        }
        EventKind::ScopeRetried { step, failure: cause, retry_at } => {
            of_step(wire, EventType::ScopeRetried, step);
            wire.failure = Some(failure(cause));
            wire.due_at = Some(time(*retry_at));
            wire.step_status = v1::StepStatus::BackingOff.into();
        }
        EventKind::StepReopened { step, generation, .. } => {
            of_step(wire, EventType::StepReopened, step);
            wire.generation = *generation;
            wire.step_status = v1::StepStatus::Pending.into();
        }
        EventKind::ScopeReopened { step } => {
            of_step(wire, EventType::ScopeReopened, step);
            wire.step_status = v1::StepStatus::Running.into();
        }
        EventKind::StepAwaiting { step, step_deadline } => {
            of_step(wire, EventType::StepAwaiting, step);
            wire.due_at = step_deadline.map(time);
            wire.step_status = v1::StepStatus::Awaiting.into();
        }
        EventKind::SignalReceived { name, id, payload: carried, principal: who } => {
            wire.r#type = EventType::SignalReceived.into();
            wire.signal = name.clone();
            wire.signal_id = id.clone();
            wire.payload = carried.as_ref().map(payload);
            wire.principal = Some(principal(who));
        }
        EventKind::SignalConsumed { signal, step } => {
            of_step(wire, EventType::SignalConsumed, step);
            wire.signal = signal.name.to_string();
        }
        EventKind::ApprovalRecorded { step, approval } => {
            of_step(wire, EventType::ApprovalRecorded, step);
            wire.outcome = if approval.approve { "approved" } else { "rejected" }.to_owned();
            wire.principal = Some(principal(&approval.principal));
            wire.reason = approval.reason.clone();
        }
        EventKind::ChildRequested { .. }
        | EventKind::ChildStarted { .. }
        | EventKind::ChildCancelRequested { .. }
        | EventKind::ChildCompensationRequested { .. }
        | EventKind::ChildEnded { .. } => child_into(wire, kind),
        EventKind::SlotRequested { key, deadline, .. } => {
            wire.r#type = EventType::SlotRequested.into();
            wire.key = key.clone();
            wire.due_at = deadline.map(time);
            wire.run_status = v1::RunStatus::Queued.into();
        }
        EventKind::NoReturnBound { step } => of_step(wire, EventType::NoReturnBound, step),
        EventKind::NoReturnLifted { step } => of_step(wire, EventType::NoReturnLifted, step),
        EventKind::PoolChanged { step, .. } => of_step(wire, EventType::PoolChanged, step),
        other => life_into(wire, other),
    }
}

fn child_into(wire: &mut v1::HistoryEvent, kind: &EventKind) {
    match kind {
        EventKind::ChildRequested { step, attempt, child, run_id, input, step_deadline, .. } => {
            of_step(wire, EventType::ChildRequested, step);
            wire.attempt = *attempt;
            wire.child_run_id = run_id.clone();
            wire.child_run_uid = child.to_string();
            wire.payload = input.as_ref().map(payload);
            wire.due_at = step_deadline.map(time);
            wire.step_status = v1::StepStatus::Running.into();
        }
        EventKind::ChildStarted { step } => of_step(wire, EventType::ChildStarted, step),
        EventKind::ChildCancelRequested { step, reason } => {
            of_step(wire, EventType::ChildCancelRequested, step);
            wire.reason = reason.clone();
        }
        EventKind::ChildCompensationRequested { step, child, run_id } => {
            of_step(wire, EventType::ChildCompensationRequested, step);
            wire.child_run_id = run_id.clone();
            wire.child_run_uid = child.to_string();
            wire.step_status = v1::StepStatus::Running.into();
        }
        EventKind::ChildEnded { step, status, failure: cause } => {
            of_step(wire, EventType::ChildEnded, step);
            wire.run_status = run_status(*status).into();
            wire.failure = cause.as_ref().map(failure);
        }
        // The caller has told the kinds apart.
        _ => {}
    }
}

/// What happens to the run as a whole.
fn life_into(wire: &mut v1::HistoryEvent, kind: &EventKind) {
    match kind {
        EventKind::ParentNotified => wire.r#type = EventType::ParentNotified.into(),
        EventKind::SlotGranted => {
            wire.r#type = EventType::SlotGranted.into();
            wire.run_status = v1::RunStatus::Running.into();
        }
        EventKind::SlotReleased => wire.r#type = EventType::SlotReleased.into(),
        EventKind::RunPaused { principal: who, reason } => {
            wire.r#type = EventType::RunPaused.into();
            wire.principal = Some(principal(who));
            wire.reason = reason.clone();
        }
        EventKind::RunResumed { principal: who, reason } => {
            wire.r#type = EventType::RunResumed.into();
            wire.principal = Some(principal(who));
            wire.reason = reason.clone();
        }
        EventKind::AttentionRequested { cause, step, failure: why } => {
            wire.r#type = EventType::AttentionRequested.into();
            wire.step = step.as_ref().map(StepId::to_string).unwrap_or_default();
            wire.outcome = attention_cause(*cause).to_owned();
            wire.failure = why.as_ref().map(failure);
            wire.run_status = v1::RunStatus::NeedsAttention.into();
        }
        EventKind::Repaired { repair, step, principal: who, reason, overrides } => {
            wire.r#type = EventType::Repaired.into();
            wire.repair = repair_name(*repair).to_owned();
            wire.step = step.as_ref().map(StepId::to_string).unwrap_or_default();
            wire.principal = Some(principal(who));
            wire.reason = reason.clone();
            wire.r#override = *overrides;
        }
        EventKind::RunReopened { phase, deadline, .. } => {
            wire.r#type = EventType::RunReopened.into();
            wire.phase = phase_name(*phase).to_owned();
            wire.due_at = deadline.map(time);
        }
        EventKind::RunMigrated { version, .. } => {
            wire.r#type = EventType::RunMigrated.into();
            wire.workflow_version = *version;
        }
        EventKind::RunAnnotated { principal: who, text } => {
            wire.r#type = EventType::RunAnnotated.into();
            wire.principal = Some(principal(who));
            wire.reason = text.clone();
        }
        // The caller has told the kinds apart.
        _ => {}
    }
}

/// Why a run goes no further by itself.
pub(crate) fn attention_cause(cause: AttentionCause) -> &'static str {
    match cause {
        AttentionCause::Hold => "hold",
        AttentionCause::NoReturn => "point_of_no_return",
        AttentionCause::CompensationFailed => "compensation_failed",
        AttentionCause::CompensationTimeout => "compensation_timeout",
    }
}

fn repair_name(repair: Repair) -> &'static str {
    match repair {
        Repair::Retry => "retry",
        Repair::RestartFrom => "restart",
        Repair::Skip => "skip",
        Repair::Compensate => "compensate",
        Repair::Migrate => "migrate",
    }
}

fn of_step(wire: &mut v1::HistoryEvent, kind: EventType, step: &StepId) {
    wire.step = step.to_string();
    wire.r#type = kind.into();
}

fn outcome_into(wire: &mut v1::HistoryEvent, outcome: &Outcome) {
    let (name, status) = match outcome {
        Outcome::Succeeded(output) => {
            wire.payload = output.as_ref().map(payload);
            ("succeeded", v1::StepStatus::Succeeded)
        }
        Outcome::Failed(cause) => {
            wire.failure = Some(failure(cause));
            ("failed", v1::StepStatus::Failed)
        }
        Outcome::TimedOut(cause) => {
            wire.failure = Some(failure(cause));
            ("timed_out", v1::StepStatus::Failed)
        }
        Outcome::Abandoned(reason) => {
            wire.reason = reason.clone();
            ("abandoned", v1::StepStatus::Failed)
        }
        Outcome::Released(checkpoint) => {
            wire.payload = checkpoint.as_ref().map(payload);
            ("released", v1::StepStatus::Queued)
        }
        Outcome::Cancelled { .. } => ("cancelled", v1::StepStatus::Cancelled),
    };
    wire.outcome = name.to_owned();
    wire.step_status = status.into();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::arbitrary;

    proptest! {
        #[test]
        fn every_event_has_a_type_and_names_its_step(event in arbitrary::event()) {
            let wire = super::event(7, &event);
            prop_assert_ne!(wire.r#type(), EventType::Unspecified);
            prop_assert_eq!(wire.step, event.step().map(StepId::to_string).unwrap_or_default());
            prop_assert_eq!(wire.sequence, 7);
        }
    }
}
