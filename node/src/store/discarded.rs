//! Items that failed for good and that somebody settled otherwise.
//!
//! `[group]'b'[uid][step]` -> generation of the step, 4 bytes. Written by a discard, lives as long as the run is kept. One that fails again in a later
//! generation is a dead letter again.

use bytes::Bytes;
use quorus_engine::{RunUid, StepId};
use quorus_raft::GroupId;

use super::{
    StoreError,
    key::{Family, KeyWriter},
    reader::Reader,
};
use crate::codec::CodecError;

pub(crate) fn key(group: GroupId, uid: RunUid, step: &StepId) -> Bytes {
    KeyWriter::new(group, Family::Discarded, 16 + step.as_str().len()).uid(uid).last(step.as_str().as_bytes()).finish()
}

/// All keys of a run.
pub(crate) fn range(group: GroupId, uid: RunUid) -> (Bytes, Bytes) {
    KeyWriter::new(group, Family::Discarded, 16).uid(uid).range()
}

pub(crate) fn encode(generation: u32) -> Bytes {
    Bytes::copy_from_slice(&generation.to_be_bytes())
}

/// The generation that was discarded last.
pub(crate) fn get(reader: &(impl Reader + ?Sized), group: GroupId, uid: RunUid, step: &StepId) -> Result<Option<u32>, StoreError> {
    let Some(bytes) = reader.read(&key(group, uid, step))? else { return Ok(None) };
    let length = CodecError::Length { what: "discarded generation", expected: 4, actual: bytes.len() };
    Ok(Some(u32::from_be_bytes(bytes.as_ref().try_into().map_err(|_| length)?)))
}
