//! What never changes about a run.
//!
//! `[group]'R'[uid]` -> `log.RunInfo` without its input. Written by the start, lives as long as the run is kept.

use bytes::Bytes;
use quorus_engine::{RunInfo, RunUid};
use quorus_raft::GroupId;

use super::{
    StoreError,
    key::{Family, KeyWriter},
    reader::Reader,
};
use crate::codec;

pub(crate) fn key(group: GroupId, uid: RunUid) -> Bytes {
    KeyWriter::new(group, Family::Info, 16).uid(uid).finish()
}

/// The info without its input.
pub(crate) fn get(reader: &(impl Reader + ?Sized), group: GroupId, uid: RunUid) -> Result<Option<RunInfo>, StoreError> {
    Ok(reader.read(&key(group, uid))?.map(codec::decode_info).transpose()?)
}
