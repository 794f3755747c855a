//! What the engine and the store know, as clients read it.

use prost_types::Timestamp as WireTime;
use quorus_engine::{Compensation, Failure, Payload, Principal, RunHead, RunInfo, RunStatus, SkipCause, StepStatus, Timestamp};
use quorus_proto::{peer, v1};

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
        retry_after_ms: failure.retry_after.map_or(0, |after| after.0),
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
        RunStatus::Queued => v1::RunStatus::Queued,
        RunStatus::Compensating => v1::RunStatus::Compensating,
        RunStatus::NeedsAttention => v1::RunStatus::NeedsAttention,
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
        StepStatus::Running => v1::StepStatus::Running,
        StepStatus::Awaiting => v1::StepStatus::Awaiting,
    }
}

/// Why a step was skipped.
pub(crate) fn skip_cause(cause: SkipCause) -> &'static str {
    match cause {
        SkipCause::If => "if",
        SkipCause::Upstream | SkipCause::UpstreamFailure => "upstream",
        SkipCause::RunOn => "run_on",
        SkipCause::Operator => "operator",
    }
}

/// A run without its steps, input and output.
#[allow(clippy::needless_update, reason = "what only other answers fill stays empty, also what is added later")]
pub(crate) fn run_summary(shard: u32, info: &RunInfo, head: &RunHead) -> v1::Run {
    let (version, steps_total) =
        head.migrated.as_ref().map_or((info.version, info.steps_total), |migrated| (migrated.version, migrated.steps_total));
    v1::Run {
        namespace: info.namespace.clone(),
        run_id: info.run_id.clone(),
        run_uid: info.uid.to_string(),
        workflow: info.workflow.clone(),
        workflow_version: version,
        status: run_status(head.status).into(),
        started_at: Some(time(head.started_at)),
        ended_at: head.ended_at.map(time),
        input: None,
        output: None,
        failure: head.failure.as_ref().map(failure),
        labels: info.labels.clone(),
        started_by: Some(principal(&info.principal)),
        sequence: head.seq,
        steps_total,
        steps_ended: head.steps_ended,
        steps: Vec::new(),
        shard,
        traceparent: info.traceparent.clone(),
        paused: head.paused_by.is_some(),
        parent: info.parent.as_ref().map(|parent| v1::RunParent {
            namespace: parent.namespace.clone(),
            run_id: parent.run_id.clone(),
            run_uid: parent.uid.to_string(),
            step: parent.step.clone(),
        }),
        compensation: compensation(head).into(),
        undone: Vec::new(),
        stopped_by: head.cancelled_by.as_ref().map(decision),
        paused_by: head.paused_by.as_ref().map(decision),
        unread_signals: head.signals_unread,
        ..v1::Run::default()
    }
}

/// How far the undoing of a run is.
fn compensation(head: &RunHead) -> v1::CompensationState {
    match head.compensation {
        Compensation::None => v1::CompensationState::Unspecified,
        Compensation::Running if head.status.is_final() => v1::CompensationState::Incomplete,
        Compensation::Running => v1::CompensationState::Running,
        Compensation::Completed => v1::CompensationState::Completed,
    }
}

/// Who decided, and why.
fn decision((who, reason): &(Principal, String)) -> v1::Decision {
    v1::Decision { principal: Some(principal(who)), reason: reason.clone(), ..v1::Decision::default() }
}

/// How a run ended.
pub(crate) fn child_end(head: &RunHead) -> peer::ChildEnd {
    peer::ChildEnd {
        status: run_status(head.status).into(),
        output: head.output.as_ref().map(payload),
        failure: head.failure.as_ref().map(failure),
    }
}
