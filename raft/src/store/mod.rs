//! What a replica stores, in the shape that openraft wants: the log with the vote, and the state with its snapshots.

mod log;
mod snapshot;
mod state;
mod tail;

pub(crate) use log::LogStore;
pub(crate) use snapshot::{SnapshotData, Staging};
pub(crate) use state::{StateShared, StateStore};

use std::io;

use crate::{codec::Malformed, disk::DiskError};

/// A stored thing contradicts another, or can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{0}")]
    Corrupt(String),
}

impl From<Malformed> for StoreError {
    fn from(error: Malformed) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests;
