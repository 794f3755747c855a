//! Which run an id means.
//!
//! `[group]'N'[namespace 0][run id]` -> uid, 16 bytes. Written by each start; a reused id points to the newest run. The older runs stay readable by
//! their uid.

use bytes::Bytes;
use quorus_engine::RunUid;
use quorus_raft::GroupId;

use super::{
    StoreError,
    key::{Family, KeyWriter},
    reader::Reader,
};
use crate::codec::CodecError;

pub(crate) fn key(group: GroupId, namespace: &str, run_id: &str) -> Bytes {
    KeyWriter::new(group, Family::Id, namespace.len() + 1 + run_id.len()).text(namespace).last(run_id.as_bytes()).finish()
}

pub(crate) fn encode(uid: RunUid) -> Bytes {
    Bytes::copy_from_slice(&uid.to_bytes())
}

pub(crate) fn decode(bytes: &[u8]) -> Result<RunUid, StoreError> {
    RunUid::from_bytes(bytes).ok_or(CodecError::Length { what: "run uid", expected: 16, actual: bytes.len() }).map_err(StoreError::from)
}

pub(crate) fn get(reader: &(impl Reader + ?Sized), group: GroupId, namespace: &str, run_id: &str) -> Result<Option<RunUid>, StoreError> {
    reader.read(&key(group, namespace, run_id))?.map(|bytes| decode(&bytes)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_and_id_never_run_into_each_other() {
        assert_ne!(key(1, "a", "bc"), key(1, "ab", "c"));
        assert_ne!(key(1, "a", "b"), key(2, "a", "b"));
    }

    #[test]
    fn uid_comes_back() {
        let uid = RunUid(0x1234 << 100 | 5);
        assert_eq!(decode(&encode(uid)).unwrap(), uid);
        assert!(decode(b"short").is_err());
    }
}
