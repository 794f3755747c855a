//! How far the system group has applied.

use bytes::Bytes;
use quorus_raft::Index;

use super::SYSTEM_GROUP;
use crate::{
    codec::CodecError,
    store::{
        StoreError,
        key::{Family, KeyWriter},
        reader::Reader,
    },
};

pub(super) fn key() -> Bytes {
    KeyWriter::new(SYSTEM_GROUP, Family::Revision, 0).finish()
}

pub(super) fn encode(revision: Index) -> Bytes {
    Bytes::copy_from_slice(&revision.to_be_bytes())
}

pub(super) fn get(reader: &(impl Reader + ?Sized)) -> Result<Index, StoreError> {
    let Some(bytes) = reader.read(&key())? else { return Ok(0) };
    let bytes = bytes.as_ref().try_into().map_err(|_| CodecError::Length { what: "revision", expected: 8, actual: bytes.len() })?;
    Ok(Index::from_be_bytes(bytes))
}
