//! Where a step stands.

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Lease, Millis, RecordedOutcome, StepState, Timestamp, Token};
use quorus_proto::log;

use super::{
    CodecError, decode, failure_from_proto, failure_to_proto,
    lifecycle::{approval_from_proto, approval_to_proto, child_from_proto, child_to_proto, scope_from_proto, scope_to_proto},
    outcome_kind_from_proto, outcome_kind_to_proto, payload_from_proto, payload_to_proto, skip_cause_from_proto, skip_cause_to_proto,
    step_status_from_proto, step_status_to_proto, worker_from_proto, worker_to_proto,
};

/// The step as it is stored.
pub fn encode_step(step: &StepState) -> Bytes {
    log::StepState {
        status: step_status_to_proto(step.status).into(),
        generation: step.generation,
        attempt: step.attempt,
        failures: step.failures,
        preemptions: step.preemptions,
        in_doubt: step.in_doubt,
        ready_at_ms: step.ready_at.map(|time| time.0),
        started_at_ms: step.started_at.map(|time| time.0),
        ended_at_ms: step.ended_at.map(|time| time.0),
        queue: step.queue.clone(),
        priority: step.priority.into(),
        input: step.input.as_ref().map(payload_to_proto),
        lease: step.lease.as_ref().map(lease_to_proto),
        worker: step.worker.as_ref().map(worker_to_proto),
        checkpoint: step.checkpoint.as_ref().map(payload_to_proto),
        due_ms: step.due.map(|time| time.0),
        step_deadline_ms: step.step_deadline.map(|time| time.0),
        schedule_deadline_ms: step.schedule_deadline.map(|time| time.0),
        cancel_deadline_ms: step.cancel_deadline.map(|time| time.0),
        output: step.output.as_ref().map(payload_to_proto),
        failure: step.failure.as_ref().map(failure_to_proto),
        skip: skip_cause_to_proto(step.skip).into(),
        checkpoint_attempt: step.checkpoint_attempt,
        outcomes: step.outcomes.iter().map(recorded_outcome_to_proto).collect(),
        handled: step.handled,
        epoch: step.epoch,
        end_seq: step.end_seq,
        scope: step.scope.as_ref().map(scope_to_proto),
        child: step.child.as_deref().map(child_to_proto),
        approvals: step.approvals.iter().map(approval_to_proto).collect(),
        no_return: step.no_return,
        pool: step.pool,
        pool_preemptions: step.pool_preemptions,
    }
    .encode_to_vec()
    .into()
}

/// The stored step.
pub fn decode_step(bytes: Bytes) -> Result<StepState, CodecError> {
    let proto: log::StepState = decode("step", bytes)?;
    Ok(StepState {
        status: step_status_from_proto(proto.status)?,
        generation: proto.generation,
        attempt: proto.attempt,
        failures: proto.failures,
        preemptions: proto.preemptions,
        in_doubt: proto.in_doubt,
        ready_at: proto.ready_at_ms.map(Timestamp),
        started_at: proto.started_at_ms.map(Timestamp),
        ended_at: proto.ended_at_ms.map(Timestamp),
        queue: proto.queue,
        priority: priority_from_proto(proto.priority)?,
        input: proto.input.map(payload_from_proto),
        lease: proto.lease.map(lease_from_proto),
        worker: proto.worker.map(worker_from_proto),
        checkpoint: proto.checkpoint.map(payload_from_proto),
        due: proto.due_ms.map(Timestamp),
        step_deadline: proto.step_deadline_ms.map(Timestamp),
        schedule_deadline: proto.schedule_deadline_ms.map(Timestamp),
        cancel_deadline: proto.cancel_deadline_ms.map(Timestamp),
        output: proto.output.map(payload_from_proto),
        failure: proto.failure.map(failure_from_proto),
        skip: skip_cause_from_proto(proto.skip)?,
        checkpoint_attempt: proto.checkpoint_attempt,
        outcomes: proto.outcomes.into_iter().map(recorded_outcome_from_proto).collect::<Result<_, _>>()?,
        handled: proto.handled,
        epoch: proto.epoch,
        end_seq: proto.end_seq,
        scope: proto.scope.map(scope_from_proto).transpose()?,
        child: proto.child.map(child_from_proto).transpose()?.map(Box::new),
        approvals: proto.approvals.into_iter().map(approval_from_proto).collect::<Result<_, _>>()?,
        no_return: proto.no_return,
        pool: proto.pool,
        pool_preemptions: proto.pool_preemptions,
    })
}

/// A priority fits one byte; what does not was not written by us.
pub(super) fn priority_from_proto(value: u32) -> Result<u8, CodecError> {
    u8::try_from(value).map_err(|_| CodecError::UnknownValue { what: "priority", value: i32::try_from(value).unwrap_or(i32::MAX) })
}

fn lease_to_proto(lease: &Lease) -> log::Lease {
    log::Lease {
        token: lease.token.0,
        leased_at_ms: lease.leased_at.0,
        duration_ms: lease.duration.0,
        attempt_deadline_ms: lease.attempt_deadline.map(|time| time.0),
    }
}

fn lease_from_proto(proto: log::Lease) -> Lease {
    Lease {
        token: Token(proto.token),
        leased_at: Timestamp(proto.leased_at_ms),
        duration: Millis(proto.duration_ms),
        attempt_deadline: proto.attempt_deadline_ms.map(Timestamp),
    }
}

fn recorded_outcome_to_proto(outcome: &RecordedOutcome) -> log::RecordedOutcome {
    log::RecordedOutcome { attempt: outcome.attempt, token: outcome.token.0, kind: outcome_kind_to_proto(outcome.kind).into() }
}

fn recorded_outcome_from_proto(proto: log::RecordedOutcome) -> Result<RecordedOutcome, CodecError> {
    Ok(RecordedOutcome { attempt: proto.attempt, token: Token(proto.token), kind: outcome_kind_from_proto(proto.kind)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::arbitrary;

    proptest! {
        #[test]
        fn step_survives_the_state(step in arbitrary::step_state()) {
            prop_assert_eq!(decode_step(encode_step(&step)).unwrap(), step);
        }
    }

    #[test]
    fn a_status_from_the_future_is_an_error() {
        let bytes = log::StepState { status: 77, ..Default::default() }.encode_to_vec();
        assert_eq!(decode_step(bytes.into()), Err(CodecError::UnknownValue { what: "step status", value: 77 }));
    }
}
