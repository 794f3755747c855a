//! Where everything is stored: three ordered tables with one write-ahead log.
//!
//! A batch is atomic. Batches become durable in the order in which they were written: a synced batch makes all earlier ones durable, a crash keeps a
//! prefix. [`RocksDisk`] is the disk in life; [`MemoryDisk`] is the one of simulations, and forgets what was not synced.

mod batch;
mod memory;
mod rocks;

use std::ops::ControlFlow;

use bytes::Bytes;

pub use batch::{Batch, Op};
pub use memory::MemoryDisk;
pub use rocks::{RocksDisk, RocksOptions};

/// A table. Keys are ordered as bytes, and start with the group id as 4 big-endian bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Log entries: short-lived, written and purged in order.
    Log,
    /// Votes, marks, applied indexes: few, small, rewritten often.
    Meta,
    /// The state of the groups.
    State,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 3] = [Table::Log, Table::Meta, Table::State];
}

/// When a write returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is readable. It survives a crash of the process, and a loss of power if a later batch was synced.
    Buffered,
    /// Once it, and everything before it, survives a loss of power.
    Synced,
}

/// Direction of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Reverse,
}

/// Gets each key and value of a scan, until it breaks.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Three ordered tables with one write-ahead log.
pub trait Disk: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// If the disk can't be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError>;

    /// Visits the keys from `from` to before `to`.
    ///
    /// # Errors
    /// If the disk can't be read.
    fn scan(&self, table: Table, from: &[u8], to: &[u8], order: Order, visit: Visit<'_>) -> Result<(), DiskError>;

    /// Writes a batch, all or nothing.
    ///
    /// # Errors
    /// If it could not be written, or not synced. Then nothing more may be written: the state of the disk is not known.
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), DiskError>;

    /// The tables as they are now.
    fn view(&self) -> Box<dyn View>;
}

/// The tables as they were at a moment.
pub trait View: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// If the disk can't be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError>;

    /// Visits the keys from `from` to before `to`.
    ///
    /// # Errors
    /// If the disk can't be read.
    fn scan(&self, table: Table, from: &[u8], to: &[u8], order: Order, visit: Visit<'_>) -> Result<(), DiskError>;
}

/// The disk failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DiskError {
    /// An operation of the database failed.
    #[error("{operation}: {reason}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// What the database said.
        reason: String,
    },
    /// Writes that were acknowledged as durable are gone: the write-ahead log is damaged before its end.
    #[error("{path}: durable writes are missing (found up to {found}, synced up to {synced}): the write-ahead log is damaged")]
    LostWrites {
        /// The data folder.
        path: String,
        /// Last write that was found.
        found: u64,
        /// Last write that was known to be synced.
        synced: u64,
    },
}
