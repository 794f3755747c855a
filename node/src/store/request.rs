//! Requests that started or changed runs, so that a repeated one gets the same run and changes nothing.
//!
//! `[group]'Q'[namespace 0][run id 0][request id]` -> `log.RequestEntry`, and the same by age for the purge:
//! `[group]'q'[time][namespace 0][run id 0][request id]` -> nothing. Written by each start, kept for 7 days of recorded time (also when the run is
//! gone or its id reused), then purged a few at a time by later requests: no clock is read, so every replica purges the same.
//!
//! The request id of a start is as the client gave it; that of a change has its method in front, see [`id_of_change`].

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Millis, RunUid, Timestamp};
use quorus_proto::log;
use quorus_raft::GroupId;

use super::{
    StoreError, id,
    key::{Family, KeyReader, KeyWriter},
    reader::Reader,
};
use crate::codec;

/// How long a request is remembered: what the API promises.
pub const REQUEST_KEPT: Millis = Millis(7 * 24 * 60 * 60 * 1000);

/// Begins the ids of changes: no request id of a start may begin with it.
pub const CHANGE_MARK: char = '\u{1}';

/// The request id of a change as it is remembered: the same id may be used for requests of different methods.
pub fn id_of_change(method: &str, request_id: &str) -> String {
    format!("{CHANGE_MARK}{method}{CHANGE_MARK}{request_id}")
}

/// A request that started or changed a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The run that it started or changed.
    pub uid: RunUid,
    /// When.
    pub time: Timestamp,
}

pub(crate) fn key(group: GroupId, namespace: &str, run_id: &str, request_id: &str) -> Bytes {
    KeyWriter::new(group, Family::Request, namespace.len() + run_id.len() + request_id.len() + 2)
        .text(namespace)
        .text(run_id)
        .last(request_id.as_bytes())
        .finish()
}

pub(crate) fn age_key(group: GroupId, time: Timestamp, namespace: &str, run_id: &str, request_id: &str) -> Bytes {
    KeyWriter::new(group, Family::RequestAge, 8 + namespace.len() + run_id.len() + request_id.len() + 2)
        .time(time)
        .text(namespace)
        .text(run_id)
        .last(request_id.as_bytes())
        .finish()
}

/// All age keys, oldest first.
pub(crate) fn age_range(group: GroupId) -> (Bytes, Bytes) {
    KeyWriter::new(group, Family::RequestAge, 0).range()
}

/// The time in an age key, and the key of the entry that it belongs to.
pub(crate) fn parse_age_key(group: GroupId, age_key: &[u8]) -> Result<(Timestamp, Bytes), StoreError> {
    let mut reader = KeyReader::new(age_key)?;
    let time = reader.time()?;
    let namespace = reader.text()?;
    let run_id = reader.text()?;
    Ok((time, key(group, &namespace, &run_id, reader.last_text()?)))
}

pub(crate) fn encode(request: Request) -> Bytes {
    log::RequestEntry { run_uid: id::encode(request.uid), time_ms: request.time.0 }.encode_to_vec().into()
}

pub(crate) fn decode(bytes: Bytes) -> Result<Request, StoreError> {
    let proto: log::RequestEntry = codec::decode("request", bytes)?;
    Ok(Request { uid: id::decode(&proto.run_uid)?, time: Timestamp(proto.time_ms) })
}

pub(crate) fn get(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    namespace: &str,
    run_id: &str,
    request_id: &str,
) -> Result<Option<Request>, StoreError> {
    reader.read(&key(group, namespace, run_id, request_id))?.map(decode).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_key_leads_to_its_entry() {
        let age = age_key(3, Timestamp(-5), "team", "run", "req");
        assert_eq!(parse_age_key(3, &age).unwrap(), (Timestamp(-5), key(3, "team", "run", "req")));
    }

    #[test]
    fn older_requests_come_first() {
        assert!(age_key(3, Timestamp(1), "z", "z", "z") < age_key(3, Timestamp(2), "a", "a", "a"));
    }

    #[test]
    fn request_comes_back() {
        let request = Request { uid: RunUid(77), time: Timestamp(5) };
        assert_eq!(decode(encode(request)).unwrap(), request);
    }
}
