//! Events: encoded once by the leader, stored as they came by every replica.

mod from_proto;
mod to_proto;

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Event, Timestamp};
use quorus_proto::log;

use super::{CodecError, decode};

/// The event as the record and the history hold it.
pub fn encode_event(event: &Event) -> Bytes {
    log::Event { time_ms: event.time.0, kind: Some(to_proto::kind(&event.kind)) }.encode_to_vec().into()
}

/// The event of a record or a history. A kind that this version does not know is an error.
pub fn decode_event(bytes: Bytes) -> Result<Event, CodecError> {
    let proto: log::Event = decode("event", bytes)?;
    let kind = proto.kind.ok_or(CodecError::UnknownKind { what: "event" })?;
    Ok(Event { time: Timestamp(proto.time_ms), kind: from_proto::kind(kind)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorus_engine::EventKind;

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
