//! Disks for tests.

use std::sync::Arc;

use bytes::Bytes;
use quorus_raft::disk::{Batch, Disk, Durability, MemoryDisk, Table};

/// A disk with these keys in its state table.
pub(crate) fn disk_with(rows: impl IntoIterator<Item = (Bytes, Bytes)>) -> Arc<dyn Disk> {
    let disk = MemoryDisk::new();
    let mut batch = Batch::new();
    for (key, value) in rows {
        batch.put(Table::State, key, value);
    }
    disk.write(batch, Durability::Buffered).unwrap();
    Arc::new(disk)
}
