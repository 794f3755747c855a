//! Input and output of runs, which may be large and are read seldom.
//!
//! `[group]'P'[uid][0 input, 1 output]` -> `v1.Payload`. Written once, lives as long as the run is kept. An empty input has no key.

use bytes::Bytes;
use quorus_engine::{Payload, RunUid};
use quorus_raft::GroupId;

use super::{
    StoreError,
    key::{Family, KeyWriter},
    reader::Reader,
};
use crate::codec;

/// Which payload of a run. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Which {
    Input = 0,
    Output = 1,
}

pub(crate) fn key(group: GroupId, uid: RunUid, which: Which) -> Bytes {
    KeyWriter::new(group, Family::Payload, 17).uid(uid).byte(which as u8).finish()
}

pub(crate) fn get(reader: &(impl Reader + ?Sized), group: GroupId, uid: RunUid, which: Which) -> Result<Option<Payload>, StoreError> {
    Ok(reader.read(&key(group, uid, which))?.map(codec::decode_payload).transpose()?)
}
