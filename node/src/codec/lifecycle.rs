//! What the state says about a run's life beyond its steps' attempts: phases, approvals, children, slots, signals.

use bytes::Bytes;
use prost::Message;
use quorus_engine::{
    Approval, Attention, AttentionCause, ChildState, Compensation, Migrated, OnConflict, Parent, Phase, Repair, RunUid, ScopeState,
    SignalState, SlotState, StepId, Timestamp,
};
use quorus_proto::log;

use super::{
    CodecError, decode, digest_from_proto, failure_from_proto, failure_to_proto, payload_from_proto, payload_to_proto,
    principal_from_proto, principal_to_proto, run_status_from_proto, run_status_to_proto,
};

pub(super) fn uid_to_proto(uid: RunUid) -> Bytes {
    Bytes::copy_from_slice(&uid.to_bytes())
}

pub(super) fn uid_from_proto(bytes: &[u8]) -> Result<RunUid, CodecError> {
    RunUid::from_bytes(bytes).ok_or(CodecError::Length { what: "run uid", expected: 16, actual: bytes.len() })
}

pub(super) fn phase_to_proto(phase: Phase) -> log::Phase {
    match phase {
        Phase::Forward => log::Phase::Unspecified,
        Phase::Closing => log::Phase::Closing,
        Phase::Stopping => log::Phase::Stopping,
        Phase::Observing => log::Phase::Observing,
        Phase::Compensating => log::Phase::Compensating,
        Phase::Compensated => log::Phase::Compensated,
        Phase::Finally => log::Phase::Finally,
        Phase::Rewinding => log::Phase::Rewinding,
    }
}

pub(super) fn phase_from_proto(value: i32) -> Result<Phase, CodecError> {
    Ok(match log::Phase::try_from(value).map_err(|_| CodecError::UnknownValue { what: "phase", value })? {
        log::Phase::Unspecified => Phase::Forward,
        log::Phase::Closing => Phase::Closing,
        log::Phase::Stopping => Phase::Stopping,
        log::Phase::Observing => Phase::Observing,
        log::Phase::Compensating => Phase::Compensating,
        log::Phase::Compensated => Phase::Compensated,
        log::Phase::Finally => Phase::Finally,
        log::Phase::Rewinding => Phase::Rewinding,
    })
}

pub(super) fn repair_to_proto(repair: Repair) -> log::Repair {
    match repair {
        Repair::Retry => log::Repair::Retry,
        Repair::RestartFrom => log::Repair::RestartFrom,
        Repair::Skip => log::Repair::Skip,
        Repair::Compensate => log::Repair::Compensate,
        Repair::Migrate => log::Repair::Migrate,
    }
}

pub(super) fn repair_from_proto(value: i32) -> Result<Repair, CodecError> {
    match log::Repair::try_from(value) {
        Ok(log::Repair::Retry) => Ok(Repair::Retry),
        Ok(log::Repair::RestartFrom) => Ok(Repair::RestartFrom),
        Ok(log::Repair::Skip) => Ok(Repair::Skip),
        Ok(log::Repair::Compensate) => Ok(Repair::Compensate),
        Ok(log::Repair::Migrate) => Ok(Repair::Migrate),
        Ok(log::Repair::Unspecified) | Err(_) => Err(CodecError::UnknownValue { what: "repair", value }),
    }
}

pub(super) fn compensation_to_proto(compensation: Compensation) -> log::Compensation {
    match compensation {
        Compensation::None => log::Compensation::Unspecified,
        Compensation::Running => log::Compensation::Running,
        Compensation::Completed => log::Compensation::Completed,
    }
}

pub(super) fn compensation_from_proto(value: i32) -> Result<Compensation, CodecError> {
    match log::Compensation::try_from(value) {
        Ok(log::Compensation::Unspecified) => Ok(Compensation::None),
        Ok(log::Compensation::Running) => Ok(Compensation::Running),
        Ok(log::Compensation::Completed) => Ok(Compensation::Completed),
        Err(_) => Err(CodecError::UnknownValue { what: "compensation", value }),
    }
}

pub(super) fn attention_cause_to_proto(cause: AttentionCause) -> log::AttentionCause {
    match cause {
        AttentionCause::Hold => log::AttentionCause::Hold,
        AttentionCause::NoReturn => log::AttentionCause::NoReturn,
        AttentionCause::CompensationFailed => log::AttentionCause::CompensationFailed,
        AttentionCause::CompensationTimeout => log::AttentionCause::CompensationTimeout,
    }
}

pub(super) fn attention_cause_from_proto(value: i32) -> Result<AttentionCause, CodecError> {
    match log::AttentionCause::try_from(value) {
        Ok(log::AttentionCause::Hold) => Ok(AttentionCause::Hold),
        Ok(log::AttentionCause::NoReturn) => Ok(AttentionCause::NoReturn),
        Ok(log::AttentionCause::CompensationFailed) => Ok(AttentionCause::CompensationFailed),
        Ok(log::AttentionCause::CompensationTimeout) => Ok(AttentionCause::CompensationTimeout),
        Ok(log::AttentionCause::Unspecified) | Err(_) => Err(CodecError::UnknownValue { what: "attention cause", value }),
    }
}

pub(super) fn attention_to_proto(attention: &Attention) -> log::Attention {
    log::Attention {
        cause: attention_cause_to_proto(attention.cause).into(),
        step: attention.step.as_ref().map(StepId::to_string).unwrap_or_default(),
        failure: attention.failure.as_ref().map(failure_to_proto),
        since_ms: attention.since.0,
    }
}

pub(super) fn attention_from_proto(proto: log::Attention) -> Result<Attention, CodecError> {
    Ok(Attention {
        cause: attention_cause_from_proto(proto.cause)?,
        step: optional_step(&proto.step),
        failure: proto.failure.map(failure_from_proto),
        since: Timestamp(proto.since_ms),
    })
}

pub(super) fn slot_conflict_to_proto(on_conflict: OnConflict) -> log::SlotConflict {
    match on_conflict {
        OnConflict::Queue => log::SlotConflict::Queue,
        OnConflict::Reject => log::SlotConflict::Reject,
        OnConflict::Replace => log::SlotConflict::Replace,
    }
}

pub(super) fn slot_conflict_from_proto(value: i32) -> Result<OnConflict, CodecError> {
    match log::SlotConflict::try_from(value) {
        Ok(log::SlotConflict::Queue) => Ok(OnConflict::Queue),
        Ok(log::SlotConflict::Reject) => Ok(OnConflict::Reject),
        Ok(log::SlotConflict::Replace) => Ok(OnConflict::Replace),
        Ok(log::SlotConflict::Unspecified) | Err(_) => Err(CodecError::UnknownValue { what: "slot conflict", value }),
    }
}

pub(super) fn slot_to_proto(slot: &SlotState) -> log::SlotState {
    log::SlotState {
        key: slot.key.clone(),
        limit: slot.limit,
        on_conflict: slot_conflict_to_proto(slot.on_conflict).into(),
        deadline_ms: slot.deadline.map(|time| time.0),
        granted: slot.granted,
        released: slot.released,
    }
}

pub(super) fn slot_from_proto(proto: log::SlotState) -> Result<SlotState, CodecError> {
    Ok(SlotState {
        key: proto.key,
        limit: proto.limit,
        on_conflict: slot_conflict_from_proto(proto.on_conflict)?,
        deadline: proto.deadline_ms.map(Timestamp),
        granted: proto.granted,
        released: proto.released,
    })
}

pub(super) fn parent_to_proto(parent: &Parent) -> log::Parent {
    log::Parent {
        namespace: parent.namespace.clone(),
        run_id: parent.run_id.clone(),
        uid: uid_to_proto(parent.uid),
        step: parent.step.clone(),
    }
}

pub(super) fn parent_from_proto(proto: log::Parent) -> Result<Parent, CodecError> {
    Ok(Parent { namespace: proto.namespace, run_id: proto.run_id, uid: uid_from_proto(&proto.uid)?, step: proto.step })
}

pub(super) fn migrated_to_proto(migrated: &Migrated) -> log::Migrated {
    log::Migrated { version: migrated.version, digest: Bytes::copy_from_slice(&migrated.digest), steps_total: migrated.steps_total }
}

pub(super) fn migrated_from_proto(proto: &log::Migrated) -> Result<Migrated, CodecError> {
    Ok(Migrated { version: proto.version, digest: digest_from_proto(&proto.digest)?, steps_total: proto.steps_total })
}

pub(super) fn approval_to_proto(approval: &Approval) -> log::Approval {
    log::Approval {
        principal: Some(principal_to_proto(&approval.principal)),
        approve: approval.approve,
        reason: approval.reason.clone(),
        time_ms: approval.time.0,
        digest: Bytes::copy_from_slice(&approval.digest),
    }
}

pub(super) fn approval_from_proto(proto: log::Approval) -> Result<Approval, CodecError> {
    Ok(Approval {
        principal: proto.principal.map(principal_from_proto).unwrap_or_default(),
        approve: proto.approve,
        reason: proto.reason,
        time: Timestamp(proto.time_ms),
        digest: digest_from_proto(&proto.digest)?,
    })
}

pub(super) fn scope_to_proto(scope: &ScopeState) -> log::ScopeState {
    log::ScopeState { phase: phase_to_proto(scope.phase).into(), total: scope.total, failure: scope.failure.as_ref().map(failure_to_proto) }
}

pub(super) fn scope_from_proto(proto: log::ScopeState) -> Result<ScopeState, CodecError> {
    Ok(ScopeState { phase: phase_from_proto(proto.phase)?, total: proto.total, failure: proto.failure.map(failure_from_proto) })
}

pub(super) fn child_to_proto(child: &ChildState) -> log::ChildState {
    log::ChildState {
        uid: uid_to_proto(child.uid),
        run_id: child.run_id.clone(),
        workflow: child.workflow.clone(),
        version: child.version,
        started: child.started,
        cancel: child.cancel.clone(),
        ended: child.ended.map(|status| run_status_to_proto(status).into()),
        compensates: child.compensates,
    }
}

pub(super) fn child_from_proto(proto: log::ChildState) -> Result<ChildState, CodecError> {
    Ok(ChildState {
        uid: uid_from_proto(&proto.uid)?,
        run_id: proto.run_id,
        workflow: proto.workflow,
        version: proto.version,
        started: proto.started,
        cancel: proto.cancel,
        ended: proto.ended.map(run_status_from_proto).transpose()?,
        compensates: proto.compensates,
    })
}

/// The signal as it is stored.
pub fn encode_signal(signal: &SignalState) -> Bytes {
    log::SignalState {
        id: signal.id.clone(),
        payload: signal.payload.as_ref().map(payload_to_proto),
        principal: Some(principal_to_proto(&signal.principal)),
        received_at_ms: signal.received_at.0,
        consumed_by: signal.consumed_by.as_ref().map(StepId::to_string).unwrap_or_default(),
    }
    .encode_to_vec()
    .into()
}

/// The stored signal.
pub fn decode_signal(bytes: Bytes) -> Result<SignalState, CodecError> {
    let proto: log::SignalState = decode("signal", bytes)?;
    Ok(SignalState {
        id: proto.id,
        payload: proto.payload.map(payload_from_proto),
        principal: proto.principal.map(principal_from_proto).unwrap_or_default(),
        received_at: Timestamp(proto.received_at_ms),
        consumed_by: optional_step(&proto.consumed_by),
    })
}

/// Empty means none: no step has an empty path.
pub(super) fn optional_step(text: &str) -> Option<StepId> {
    (!text.is_empty()).then(|| StepId::from(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::arbitrary;

    proptest! {
        #[test]
        fn signal_survives_the_state(signal in arbitrary::signal_state()) {
            prop_assert_eq!(decode_signal(encode_signal(&signal)).unwrap(), signal);
        }
    }

    #[test]
    fn values_from_the_future_are_errors() {
        assert_eq!(phase_from_proto(99), Err(CodecError::UnknownValue { what: "phase", value: 99 }));
        assert_eq!(attention_cause_from_proto(0), Err(CodecError::UnknownValue { what: "attention cause", value: 0 }));
        assert_eq!(repair_from_proto(0), Err(CodecError::UnknownValue { what: "repair", value: 0 }));
        assert_eq!(slot_conflict_from_proto(9), Err(CodecError::UnknownValue { what: "slot conflict", value: 9 }));
    }
}
