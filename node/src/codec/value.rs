//! Payloads, failures, principals and workers: what the API, the log and the state share.

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Failure, Millis, Payload, Principal, WorkerId};
use quorus_proto::{log, v1};

use super::{CodecError, decode};

/// The payload as a message; its data is shared, not copied.
pub fn payload_to_proto(payload: &Payload) -> v1::Payload {
    v1::Payload { data: payload.data.clone(), encoding: payload.encoding.clone() }
}

/// The payload of a message.
pub fn payload_from_proto(proto: v1::Payload) -> Payload {
    Payload { data: proto.data, encoding: proto.encoding }
}

/// The payload as stored under a key of its own.
pub fn encode_payload(payload: &Payload) -> Bytes {
    payload_to_proto(payload).encode_to_vec().into()
}

/// The payload stored under a key of its own.
pub fn decode_payload(bytes: Bytes) -> Result<Payload, CodecError> {
    Ok(payload_from_proto(decode("payload", bytes)?))
}

/// The failure as a message.
pub fn failure_to_proto(failure: &Failure) -> v1::Failure {
    v1::Failure {
        r#type: failure.kind.clone(),
        message: failure.message.clone(),
        details: failure.details.as_ref().map(payload_to_proto),
        non_retryable: failure.non_retryable,
        nothing_done: failure.nothing_done,
        retry_after_ms: failure.retry_after.map_or(0, |after| after.0),
    }
}

/// The failure of a message.
pub fn failure_from_proto(proto: v1::Failure) -> Failure {
    Failure {
        kind: proto.r#type,
        message: proto.message,
        details: proto.details.map(payload_from_proto),
        non_retryable: proto.non_retryable,
        nothing_done: proto.nothing_done,
        retry_after: (proto.retry_after_ms > 0).then_some(Millis(proto.retry_after_ms)),
    }
}

/// The principal as a message.
pub fn principal_to_proto(principal: &Principal) -> v1::Principal {
    v1::Principal {
        subject: principal.subject.clone(),
        roles: principal.roles.clone(),
        issuer: principal.issuer.clone(),
        verified: principal.verified,
    }
}

/// The principal of a message, as it is: whoever takes one from a client clears `verified` first.
pub fn principal_from_proto(proto: v1::Principal) -> Principal {
    Principal { subject: proto.subject, roles: proto.roles, issuer: proto.issuer, verified: proto.verified }
}

/// The worker as a message.
pub fn worker_to_proto(worker: &WorkerId) -> log::WorkerId {
    log::WorkerId { name: worker.name.clone(), incarnation: worker.incarnation.clone() }
}

/// The worker of a message.
pub fn worker_from_proto(proto: log::WorkerId) -> WorkerId {
    WorkerId { name: proto.name, incarnation: proto.incarnation }
}

/// A SHA-256 of a message.
pub fn digest_from_proto(bytes: &[u8]) -> Result<[u8; 32], CodecError> {
    bytes.try_into().map_err(|_| CodecError::Length { what: "digest", expected: 32, actual: bytes.len() })
}
