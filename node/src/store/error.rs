//! Why the store can't answer.

use quorus_raft::{ApplyError, disk::DiskError};

use crate::codec::CodecError;

/// Why the store can't answer: always a fault of this node, never an answer to a client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[from] DiskError),
    /// A value can't be read: damaged, or written by a newer version.
    #[error("a stored value can't be read")]
    Codec(#[from] CodecError),
    /// A key can't be taken apart.
    #[error("the stored key {key} is malformed")]
    Key {
        /// In hex.
        key: String,
    },
    /// Two keys that belong together, and one is missing.
    #[error("{what} of run {uid} is missing, but something refers to it")]
    Missing {
        /// What should be there.
        what: &'static str,
        /// Which run.
        uid: quorus_engine::RunUid,
    },
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::with_source("the state can't be read or written", error)
    }
}
