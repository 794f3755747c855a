//! Events of messages.

use quorus_engine::{EventKind, Millis, Principal, SignalKey, StepId, Timestamp, Token};
use quorus_proto::{log::event::Kind, v1};

use crate::codec::{
    CodecError, digest_from_proto, failure_from_proto, info_from_proto,
    lifecycle::{
        approval_from_proto, attention_cause_from_proto, phase_from_proto, repair_from_proto, slot_conflict_from_proto, uid_from_proto,
    },
    outcome::outcome_from_proto,
    payload_from_proto, principal_from_proto, run_status_from_proto, skip_cause_from_proto,
    step::priority_from_proto,
    step_status_from_proto, worker_from_proto,
};

/// What happened, of a message.
pub(super) fn kind(kind: Kind) -> Result<EventKind, CodecError> {
    Ok(match kind {
        Kind::RunStarted(event) => {
            let info = event.run.ok_or(CodecError::Missing { what: "event RunStarted", field: "run" })?;
            EventKind::RunStarted(Box::new(info_from_proto(info)?))
        }
        Kind::StepQueued(event) => EventKind::StepQueued {
            step: step(event.step),
            input: event.input.map(payload_from_proto),
            queue: event.queue,
            priority: priority_from_proto(event.priority)?,
            schedule_deadline: event.schedule_deadline_ms.map(Timestamp),
            step_deadline: event.step_deadline_ms.map(Timestamp),
        },
        Kind::StepLeased(event) => EventKind::StepLeased {
            step: step(event.step),
            attempt: event.attempt,
            token: Token(event.token),
            worker: event.worker.map(worker_from_proto).unwrap_or_default(),
            queue: event.queue,
            priority: priority_from_proto(event.priority)?,
            lease: Millis(event.lease_ms),
            input: event.input.map(payload_from_proto),
            step_deadline: event.step_deadline_ms.map(Timestamp),
            attempt_deadline: event.attempt_deadline_ms.map(Timestamp),
        },
        Kind::StepCheckpointed(event) => EventKind::StepCheckpointed {
            step: step(event.step),
            attempt: event.attempt,
            checkpoint: event.checkpoint.map(payload_from_proto).unwrap_or_default(),
        },
        Kind::AttemptEnded(event) => EventKind::AttemptEnded {
            step: step(event.step),
            attempt: event.attempt,
            outcome: outcome_from_proto(event.outcome.ok_or(CodecError::Missing { what: "event AttemptEnded", field: "outcome" })?)?,
            retry_at: event.retry_at_ms.map(Timestamp),
        },
        Kind::StepWaiting(event) => EventKind::StepWaiting {
            step: step(event.step),
            until: Timestamp(event.until_ms),
            step_deadline: event.step_deadline_ms.map(Timestamp),
        },
        Kind::StepCancelRequested(event) => {
            EventKind::StepCancelRequested { step: step(event.step), deadline: Timestamp(event.deadline_ms), reason: event.reason }
        }
        Kind::StepEnded(event) => EventKind::StepEnded {
            step: step(event.step),
            status: step_status_from_proto(event.status)?,
            output: event.output.map(payload_from_proto),
            failure: event.failure.map(failure_from_proto),
            skip: skip_cause_from_proto(event.skip)?,
            handled: event.handled,
            undo: event.undo,
        },
        Kind::RunFailing(event) => EventKind::RunFailing { failure: event.failure.map(failure_from_proto).unwrap_or_default() },
        Kind::RunCancelRequested(event) => {
            EventKind::RunCancelRequested { principal: principal(event.principal), reason: event.reason, compensate: event.compensate }
        }
        Kind::RunEnded(event) => EventKind::RunEnded {
            status: run_status_from_proto(event.status)?,
            output: event.output.map(payload_from_proto),
            failure: event.failure.map(failure_from_proto),
            principal: event.principal.map(principal_from_proto),
            reason: event.reason,
        },
        Kind::ScopeStarted(event) => EventKind::ScopeStarted {
            step: step(event.step),
            attempt: event.attempt,
            input: event.input.map(payload_from_proto),
            total: event.total,
            step_deadline: event.step_deadline_ms.map(Timestamp),
        },
        Kind::PhaseChanged(event) => EventKind::PhaseChanged {
            scope: optional_step(event.scope),
            phase: phase_from_proto(event.phase)?,
            failure: event.failure.map(failure_from_proto),
            deadline: event.deadline_ms.map(Timestamp),
        },
        Kind::ScopeRetried(event) => EventKind::ScopeRetried {
            step: step(event.step),
            failure: event.failure.map(failure_from_proto).unwrap_or_default(),
            retry_at: Timestamp(event.retry_at_ms),
        },
        Kind::StepReopened(event) => EventKind::StepReopened { step: step(event.step), generation: event.generation, epoch: event.epoch },
        Kind::ScopeReopened(event) => EventKind::ScopeReopened { step: step(event.step) },
        Kind::StepAwaiting(event) => {
            EventKind::StepAwaiting { step: step(event.step), step_deadline: event.step_deadline_ms.map(Timestamp) }
        }
        Kind::SignalReceived(event) => EventKind::SignalReceived {
            name: event.name,
            id: event.id,
            payload: event.payload.map(payload_from_proto),
            principal: principal(event.principal),
        },
        Kind::SignalConsumed(event) => {
            EventKind::SignalConsumed { signal: SignalKey { name: event.name.into(), seq: event.seq }, step: step(event.step) }
        }
        Kind::ApprovalRecorded(event) => EventKind::ApprovalRecorded {
            step: step(event.step),
            approval: approval_from_proto(
                event.approval.ok_or(CodecError::Missing { what: "event ApprovalRecorded", field: "approval" })?,
            )?,
        },
        Kind::ChildRequested(event) => EventKind::ChildRequested {
            step: step(event.step),
            attempt: event.attempt,
            child: uid_from_proto(&event.child_uid)?,
            run_id: event.run_id,
            workflow: event.workflow,
            version: event.version,
            input: event.input.map(payload_from_proto),
            step_deadline: event.step_deadline_ms.map(Timestamp),
        },
        Kind::ChildStarted(event) => EventKind::ChildStarted { step: step(event.step) },
        Kind::ChildCancelRequested(event) => EventKind::ChildCancelRequested { step: step(event.step), reason: event.reason },
        Kind::ChildCompensationRequested(event) => {
            EventKind::ChildCompensationRequested { step: step(event.step), child: uid_from_proto(&event.child_uid)?, run_id: event.run_id }
        }
        Kind::ChildEnded(event) => EventKind::ChildEnded {
            step: step(event.step),
            status: run_status_from_proto(event.status)?,
            failure: event.failure.map(failure_from_proto),
        },
        Kind::ParentNotified(_) => EventKind::ParentNotified,
        Kind::SlotRequested(event) => EventKind::SlotRequested {
            key: event.key,
            limit: event.limit,
            on_conflict: slot_conflict_from_proto(event.on_conflict)?,
            deadline: event.deadline_ms.map(Timestamp),
        },
        Kind::SlotGranted(_) => EventKind::SlotGranted,
        Kind::SlotReleased(_) => EventKind::SlotReleased,
        Kind::RunPaused(event) => EventKind::RunPaused { principal: principal(event.principal), reason: event.reason },
        Kind::RunResumed(event) => EventKind::RunResumed { principal: principal(event.principal), reason: event.reason },
        Kind::NoReturnBound(event) => EventKind::NoReturnBound { step: step(event.step) },
        Kind::NoReturnLifted(event) => EventKind::NoReturnLifted { step: step(event.step) },
        Kind::AttentionRequested(event) => EventKind::AttentionRequested {
            cause: attention_cause_from_proto(event.cause)?,
            step: optional_step(event.step),
            failure: event.failure.map(failure_from_proto),
        },
        Kind::Repaired(event) => EventKind::Repaired {
            repair: repair_from_proto(event.repair)?,
            step: optional_step(event.step),
            principal: principal(event.principal),
            reason: event.reason,
            overrides: event.overrides,
        },
        Kind::RunReopened(event) => EventKind::RunReopened {
            phase: phase_from_proto(event.phase)?,
            deadline: event.deadline_ms.map(Timestamp),
            notify: optional_step(event.notify),
        },
        Kind::RunMigrated(event) => {
            EventKind::RunMigrated { version: event.version, digest: digest_from_proto(&event.digest)?, steps_total: event.steps_total }
        }
        Kind::RunAnnotated(event) => EventKind::RunAnnotated { principal: principal(event.principal), text: event.text },
        Kind::PoolChanged(event) => EventKind::PoolChanged { step: step(event.step), pool: event.pool },
    })
}

fn step(text: String) -> StepId {
    StepId(text.into())
}

/// Empty means none: no step has an empty path.
fn optional_step(text: String) -> Option<StepId> {
    (!text.is_empty()).then(|| step(text))
}

fn principal(principal: Option<v1::Principal>) -> Principal {
    principal.map(principal_from_proto).unwrap_or_default()
}
