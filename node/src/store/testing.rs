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

/// Copies a group's state to another disk, as a snapshot does.
pub(crate) fn copy_group(from: &dyn Disk, to: &dyn Disk, group: quorus_raft::GroupId) {
    let prefix = group.to_be_bytes();
    let end = super::key::prefix_end(&prefix);
    let mut batch = Batch::new();
    batch.delete_range(Table::State, Bytes::copy_from_slice(&prefix), end.clone());
    let mut copy = |key: &[u8], value: &[u8]| {
        batch.put(Table::State, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        std::ops::ControlFlow::Continue(())
    };
    from.scan(Table::State, &prefix, &end, quorus_raft::disk::Order::Forward, &mut copy).unwrap();
    to.write(batch, Durability::Buffered).unwrap();
}
