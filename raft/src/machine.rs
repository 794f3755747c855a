//! What the owner of the state implements.

use bytes::Bytes;

use crate::{Index, Term, disk::Batch};

/// A committed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log. Rises, with gaps: membership changes and the first entries of leaders are not shown.
    pub index: Index,
    /// Term of the leader that proposed it.
    pub term: Term,
    /// What was proposed.
    pub record: Bytes,
}

/// The state of a group, as a function of its records.
///
/// Keys in [`crate::disk::Table::State`] are the machine's own, but start with the group id as 4 big-endian bytes, so that a snapshot is the
/// prefix. Everything that is to survive goes into the batch: the group adds the applied index, and writes both at once and unsynced.
pub trait StateMachine: Send + 'static {
    /// Folds records into the state: total, deterministic, the same on every replica. Returns one answer per entry.
    ///
    /// The batch may hold changes of earlier calls that are not readable yet only within one call: after it returns, the batch is written before the
    /// next call. An error stops the group; it is opened again from what is written, and `restored` is called.
    ///
    /// # Errors
    /// If this replica can't go on: an unknown record, a read that failed. Never for a record that is merely refused: that is an answer.
    fn apply(&mut self, entries: &[Entry], batch: &mut Batch) -> Result<Vec<Bytes>, ApplyError>;

    /// The batch of the last `apply` is written and readable; the state is that of `index`.
    fn applied(&mut self, index: Index);

    /// The state on disk is another one now: a snapshot replaced it, or the group was opened again. Caches are to be dropped.
    ///
    /// # Errors
    /// If the state can't be read.
    fn restored(&mut self) -> Result<(), ApplyError>;
}

/// Why a replica can't apply.
#[derive(Debug, thiserror::Error)]
#[error("cannot apply: {message}")]
pub struct ApplyError {
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ApplyError {
    /// An error that has no other as its cause.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// An error with its cause.
    pub fn with_source(message: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }
}

impl From<crate::disk::DiskError> for ApplyError {
    fn from(error: crate::disk::DiskError) -> Self {
        Self::with_source("the disk failed", error)
    }
}
