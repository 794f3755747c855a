//! The small, changing part of a run.
//!
//! Invariant: the stored head says only whether there is an output; the output has a key of its own (`store::payload`), since it is written once
//! and the head with every decision.

use bytes::Bytes;
use prost::Message;
use quorus_engine::{RunHead, Timestamp};
use quorus_proto::log;

use super::{
    CodecError, decode, failure_from_proto, failure_to_proto, principal_from_proto, principal_to_proto, run_status_from_proto,
    run_status_to_proto,
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
