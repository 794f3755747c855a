//! Definitions that runs of this shard use, once per shard and digest.
//!
//! `[group]'D'[digest 32]` -> encoded `v1.Workflow`. Written by the first record that needs it; content-addressed, so never changed.

use bytes::Bytes;
use quorus_raft::GroupId;

use super::{
    StoreError,
    key::{Family, KeyWriter},
    reader::Reader,
};

pub(crate) fn key(group: GroupId, digest: &[u8; 32]) -> Bytes {
    KeyWriter::new(group, Family::Definition, 32).last(digest).finish()
}

pub(crate) fn get(reader: &(impl Reader + ?Sized), group: GroupId, digest: &[u8; 32]) -> Result<Option<Bytes>, StoreError> {
    reader.read(&key(group, digest))
}
