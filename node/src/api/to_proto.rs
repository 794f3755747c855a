//! What the engine and the store know, as clients read it.

use prost_types::Timestamp as WireTime;
use quorus_engine::{
    Event, EventKind, Failure, Outcome, Payload, Principal, RunHead, RunInfo, RunStatus, SkipCause, StepState, StepStatus, Timestamp,
};
use quorus_proto::v1::{self, EventType};

/// A time.
pub(crate) fn time(time: Timestamp) -> WireTime {
    let nanos = i32::try_from(time.0.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    WireTime { seconds: time.0.div_euclid(1000), nanos }
}

/// A payload, without a copy.
pub(crate) fn payload(payload: &Payload) -> v1::Payload {
    v1::Payload { data: payload.data.clone(), encoding: payload.encoding.clone() }
}

/// Who asked.
pub(crate) fn principal(principal: &Principal) -> v1::Principal {
    let Principal { subject, roles, issuer, verified } = principal.clone();
    v1::Principal { subject, roles, issuer, verified }
}

/// Why it failed.
pub(crate) fn failure(failure: &Failure) -> v1::Failure {
    v1::Failure {
        r#type: failure.kind.clone(),
        message: failure.message.clone(),
        details: failure.details.as_ref().map(payload),
        non_retryable: failure.non_retryable,
        nothing_done: failure.nothing_done,
        ..v1::Failure::default()
    }
}

/// Where a run stands.
pub(crate) fn run_status(status: RunStatus) -> v1::RunStatus {
    match status {
        RunStatus::Running => v1::RunStatus::Running,
        RunStatus::Failing => v1::RunStatus::Failing,
        RunStatus::Cancelling => v1::RunStatus::Cancelling,
        RunStatus::Succeeded => v1::RunStatus::Succeeded,
        RunStatus::Failed => v1::RunStatus::Failed,
        RunStatus::Cancelled => v1::RunStatus::Cancelled,
        RunStatus::Terminated => v1::RunStatus::Terminated,
    }
}

/// Where a step stands.
pub(crate) fn step_status(status: StepStatus) -> v1::StepStatus {
    match status {
        StepStatus::Pending => v1::StepStatus::Pending,
        StepStatus::Queued => v1::StepStatus::Queued,
        StepStatus::Leased => v1::StepStatus::Leased,
        StepStatus::Waiting => v1::StepStatus::Waiting,
        StepStatus::BackingOff => v1::StepStatus::BackingOff,
        StepStatus::Succeeded => v1::StepStatus::Succeeded,
        StepStatus::Failed => v1::StepStatus::Failed,
        StepStatus::Skipped => v1::StepStatus::Skipped,
        StepStatus::Cancelled => v1::StepStatus::Cancelled,
    }
}

/// Why a step was skipped.
fn skip_cause(cause: SkipCause) -> &'static str {
    match cause {
        SkipCause::If => "if",
        SkipCause::Upstream => "upstream",
    }
}

/// A run without its steps, input and output.
pub(crate) fn run_summary(shard: u32, info: &RunInfo, head: &RunHead) -> v1::Run {
    v1::Run {
        namespace: info.namespace.clone(),
        run_id: info.run_id.clone(),
        run_uid: info.uid.to_string(),
        workflow: info.workflow.clone(),
        workflow_version: info.version,
        status: run_status(head.status).into(),
        started_at: Some(time(head.started_at)),
        ended_at: head.ended_at.map(time),
        input: None,
        output: None,
        failure: head.failure.as_ref().map(failure),
        labels: info.labels.clone(),
        started_by: Some(principal(&info.principal)),
        sequence: head.seq,
        steps_total: info.steps_total,
        steps_ended: head.steps_ended,
        steps: Vec::new(),
        shard,
        traceparent: info.traceparent.clone(),
        ..v1::Run::default()
    }
}

/// Where a step of a run stands. A step without an entry is pending, or, once its run has ended, was never executed.
pub(crate) fn step(step: &str, kind: &str, run: RunStatus, state: Option<&StepState>) -> v1::StepState {
    let Some(state) = state else {
        let status = if run.is_final() { v1::StepStatus::Cancelled } else { v1::StepStatus::Pending };
        return v1::StepState { step: step.to_owned(), kind: kind.to_owned(), status: status.into(), ..v1::StepState::default() };
    };
    v1::StepState {
        step: step.to_owned(),
        status: step_status(state.status).into(),
        attempt: state.attempt,
        kind: kind.to_owned(),
        ready_at: state.ready_at.map(time),
        started_at: state.started_at.map(time),
        ended_at: state.ended_at.map(time),
        due_at: state.due.map(time),
        worker: state.worker.as_ref().map(|worker| worker.name.clone()).unwrap_or_default(),
        output: state.output.as_ref().map(payload),
        failure: state.failure.as_ref().map(failure),
        skip_cause: state.skip.map(skip_cause).unwrap_or_default().to_owned(),
        checkpoint: state.checkpoint.as_ref().map(payload),
        preemptions: state.preemptions,
        ..v1::StepState::default()
    }
}

/// A recorded fact.
pub(crate) fn event(sequence: u64, event: &Event) -> v1::HistoryEvent {
    let mut wire = v1::HistoryEvent { sequence, time: Some(time(event.time)), ..v1::HistoryEvent::default() };
    let of_step = |wire: &mut v1::HistoryEvent, kind: EventType, step: &quorus_engine::StepId| {
        wire.step = step.to_string();
        wire.r#type = kind.into();
    };
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
        EventKind::StepEnded { step, status, output, failure: cause, skip } => {
            of_step(&mut wire, EventType::StepEnded, step);
            wire.step_status = step_status(*status).into();
            wire.payload = output.as_ref().map(payload);
            wire.failure = cause.as_ref().map(failure);
            wire.outcome = skip.map(skip_cause).unwrap_or_default().to_owned();
        }
        EventKind::RunFailing { failure: cause } => {
            wire.r#type = EventType::RunFailing.into();
            wire.failure = Some(failure(cause));
            wire.run_status = v1::RunStatus::Failing.into();
        }
        EventKind::RunCancelRequested { principal: who, reason } => {
            wire.r#type = EventType::RunCancelRequested.into();
            wire.principal = Some(principal(who));
            wire.reason = reason.clone();
            wire.run_status = v1::RunStatus::Cancelling.into();
        }
        EventKind::RunEnded { status, output, failure: cause, principal: who, reason } => {
            wire.r#type = EventType::RunEnded.into();
            wire.run_status = run_status(*status).into();
            wire.payload = output.as_ref().map(payload);
            wire.failure = cause.as_ref().map(failure);
            wire.principal = who.as_ref().map(principal);
            wire.reason = reason.clone();
        }
    }
    wire
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
