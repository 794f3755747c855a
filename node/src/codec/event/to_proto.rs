//! Events as messages.

use bytes::Bytes;
use quorus_engine::{EventKind, StepId, Timestamp};
use quorus_proto::log::{self, event::Kind};

use crate::codec::{
    failure_to_proto, info_to_proto,
    lifecycle::{approval_to_proto, attention_cause_to_proto, phase_to_proto, repair_to_proto, slot_conflict_to_proto, uid_to_proto},
    outcome::outcome_to_proto,
    payload_to_proto, principal_to_proto, run_status_to_proto, skip_cause_to_proto, step_status_to_proto, worker_to_proto,
};

/// What happened, as a message.
pub(super) fn kind(kind: &EventKind) -> Kind {
    match kind {
        EventKind::RunStarted(info) => Kind::RunStarted(log::RunStarted { run: Some(info_to_proto(info)) }),
        EventKind::StepQueued { step, input, queue, priority, schedule_deadline, step_deadline } => Kind::StepQueued(log::StepQueued {
            step: text(step),
            input: input.as_ref().map(payload_to_proto),
            queue: queue.clone(),
            priority: (*priority).into(),
            schedule_deadline_ms: millis(schedule_deadline),
            step_deadline_ms: millis(step_deadline),
        }),
        EventKind::StepLeased { step, attempt, token, worker, queue, priority, lease, input, step_deadline, attempt_deadline } => {
            Kind::StepLeased(log::StepLeased {
                step: text(step),
                attempt: *attempt,
                token: token.0,
                worker: Some(worker_to_proto(worker)),
                queue: queue.clone(),
                priority: (*priority).into(),
                lease_ms: lease.0,
                input: input.as_ref().map(payload_to_proto),
                step_deadline_ms: millis(step_deadline),
                attempt_deadline_ms: millis(attempt_deadline),
            })
        }
        EventKind::StepCheckpointed { step, attempt, checkpoint } => Kind::StepCheckpointed(log::StepCheckpointed {
            step: text(step),
            attempt: *attempt,
            checkpoint: Some(payload_to_proto(checkpoint)),
        }),
        EventKind::AttemptEnded { step, attempt, outcome, retry_at } => Kind::AttemptEnded(log::AttemptEnded {
            step: text(step),
            attempt: *attempt,
            outcome: Some(outcome_to_proto(outcome)),
            retry_at_ms: millis(retry_at),
        }),
        EventKind::StepWaiting { step, until, step_deadline } => {
            Kind::StepWaiting(log::StepWaiting { step: text(step), until_ms: until.0, step_deadline_ms: millis(step_deadline) })
        }
        EventKind::StepCancelRequested { step, deadline, reason } => {
            Kind::StepCancelRequested(log::StepCancelRequested { step: text(step), deadline_ms: deadline.0, reason: reason.clone() })
        }
        EventKind::StepEnded { step, status, output, failure, skip, handled, undo } => Kind::StepEnded(log::StepEnded {
            step: text(step),
            status: step_status_to_proto(*status).into(),
            output: output.as_ref().map(payload_to_proto),
            failure: failure.as_ref().map(failure_to_proto),
            skip: skip_cause_to_proto(*skip).into(),
            handled: *handled,
            undo: *undo,
        }),
        EventKind::RunFailing { failure } => Kind::RunFailing(log::RunFailing { failure: Some(failure_to_proto(failure)) }),
        EventKind::RunCancelRequested { principal, reason, compensate } => Kind::RunCancelRequested(log::RunCancelRequested {
            principal: Some(principal_to_proto(principal)),
            reason: reason.clone(),
            compensate: *compensate,
        }),
        EventKind::RunEnded { status, output, failure, principal, reason } => Kind::RunEnded(log::RunEnded {
            status: run_status_to_proto(*status).into(),
            output: output.as_ref().map(payload_to_proto),
            failure: failure.as_ref().map(failure_to_proto),
            principal: principal.as_ref().map(principal_to_proto),
            reason: reason.clone(),
        }),
        EventKind::ScopeStarted { step, attempt, input, total, step_deadline } => Kind::ScopeStarted(log::ScopeStarted {
            step: text(step),
            attempt: *attempt,
            input: input.as_ref().map(payload_to_proto),
            total: *total,
            step_deadline_ms: millis(step_deadline),
        }),
        EventKind::PhaseChanged { scope, phase, failure, deadline } => Kind::PhaseChanged(log::PhaseChanged {
            scope: optional_text(scope),
            phase: phase_to_proto(*phase).into(),
            failure: failure.as_ref().map(failure_to_proto),
            deadline_ms: millis(deadline),
        }),
        EventKind::ScopeRetried { step, failure, retry_at } => {
            Kind::ScopeRetried(log::ScopeRetried { step: text(step), failure: Some(failure_to_proto(failure)), retry_at_ms: retry_at.0 })
        }
        EventKind::StepReopened { step, generation, epoch } => {
            Kind::StepReopened(log::StepReopened { step: text(step), generation: *generation, epoch: *epoch })
        }
        EventKind::ScopeReopened { step } => Kind::ScopeReopened(log::ScopeReopened { step: text(step) }),
        EventKind::StepAwaiting { step, step_deadline } => {
            Kind::StepAwaiting(log::StepAwaiting { step: text(step), step_deadline_ms: millis(step_deadline) })
        }
        EventKind::SignalReceived { name, id, payload, principal } => Kind::SignalReceived(log::SignalReceived {
            name: name.clone(),
            id: id.clone(),
            payload: payload.as_ref().map(payload_to_proto),
            principal: Some(principal_to_proto(principal)),
        }),
        EventKind::SignalConsumed { signal, step } => {
            Kind::SignalConsumed(log::SignalConsumed { name: signal.name.to_string(), seq: signal.seq, step: text(step) })
        }
        EventKind::ApprovalRecorded { step, approval } => {
            Kind::ApprovalRecorded(log::ApprovalRecorded { step: text(step), approval: Some(approval_to_proto(approval)) })
        }
        EventKind::ChildRequested { step, attempt, child, run_id, workflow, version, input, step_deadline } => {
            Kind::ChildRequested(log::ChildRequested {
                step: text(step),
                attempt: *attempt,
                child_uid: uid_to_proto(*child),
                run_id: run_id.clone(),
                workflow: workflow.clone(),
                version: *version,
                input: input.as_ref().map(payload_to_proto),
                step_deadline_ms: millis(step_deadline),
            })
        }
        EventKind::ChildStarted { step } => Kind::ChildStarted(log::ChildStarted { step: text(step) }),
        EventKind::ChildCancelRequested { step, reason } => {
            Kind::ChildCancelRequested(log::ChildCancelRequested { step: text(step), reason: reason.clone() })
        }
        EventKind::ChildCompensationRequested { step, child, run_id } => {
            Kind::ChildCompensationRequested(log::ChildCompensationRequested {
                step: text(step),
                child_uid: uid_to_proto(*child),
                run_id: run_id.clone(),
            })
        }
        EventKind::ChildEnded { step, status, failure } => Kind::ChildEnded(log::ChildEnded {
            step: text(step),
            status: run_status_to_proto(*status).into(),
            failure: failure.as_ref().map(failure_to_proto),
        }),
        EventKind::ParentNotified => Kind::ParentNotified(log::ParentNotified {}),
        EventKind::SlotRequested { key, limit, on_conflict, deadline } => Kind::SlotRequested(log::SlotRequested {
            key: key.clone(),
            limit: *limit,
            on_conflict: slot_conflict_to_proto(*on_conflict).into(),
            deadline_ms: millis(deadline),
        }),
        EventKind::SlotGranted => Kind::SlotGranted(log::SlotGranted {}),
        EventKind::SlotReleased => Kind::SlotReleased(log::SlotReleased {}),
        EventKind::RunPaused { principal, reason } => {
            Kind::RunPaused(log::RunPaused { principal: Some(principal_to_proto(principal)), reason: reason.clone() })
        }
        EventKind::RunResumed { principal, reason } => {
            Kind::RunResumed(log::RunResumed { principal: Some(principal_to_proto(principal)), reason: reason.clone() })
        }
        EventKind::NoReturnBound { step } => Kind::NoReturnBound(log::NoReturnBound { step: text(step) }),
        EventKind::NoReturnLifted { step } => Kind::NoReturnLifted(log::NoReturnLifted { step: text(step) }),
        EventKind::AttentionRequested { cause, step, failure } => Kind::AttentionRequested(log::AttentionRequested {
            cause: attention_cause_to_proto(*cause).into(),
            step: optional_text(step),
            failure: failure.as_ref().map(failure_to_proto),
        }),
        EventKind::Repaired { repair, step, principal, reason, overrides } => Kind::Repaired(log::Repaired {
            repair: repair_to_proto(*repair).into(),
            step: optional_text(step),
            principal: Some(principal_to_proto(principal)),
            reason: reason.clone(),
            overrides: *overrides,
        }),
        EventKind::RunReopened { phase, deadline, notify } => Kind::RunReopened(log::RunReopened {
            phase: phase_to_proto(*phase).into(),
            deadline_ms: millis(deadline),
            notify: optional_text(notify),
        }),
        EventKind::RunMigrated { version, digest, steps_total } => {
            Kind::RunMigrated(log::RunMigrated { version: *version, digest: Bytes::copy_from_slice(digest), steps_total: *steps_total })
        }
        EventKind::RunAnnotated { principal, text } => {
            Kind::RunAnnotated(log::RunAnnotated { principal: Some(principal_to_proto(principal)), text: text.clone() })
        }
        EventKind::PoolChanged { step, pool } => Kind::PoolChanged(log::PoolChanged { step: text(step), pool: *pool }),
    }
}

fn text(step: &StepId) -> String {
    step.as_str().to_owned()
}

fn optional_text(step: &Option<StepId>) -> String {
    step.as_ref().map(text).unwrap_or_default()
}

fn millis(time: &Option<Timestamp>) -> Option<i64> {
    time.map(|time| time.0)
}
