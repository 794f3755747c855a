//! What never changes about a run.
//!
//! Invariant: the stored info has no input; the input has a key of its own (`store::payload`), so that lists and timers don't read up to 2 MiB
//! to learn a run's name.

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Millis, RunInfo, Timestamp};
use quorus_proto::log;

use super::{
    CodecError, decode, digest_from_proto,
    lifecycle::{parent_from_proto, parent_to_proto, uid_from_proto, uid_to_proto},
    payload_from_proto, payload_to_proto, principal_from_proto, principal_to_proto,
};

/// The info as the first event carries it, with its input.
pub fn info_to_proto(info: &RunInfo) -> log::RunInfo {
    log::RunInfo { input: Some(payload_to_proto(&info.input)), ..without_input(info) }
}

/// The info as it is stored beside the run's head.
pub fn encode_info_without_input(info: &RunInfo) -> Bytes {
    without_input(info).encode_to_vec().into()
}

/// The stored info; its input is empty.
pub fn decode_info(bytes: Bytes) -> Result<RunInfo, CodecError> {
    info_from_proto(decode("run info", bytes)?)
}

/// The info of a message.
pub fn info_from_proto(proto: log::RunInfo) -> Result<RunInfo, CodecError> {
    Ok(RunInfo {
        namespace: proto.namespace,
        run_id: proto.run_id,
        uid: uid_from_proto(&proto.uid)?,
        workflow: proto.workflow,
        version: proto.version,
        digest: digest_from_proto(&proto.digest)?,
        input: proto.input.map(payload_from_proto).unwrap_or_default(),
        labels: proto.labels,
        principal: proto.principal.map(principal_from_proto).unwrap_or_default(),
        request_id: proto.request_id,
        traceparent: proto.traceparent,
        tracestate: proto.tracestate,
        steps_total: proto.steps_total,
        deadline: proto.deadline_ms.map(Timestamp),
        retention: proto.retention_ms.map(Millis),
        parent: proto.parent.map(parent_from_proto).transpose()?,
        root_principal: proto.root_principal.map(principal_from_proto),
        pinned: proto.pinned,
    })
}

fn without_input(info: &RunInfo) -> log::RunInfo {
    log::RunInfo {
        namespace: info.namespace.clone(),
        run_id: info.run_id.clone(),
        uid: uid_to_proto(info.uid),
        workflow: info.workflow.clone(),
        version: info.version,
        digest: Bytes::copy_from_slice(&info.digest),
        input: None,
        labels: info.labels.clone(),
        principal: Some(principal_to_proto(&info.principal)),
        request_id: info.request_id.clone(),
        traceparent: info.traceparent.clone(),
        tracestate: info.tracestate.clone(),
        steps_total: info.steps_total,
        deadline_ms: info.deadline.map(|time| time.0),
        retention_ms: info.retention.map(|retention| retention.0),
        parent: info.parent.as_ref().map(parent_to_proto),
        root_principal: info.root_principal.as_ref().map(principal_to_proto),
        pinned: info.pinned.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::arbitrary;

    proptest! {
        #[test]
        fn info_survives_the_log_and_the_state(info in arbitrary::run_info()) {
            let logged = info_to_proto(&info).encode_to_vec();
            prop_assert_eq!(&decode_info(logged.into()).unwrap(), &info);
            let stored = decode_info(encode_info_without_input(&info)).unwrap();
            prop_assert_eq!(RunInfo { input: info.input.clone(), ..stored }, info);
        }
    }

    #[test]
    fn a_uid_of_the_wrong_length_is_named() {
        let proto = log::RunInfo { uid: Bytes::from_static(b"short"), ..Default::default() };
        assert_eq!(info_from_proto(proto), Err(CodecError::Length { what: "run uid", expected: 16, actual: 5 }));
    }
}
