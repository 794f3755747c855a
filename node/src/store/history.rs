//! What happened to a run.
//!
//! `[group]'H'[uid][sequence u64]` -> `log.Event`, the bytes of the record. Written once, lives as long as the run is kept. Sequences start at 1 and
//! have no gaps.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorus_engine::{Event, RunUid};
use quorus_raft::GroupId;

use super::{
    StoreError,
    key::{Family, KeyReader, KeyWriter},
    reader::Reader,
};
use crate::codec;

pub(crate) fn key(group: GroupId, uid: RunUid, sequence: u64) -> Bytes {
    KeyWriter::new(group, Family::History, 24).uid(uid).number(sequence).finish()
}

/// At most `limit` events from a sequence on.
pub(crate) fn page(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    uid: RunUid,
    from: u64,
    limit: usize,
) -> Result<Vec<(u64, Event)>, StoreError> {
    let (_, end) = KeyWriter::new(group, Family::History, 16).uid(uid).range();
    let mut events = Vec::new();
    if limit == 0 {
        return Ok(events);
    }
    reader.visit(&(key(group, uid, from), end), |key, value| {
        let mut key = KeyReader::new(key)?;
        key.uid()?;
        let sequence = key.number()?;
        key.end()?;
        events.push((sequence, codec::decode_event(Bytes::copy_from_slice(value))?));
        Ok(if events.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(events)
}
