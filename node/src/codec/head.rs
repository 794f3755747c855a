//! The small, changing part of a run.
//!
//! Invariant: the stored head says only whether there is an output; the output has a key of its own (`store::payload`), since it is written once
//! and the head with every decision.

use bytes::Bytes;
use prost::Message;
use quorus_engine::{RunHead, StepId, Timestamp};
use quorus_proto::log;

use super::{
    CodecError, decode, failure_from_proto, failure_to_proto,
    lifecycle::{
        attention_from_proto, attention_to_proto, compensation_from_proto, compensation_to_proto, migrated_from_proto, migrated_to_proto,
        optional_step, parent_from_proto, parent_to_proto, phase_from_proto, phase_to_proto, slot_from_proto, slot_to_proto,
    },
    principal_from_proto, principal_to_proto, run_status_from_proto, run_status_to_proto,
};

/// The head as it is stored, without its output. `has_output` is given apart, since a head that was read without its output has it still.
pub fn encode_head(head: &RunHead, has_output: bool) -> Bytes {
    log::RunHead {
        status: run_status_to_proto(head.status).into(),
        seq: head.seq,
        started_at_ms: head.started_at.0,
        deadline_ms: head.deadline.map(|time| time.0),
        ended_at_ms: head.ended_at.map(|time| time.0),
        steps_ended: head.steps_ended,
        failure: head.failure.as_ref().map(failure_to_proto),
        cancelled_by: head
            .cancelled_by
            .as_ref()
            .map(|(principal, reason)| log::Cancellation { principal: Some(principal_to_proto(principal)), reason: reason.clone() }),
        has_output,
        phase: phase_to_proto(head.phase).into(),
        generation: head.generation,
        attentions: head.attentions,
        attention: head.attention.as_ref().map(attention_to_proto),
        paused_by: head
            .paused_by
            .as_ref()
            .map(|(principal, reason)| log::Pause { principal: Some(principal_to_proto(principal)), reason: reason.clone() }),
        cancel_compensates: head.cancel_compensates,
        compensation: compensation_to_proto(head.compensation).into(),
        compensation_deadline_ms: head.compensation_deadline.map(|time| time.0),
        rewinds_to: head.rewinds_to.as_ref().map(StepId::to_string).unwrap_or_default(),
        no_return: head.no_return,
        signals_unread: head.signals_unread,
        slot: head.slot.as_ref().map(slot_to_proto),
        parent: head.parent.as_ref().map(parent_to_proto),
        notify: head.notify.as_ref().map(StepId::to_string).unwrap_or_default(),
        parent_notified: head.parent_notified,
        migrated: head.migrated.as_ref().map(migrated_to_proto),
    }
    .encode_to_vec()
    .into()
}

/// The stored head and whether it has an output; the caller reads that from its own key if it needs it.
pub fn decode_head(bytes: Bytes) -> Result<(RunHead, bool), CodecError> {
    let proto: log::RunHead = decode("run head", bytes)?;
    let head = RunHead {
        status: run_status_from_proto(proto.status)?,
        seq: proto.seq,
        started_at: Timestamp(proto.started_at_ms),
        deadline: proto.deadline_ms.map(Timestamp),
        ended_at: proto.ended_at_ms.map(Timestamp),
        steps_ended: proto.steps_ended,
        failure: proto.failure.map(failure_from_proto),
        cancelled_by: proto
            .cancelled_by
            .map(|cancellation| (cancellation.principal.map(principal_from_proto).unwrap_or_default(), cancellation.reason)),
        output: None,
        phase: phase_from_proto(proto.phase)?,
        generation: proto.generation,
        attentions: proto.attentions,
        attention: proto.attention.map(attention_from_proto).transpose()?,
        paused_by: proto.paused_by.map(|pause| (pause.principal.map(principal_from_proto).unwrap_or_default(), pause.reason)),
        cancel_compensates: proto.cancel_compensates,
        compensation: compensation_from_proto(proto.compensation)?,
        compensation_deadline: proto.compensation_deadline_ms.map(Timestamp),
        rewinds_to: optional_step(&proto.rewinds_to),
        no_return: proto.no_return,
        signals_unread: proto.signals_unread,
        slot: proto.slot.map(slot_from_proto).transpose()?,
        parent: proto.parent.map(parent_from_proto).transpose()?,
        notify: optional_step(&proto.notify),
        parent_notified: proto.parent_notified,
        migrated: proto.migrated.as_ref().map(migrated_from_proto).transpose()?,
    };
    Ok((head, proto.has_output))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::arbitrary;

    proptest! {
        #[test]
        fn head_survives_the_state_except_for_its_output(head in arbitrary::run_head()) {
            let (decoded, has_output) = decode_head(encode_head(&head, head.output.is_some())).unwrap();
            prop_assert_eq!(has_output, head.output.is_some());
            prop_assert_eq!(decoded, RunHead { output: None, ..head });
        }
    }
}
