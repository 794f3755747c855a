//! One number for the whole state of a group, to see whether replicas agree.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorus_raft::{GroupId, disk::Disk};
use sha2::{Digest, Sha256};

use crate::store::{StoreError, key::prefix_end, reader::Reader};

/// Adds a row to the digest of a state. Lengths first, so that no two states are the same stream of bytes.
pub(crate) fn hash_row(hash: &mut Sha256, key: &[u8], value: &[u8]) {
    hash.update((key.len() as u64).to_be_bytes());
    hash.update((value.len() as u64).to_be_bytes());
    hash.update(key);
    hash.update(value);
}

/// SHA-256 over all keys and values of a group's state. Replicas that applied the same index have the same digest. Reads everything: for checks, not for
/// the hot path.
///
/// # Errors
/// If the disk fails.
pub fn state_digest(disk: &dyn Disk, group: GroupId) -> Result<[u8; 32], StoreError> {
    let mut hash = Sha256::new();
    let prefix = group.to_be_bytes();
    disk.view().visit(&(Bytes::copy_from_slice(&prefix), prefix_end(&prefix)), |key, value| {
        hash_row(&mut hash, key, value);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(hash.finalize().into())
}
