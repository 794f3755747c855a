//! Events: encoded once by the leader, stored as they came by every replica.

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Event, EventKind, Millis, StepId, Timestamp, Token};
use quorus_proto::log::{self, event::Kind};

use super::{
    CodecError, decode, failure_from_proto, failure_to_proto, info_from_proto, info_to_proto, outcome::outcome_from_proto,
    outcome::outcome_to_proto, payload_from_proto, payload_to_proto, principal_from_proto, principal_to_proto, run_status_from_proto,
    run_status_to_proto, skip_cause_from_proto, skip_cause_to_proto, step::priority_from_proto, step_status_from_proto,
    step_status_to_proto, worker_from_proto, worker_to_proto,
};

/// The event as the record and the history hold it.
pub fn encode_event(event: &Event) -> Bytes {
    log::Event { time_ms: event.time.0, kind: Some(kind_to_proto(&event.kind)) }.encode_to_vec().into()
}

/// The event of a record or a history. A kind that this version does not know is an error.
pub fn decode_event(bytes: Bytes) -> Result<Event, CodecError> {
    let proto: log::Event = decode("event", bytes)?;
    let kind = proto.kind.ok_or(CodecError::UnknownKind { what: "event" })?;
    Ok(Event { time: Timestamp(proto.time_ms), kind: kind_from_proto(kind)? })
}

fn kind_to_proto(kind: &EventKind) -> Kind {
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
        EventKind::StepEnded { step, status, output, failure, skip } => Kind::StepEnded(log::StepEnded {
            step: text(step),
            status: step_status_to_proto(*status).into(),
            output: output.as_ref().map(payload_to_proto),
            failure: failure.as_ref().map(failure_to_proto),
            skip: skip_cause_to_proto(*skip).into(),
        }),
        EventKind::RunFailing { failure } => Kind::RunFailing(log::RunFailing { failure: Some(failure_to_proto(failure)) }),
        EventKind::RunCancelRequested { principal, reason } => {
            Kind::RunCancelRequested(log::RunCancelRequested { principal: Some(principal_to_proto(principal)), reason: reason.clone() })
        }
        EventKind::RunEnded { status, output, failure, principal, reason } => Kind::RunEnded(log::RunEnded {
            status: run_status_to_proto(*status).into(),
            output: output.as_ref().map(payload_to_proto),
            failure: failure.as_ref().map(failure_to_proto),
            principal: principal.as_ref().map(principal_to_proto),
            reason: reason.clone(),
        }),
    }
}

fn kind_from_proto(kind: Kind) -> Result<EventKind, CodecError> {
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
        },
        Kind::RunFailing(event) => EventKind::RunFailing { failure: event.failure.map(failure_from_proto).unwrap_or_default() },
        Kind::RunCancelRequested(event) => {
            EventKind::RunCancelRequested { principal: event.principal.map(principal_from_proto).unwrap_or_default(), reason: event.reason }
        }
        Kind::RunEnded(event) => EventKind::RunEnded {
            status: run_status_from_proto(event.status)?,
            output: event.output.map(payload_from_proto),
            failure: event.failure.map(failure_from_proto),
            principal: event.principal.map(principal_from_proto),
            reason: event.reason,
        },
    })
}

fn text(step: &StepId) -> String {
    step.as_str().to_owned()
}

fn step(text: String) -> StepId {
    StepId(text.into())
}

fn millis(time: &Option<Timestamp>) -> Option<i64> {
    time.map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::arbitrary;

    proptest! {
        #[test]
        fn every_event_survives_the_log(event in arbitrary::event()) {
            prop_assert_eq!(decode_event(encode_event(&event)).unwrap(), event);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_event(bytes.into());
        }
    }

    #[test]
    fn an_event_kind_from_the_future_is_an_error() {
        // Field 99, length-delimited, empty: a member of the oneof that this version does not know.
        let bytes = Bytes::from_static(&[0x08, 0x01, 0x9a, 0x06, 0x00]);
        let error = decode_event(bytes).unwrap_err();
        assert_eq!(error, CodecError::UnknownKind { what: "event" });
        assert!(error.to_string().contains("newer version"));
    }

    #[test]
    fn payloads_stay_slices_of_the_record() {
        let event = Event {
            time: Timestamp(1),
            kind: EventKind::StepCheckpointed {
                step: "a".into(),
                attempt: 1,
                checkpoint: quorus_engine::Payload { data: vec![7; 4096].into(), encoding: String::new() },
            },
        };
        let bytes = encode_event(&event);
        let range = bytes.as_ptr_range();
        let EventKind::StepCheckpointed { checkpoint, .. } = decode_event(bytes.clone()).unwrap().kind else { panic!("another kind") };
        assert!(range.contains(&checkpoint.data.as_ptr()));
    }
}
