//! Snapshots: the state of a group, on its way from one replica to another.
//!
//! Sending needs no copy: a snapshot is a view of the disk, and its chunks are made while they are sent. An arriving snapshot is staged beside the
//! state; only when it is complete is a marker synced, the old state replaced by what is staged, and the marker taken off again. A crash in
//! between is finished at the next open. The log and the vote are not touched: a replica may vote at any time.
//!
//! A chunk is a sequence of `[key length u32 BE][value length u32 BE][key][value]`; keys without the group id.

use std::{io, ops::ControlFlow};

use bytes::{BufMut, Bytes, BytesMut};
use openraft::RaftSnapshotBuilder;
use parking_lot::Mutex;
use quorus_mutants::{Mutant, active};
use tokio::sync::OwnedMutexGuard;

use super::StoreError;
use crate::{
    GroupId, codec,
    disk::{Batch, Disk, DiskError, Durability, Order, Table, View},
    keys::{self, Meta},
    types::{LogId, Snapshot, SnapshotMeta, StoredMembership, Types},
};

/// A chunk is full with about so many bytes.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// A snapshot, as openraft passes it around.
pub(crate) enum SnapshotData {
    /// To be sent.
    View(SnapshotView),
    /// Staged, to be installed. Nothing else is staged for the group while it is held.
    Staged(OwnedMutexGuard<Staging>),
}

/// Right to stage a snapshot of a group.
#[derive(Debug, Default)]
pub(crate) struct Staging;

/// The state of a group at a moment.
pub(crate) struct SnapshotView {
    group: GroupId,
    view: Box<dyn View>,
    /// Where the next chunk begins.
    next: Bytes,
    done: bool,
}

impl SnapshotView {
    fn new(group: GroupId, view: Box<dyn View>) -> Self {
        Self { group, view, next: keys::state(group), done: false }
    }

    /// What the state includes, as of the same moment.
    fn applied(&self) -> Result<(Option<LogId>, StoredMembership), StoreError> {
        match self.view.get(Table::Meta, &keys::meta(self.group, Meta::Applied))? {
            Some(applied) => Ok(codec::decode_applied(&applied)?),
            None => Ok((None, StoredMembership::default())),
        }
    }

    /// The next chunk, until there is none.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Bytes>, DiskError> {
        if self.done {
            return Ok(None);
        }
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
        let mut rest = None;
        self.view.scan(Table::State, &self.next, &keys::state_end(self.group), Order::Forward, &mut |key, value| {
            if chunk.len() >= CHUNK_BYTES {
                rest = Some(Bytes::copy_from_slice(key));
                return ControlFlow::Break(());
            }
            put_row(&mut chunk, &key[4..], value);
            ControlFlow::Continue(())
        })?;
        match rest {
            Some(key) => self.next = key,
            None => self.done = true,
        }
        Ok(if chunk.is_empty() { None } else { Some(chunk.freeze()) })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "keys and values are far below 4 GiB; RocksDB refuses larger ones")]
fn put_row(chunk: &mut BytesMut, key: &[u8], value: &[u8]) {
    chunk.put_u32(key.len() as u32);
    chunk.put_u32(value.len() as u32);
    chunk.put_slice(key);
    chunk.put_slice(value);
}

/// The rows of a chunk.
pub(crate) fn read_chunk(mut chunk: Bytes, mut row: impl FnMut(Bytes, Bytes)) -> Result<(), StoreError> {
    let truncated = || StoreError::Corrupt("a chunk of a snapshot is cut off".to_owned());
    while !chunk.is_empty() {
        let head = chunk.first_chunk::<8>().ok_or_else(truncated)?;
        let [key_len, value_len] = [0, 4].map(|at| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize);
        if chunk.len() < 8 + key_len + value_len {
            return Err(truncated());
        }
        let mut body = chunk.split_off(8);
        chunk = body.split_off(key_len + value_len);
        let value = body.split_off(key_len);
        row(body, value);
    }
    Ok(())
}

/// Describes the state as it is now.
pub(crate) struct SnapshotBuilder {
    view: Mutex<Option<SnapshotView>>,
}

impl SnapshotBuilder {
    pub(crate) fn new(group: GroupId, disk: &dyn Disk) -> Self {
        Self { view: Mutex::new(Some(SnapshotView::new(group, disk.view()))) }
    }

    pub(crate) fn build(&mut self) -> Result<Snapshot, StoreError> {
        let view = self.view.get_mut().take().ok_or_else(|| StoreError::Corrupt("a snapshot was built twice".to_owned()))?;
        let (last_log_id, last_membership) = view.applied()?;
        Ok(openraft::Snapshot { meta: SnapshotMeta { last_log_id, last_membership }, snapshot: SnapshotData::View(view) })
    }
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        Ok(self.build()?)
    }
}

/// Puts a chunk beside the state of a group.
pub(crate) fn stage_chunk(group: GroupId, disk: &dyn Disk, chunk: Bytes) -> Result<(), StoreError> {
    let prefix = keys::staging(group).to_be_bytes();
    let mut batch = Batch::new();
    let mut left = if active(Mutant::TornSnapshot) { rows_in(chunk.clone())?.saturating_sub(1) } else { usize::MAX };
    read_chunk(chunk, |key, value| {
        if left == 0 {
            return;
        }
        left -= 1;
        let mut staged = BytesMut::with_capacity(4 + key.len());
        staged.put_slice(&prefix);
        staged.put_slice(&key);
        batch.put(Table::State, staged.freeze(), value);
    })?;
    disk.write(batch, Durability::Buffered)?;
    Ok(())
}

/// Only for [`Mutant::TornSnapshot`].
fn rows_in(chunk: Bytes) -> Result<usize, StoreError> {
    let mut rows = 0;
    read_chunk(chunk, |_, _| rows += 1)?;
    Ok(rows)
}

/// Removes whatever is staged.
pub(crate) fn clear_staging(group: GroupId, disk: &dyn Disk) -> Result<(), DiskError> {
    let staging = keys::staging(group);
    let mut batch = Batch::new();
    batch.delete_range(Table::State, keys::state(staging), keys::state_end(staging));
    disk.write(batch, Durability::Buffered)
}

/// Replaces the state by what is staged. `applied` is what the staged state includes, encoded.
pub(crate) fn install_staged(group: GroupId, disk: &dyn Disk, applied: Bytes) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.put(Table::Meta, keys::meta(group, Meta::Installing), applied.clone());
    disk.write(batch, Durability::Synced)?;
    finish_install(group, disk, applied)
}

/// Finishes an installation that a crash interrupted, if there is one; else what is staged is worth nothing.
pub(crate) fn recover_install(group: GroupId, disk: &dyn Disk) -> Result<(), StoreError> {
    match disk.get(Table::Meta, &keys::meta(group, Meta::Installing))? {
        Some(applied) => {
            tracing::warn!(group, "a crash interrupted the installation of a snapshot; finishing it");
            finish_install(group, disk, applied)
        }
        None => Ok(clear_staging(group, disk)?),
    }
}

/// May run any number of times, until the last batch takes the marker off.
fn finish_install(group: GroupId, disk: &dyn Disk, applied: Bytes) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.delete(Table::Meta, keys::meta(group, Meta::Applied));
    batch.delete_range(Table::State, keys::state(group), keys::state_end(group));
    disk.write(batch, Durability::Buffered)?;

    let staging = keys::staging(group);
    let mut view = SnapshotView::new(staging, disk.view());
    let prefix = group.to_be_bytes();
    while let Some(chunk) = view.next_chunk()? {
        let mut batch = Batch::new();
        read_chunk(chunk, |key, value| {
            let mut real = BytesMut::with_capacity(4 + key.len());
            real.put_slice(&prefix);
            real.put_slice(&key);
            batch.put(Table::State, real.freeze(), value);
        })?;
        disk.write(batch, Durability::Buffered)?;
    }

    let mut batch = Batch::new();
    batch.put(Table::Meta, keys::meta(group, Meta::Applied), applied);
    batch.delete(Table::Meta, keys::meta(group, Meta::Installing));
    batch.delete_range(Table::State, keys::state(staging), keys::state_end(staging));
    disk.write(batch, Durability::Synced)?;
    Ok(())
}
