//! The small, changing part of a run.
//!
//! `[group]'h'[uid]` -> `log.RunHead` without its output. Written by each decision, lives as long as the run is kept.

use bytes::Bytes;
use quorus_engine::{RunHead, RunUid};
use quorus_raft::GroupId;

use super::{
    StoreError,
    key::{Family, KeyWriter},
    reader::Reader,
};
use crate::codec;

pub(crate) fn key(group: GroupId, uid: RunUid) -> Bytes {
    KeyWriter::new(group, Family::Head, 16).uid(uid).finish()
}

/// The head without its output, and whether there is one.
pub(crate) fn get(reader: &(impl Reader + ?Sized), group: GroupId, uid: RunUid) -> Result<Option<(RunHead, bool)>, StoreError> {
    Ok(reader.read(&key(group, uid))?.map(codec::decode_head).transpose()?)
}
