//! openraft's own test suite for stores, on both disks; and what it does not cover.

use std::sync::Arc;

use bytes::Bytes;
use openraft::{
    EntryPayload, RaftLogReader,
    entry::RaftEntry as _,
    storage::{IOFlushed, RaftLogStorage, RaftStateMachine},
    testing::log::{StoreBuilder, Suite},
    type_config::TypeConfigExt,
};

use super::{LogStore, StateShared, StateStore, StoreError};
use crate::{
    ApplyError, Entry, GroupId, Index, Options, StateMachine, WriterMode,
    disk::{Batch, Disk, Durability, MemoryDisk, RocksDisk, RocksOptions, Table},
    keys,
    types::{RaftEntry, Record, Types, Vote, log_id},
    writer::{Alarm, Writer},
};

const GROUP: GroupId = 7;

/// Stores each record under its index.
struct Records;

impl StateMachine for Records {
    fn apply(&mut self, entries: &[Entry], batch: &mut Batch) -> Result<Vec<Bytes>, ApplyError> {
        for entry in entries {
            let key = [&GROUP.to_be_bytes()[..], &entry.index.to_be_bytes()].concat();
            batch.put(Table::State, key, entry.record.clone());
        }
        Ok(entries.iter().map(|entry| entry.record.clone()).collect())
    }

    fn applied(&mut self, _index: Index) {}

    fn restored(&mut self) -> Result<(), ApplyError> {
        Ok(())
    }
}

fn stores(disk: Arc<dyn Disk>, options: &Options) -> Result<(LogStore, StateStore), StoreError> {
    let alarm = Alarm::new();
    let writer = Writer::start(Arc::clone(&disk), options.writer, alarm.clone()).unwrap();
    let log = LogStore::open(GROUP, Arc::clone(&disk), writer, options)?;
    let state = StateStore::open(&StateShared::new(GROUP, disk, alarm, Box::new(Records)))?;
    Ok((log, state))
}

struct OnMemory;
struct OnRocks;

impl StoreBuilder<Types, LogStore, StateStore> for OnMemory {
    async fn build(&self) -> Result<((), LogStore, StateStore), openraft::StorageError<Types>> {
        // A cache that holds almost nothing, so that reads meet the disk.
        let options = Options { log_cache_bytes: 200, writer: WriterMode::Task, ..Options::default() };
        let (log, state) = stores(Arc::new(MemoryDisk::new()), &options).unwrap();
        Ok(((), log, state))
    }
}

impl StoreBuilder<Types, LogStore, StateStore, tempfile::TempDir> for OnRocks {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateStore), openraft::StorageError<Types>> {
        let folder = tempfile::tempdir().unwrap();
        let disk = RocksDisk::open(folder.path(), &RocksOptions::default()).unwrap();
        let (log, state) = stores(Arc::new(disk), &Options::default()).unwrap();
        Ok((folder, log, state))
    }
}

#[tokio::test]
async fn the_suite_of_openraft_passes_on_the_memory_disk() {
    Suite::test_all(OnMemory).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_openraft_passes_on_the_rocks_disk() {
    Suite::test_all(OnRocks).await.unwrap();
}

fn record(term: u64, index: Index, record: &str) -> RaftEntry {
    RaftEntry::new(log_id(term, index), EntryPayload::Normal(Record::new(term, record.as_bytes())))
}

async fn append(log: &mut LogStore, entries: Vec<RaftEntry>) {
    let (sender, receiver) = Types::oneshot();
    log.append(entries, IOFlushed::signal(sender)).await.unwrap();
    receiver.await.unwrap().unwrap();
}

fn task_options() -> Options {
    Options { writer: WriterMode::Task, ..Options::default() }
}

#[tokio::test]
async fn what_was_flushed_survives_a_loss_of_power() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut log, _) = stores(disk.clone(), &task_options()).unwrap();
    let vote = Vote::new_committed(3, 1);
    log.save_vote(&vote).await.unwrap();
    append(&mut log, vec![record(3, 0, "a"), record(3, 1, "b")]).await;
    log.save_committed(Some(log_id(3, 1))).await.unwrap();
    append(&mut log, vec![record(3, 2, "c")]).await;
    disk.crash();

    let (mut log, _) = stores(disk, &task_options()).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(3, 1)));
    let entries = log.try_get_log_entries(0..).await.unwrap();
    assert_eq!(entries, [record(3, 0, "a"), record(3, 1, "b"), record(3, 2, "c")]);
}

#[tokio::test]
async fn a_truncated_end_does_not_come_back_when_its_write_ends_late() {
    let disk = Arc::new(MemoryDisk::new());
    let options = Options { log_cache_bytes: 0, ..task_options() };
    let (mut log, _) = stores(disk.clone(), &options).unwrap();
    log.save_vote(&Vote::new_committed(2, 1)).await.unwrap();
    // Nothing yields to the writer here, so the appends are still queued when the log is cut.
    log.append(vec![record(1, 0, "a"), record(1, 1, "old"), record(1, 2, "older")], IOFlushed::noop()).await.unwrap();
    log.truncate_after(Some(log_id(1, 0))).await.unwrap();
    append(&mut log, vec![record(2, 1, "new")]).await;
    let expected = [record(1, 0, "a"), record(2, 1, "new")];
    assert_eq!(log.try_get_log_entries(0..9).await.unwrap(), expected);

    let (mut log, _) = stores(disk, &options).unwrap();
    assert_eq!(log.try_get_log_entries(0..9).await.unwrap(), expected);
}

#[tokio::test]
async fn a_hole_in_the_log_is_refused() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut log, _) = stores(disk.clone(), &task_options()).unwrap();
    log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    append(&mut log, (0..5).map(|index| record(1, index, "x")).collect()).await;
    let mut damage = Batch::new();
    damage.delete(Table::Log, keys::log(GROUP, 3));
    disk.write(damage, Durability::Synced).unwrap();
    let error = stores(disk, &task_options()).err().unwrap();
    assert!(error.to_string().contains("hole"), "{error}");
}

#[tokio::test]
async fn a_log_that_ends_before_what_was_committed_is_refused() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut log, _) = stores(disk.clone(), &task_options()).unwrap();
    log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    append(&mut log, (0..3).map(|index| record(1, index, "x")).collect()).await;
    log.save_committed(Some(log_id(1, 2))).await.unwrap();
    append(&mut log, vec![record(1, 3, "x")]).await;
    let mut damage = Batch::new();
    damage.delete(Table::Log, keys::log(GROUP, 3));
    damage.delete(Table::Log, keys::log(GROUP, 2));
    disk.write(damage, Durability::Synced).unwrap();
    let error = stores(disk, &task_options()).err().unwrap();
    assert!(error.to_string().contains("was committed"), "{error}");
}

#[tokio::test]
async fn a_failed_write_raises_the_alarm_and_is_not_tried_again() {
    let disk = Arc::new(MemoryDisk::new());
    let alarm = Alarm::new();
    let writer = Writer::start(disk.clone(), WriterMode::Task, alarm.clone()).unwrap();
    let mut log = LogStore::open(GROUP, disk.clone(), writer, &task_options()).unwrap();
    disk.fail_writes();
    assert!(log.save_vote(&Vote::new(1, 1)).await.is_err());
    assert!(alarm.raised());
    // The disk works again, but nobody knows what it has forgotten.
    disk.crash();
    assert!(log.save_vote(&Vote::new(2, 1)).await.is_err());
}

/// A snapshot of five records, staged on a disk that holds another state; the power fails after `batches` unsynced batches.
#[tokio::test]
async fn an_interrupted_installation_is_finished_at_the_next_open() {
    for batches in 0..2 {
        let source = Arc::new(MemoryDisk::new());
        let (_, mut from) = stores(source, &task_options()).unwrap();
        let entries = (0..5).map(|index| Ok((record(1, index, &format!("new {index}")), None)));
        from.apply(futures::stream::iter(entries)).await.unwrap();
        let snapshot = from.get_current_snapshot().await.unwrap().unwrap();

        let disk = Arc::new(MemoryDisk::new());
        let (_, mut to) = stores(disk.clone(), &task_options()).unwrap();
        to.apply(futures::stream::iter((0..9).map(|index| Ok((record(1, index, "old"), None))))).await.unwrap();
        {
            // As `install_staged` does, up to the marker; then the power fails in the middle of the rest.
            let super::SnapshotData::View(mut view) = snapshot.snapshot else { panic!("not a view") };
            while let Some(chunk) = view.next_chunk().unwrap() {
                super::snapshot::stage_chunk(GROUP, disk.as_ref(), chunk).unwrap();
            }
            let applied = crate::codec::encode_applied(snapshot.meta.last_log_id, &snapshot.meta.last_membership);
            let mut marker = Batch::new();
            marker.put(Table::Meta, keys::meta(GROUP, keys::Meta::Installing), applied);
            disk.write(marker, Durability::Synced).unwrap();
            let mut wipe = Batch::new();
            wipe.delete_range(Table::State, keys::state(GROUP), keys::state_end(GROUP));
            disk.write(wipe, Durability::Buffered).unwrap();
        }
        disk.crash_keeping(batches);

        let (_, mut state) = stores(disk.clone(), &task_options()).unwrap();
        assert_eq!(state.applied_state().await.unwrap().0, Some(log_id(1, 4)));
        let mut rows = Vec::new();
        disk.scan(Table::State, &[], &[0xff; 8], crate::disk::Order::Forward, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        let expected: Vec<_> = (0..5_u64)
            .map(|index| ([&GROUP.to_be_bytes()[..], &index.to_be_bytes()].concat(), format!("new {index}").into_bytes()))
            .collect();
        assert_eq!(rows, expected, "nothing old, nothing staged is left");
    }
}
