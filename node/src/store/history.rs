//! What happened to a run.
//!
//! `[group]'H'[uid][sequence u64]` -> `log.HistoryChunk`: the events of one decision, the bytes of the record, under the sequence of the last of them.
//! Written once, lives as long as the run is kept. Sequences start at 1 and have no gaps.
//!
//! One key per decision instead of one per event, since a step's decision has about three events and keys are what a write costs. Under the last
//! sequence instead of the first, so that a read from the middle of a chunk finds it by going forward.

use std::ops::ControlFlow;

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Event, RunUid};
use quorus_proto::log;
use quorus_raft::GroupId;

use super::{
    StoreError,
    key::{Family, KeyReader, KeyWriter},
    reader::Reader,
};
use crate::codec;

pub(crate) fn key(group: GroupId, uid: RunUid, last_sequence: u64) -> Bytes {
    KeyWriter::new(group, Family::History, 24).uid(uid).number(last_sequence).finish()
}

pub(crate) fn encode(events: Vec<Bytes>) -> Bytes {
    log::HistoryChunk { events }.encode_to_vec().into()
}

/// All keys of a run's history.
pub(crate) fn range(group: GroupId, uid: RunUid) -> (Bytes, Bytes) {
    KeyWriter::new(group, Family::History, 16).uid(uid).range()
}

/// At most `limit` events from a sequence on.
pub(crate) fn page(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    uid: RunUid,
    from: u64,
    limit: usize,
) -> Result<Vec<(u64, Event)>, StoreError> {
    page_within(reader, group, uid, from, limit, usize::MAX)
}

/// The same, with so many bytes of events at most, but at least one event if there is one: payloads can be large.
pub(crate) fn page_within(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    uid: RunUid,
    from: u64,
    limit: usize,
    bytes_max: usize,
) -> Result<Vec<(u64, Event)>, StoreError> {
    let (_, end) = range(group, uid);
    let mut events = Vec::new();
    let mut room = bytes_max;
    if limit == 0 {
        return Ok(events);
    }
    reader.visit(&(key(group, uid, from), end), |key, value| {
        let mut key = KeyReader::new(key)?;
        key.uid()?;
        let last = key.number()?;
        key.end()?;
        let chunk: log::HistoryChunk = codec::decode("history", Bytes::copy_from_slice(value))?;
        let first = last.saturating_sub(chunk.events.len() as u64) + 1;
        for (sequence, bytes) in (first..).zip(chunk.events).filter(|(sequence, _)| *sequence >= from) {
            if events.len() == limit || (bytes.len() > room && !events.is_empty()) {
                return Ok(ControlFlow::Break(()));
            }
            room = room.saturating_sub(bytes.len());
            events.push((sequence, codec::decode_event(bytes)?));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(events)
}

#[cfg(test)]
mod tests {
    use quorus_engine::{EventKind, Timestamp};

    use super::*;
    use crate::store::testing::disk_with;

    fn event(sequence: u64) -> Event {
        let kind = EventKind::StepCheckpointed { step: "a".into(), attempt: 1, checkpoint: Default::default() };
        Event { time: Timestamp(sequence as i64), kind }
    }

    #[test]
    fn any_page_of_the_history_can_be_read() {
        let chunk = |sequences: std::ops::RangeInclusive<u64>| {
            (key(1, RunUid(7), *sequences.end()), encode(sequences.map(|sequence| codec::encode_event(&event(sequence))).collect()))
        };
        let disk =
            disk_with([chunk(1..=3), chunk(4..=4), chunk(5..=9), (key(1, RunUid(8), 1), encode(vec![codec::encode_event(&event(1))]))]);
        for from in 0..12 {
            for limit in 0..12 {
                let expected: Vec<_> = (from.max(1)..=9).take(limit).map(|sequence| (sequence, event(sequence))).collect();
                assert_eq!(page(&*disk, 1, RunUid(7), from, limit).unwrap(), expected, "from {from}, limit {limit}");
            }
        }
    }

    #[test]
    fn a_page_is_bounded_in_bytes_but_never_empty() {
        let events: Vec<Bytes> = (1..=9).map(|sequence| codec::encode_event(&event(sequence))).collect();
        let one = events[0].len();
        let disk = disk_with([(key(1, RunUid(7), 4), encode(events[..4].to_vec())), (key(1, RunUid(7), 9), encode(events[4..].to_vec()))]);
        let sequences = |from, bytes_max| -> Vec<u64> {
            let page = page_within(&*disk, 1, RunUid(7), from, 100, bytes_max).unwrap();
            page.into_iter().map(|(sequence, _)| sequence).collect()
        };
        assert_eq!(sequences(1, 0), [1]);
        assert_eq!(sequences(3, 3 * one), [3, 4, 5]);
        assert_eq!(sequences(1, usize::MAX).len(), 9);
    }

    #[test]
    fn a_chunk_keeps_its_bytes() {
        let events = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        codec::golden::check("history_chunk_v1", &encode(events));
    }
}
