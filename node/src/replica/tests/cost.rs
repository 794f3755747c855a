//! What a decision costs depends neither on the size of its run nor on the number of runs.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use quorus_engine::{Event, EventKind, Millis, RunInfo, RunUid, StepId, Timestamp, Token};
use quorus_proto::log;
use quorus_raft::{
    Entry, StateMachine,
    disk::{Batch, Disk, DiskError, Durability, MemoryDisk, Order, Table, View, Visit},
};

use super::{
    shard::{Shard, entry},
    world::worker,
};
use crate::codec::encode_event;

/// Counts reads.
#[derive(Default)]
struct CountingDisk {
    disk: MemoryDisk,
    reads: AtomicUsize,
}

impl Disk for CountingDisk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Disk::get(&self.disk, table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], order: Order, visit: Visit<'_>) -> Result<(), DiskError> {
        Disk::scan(&self.disk, table, from, to, order, &mut |key, value| {
            self.reads.fetch_add(1, Ordering::Relaxed);
            visit(key, value)
        })
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), DiskError> {
        self.disk.write(batch, durability)
    }

    fn view(&self) -> Box<dyn View> {
        self.disk.view()
    }
}

fn step(number: usize) -> StepId {
    format!("step{number}").as_str().into()
}

fn batch(uid: u128, expected_seq: u64, kinds: impl IntoIterator<Item = EventKind>) -> log::RunBatch {
    log::RunBatch {
        namespace: "ns".into(),
        run_id: format!("run-{uid}"),
        run_uid: Bytes::copy_from_slice(&RunUid(uid).to_bytes()),
        expected_seq,
        events: kinds.into_iter().map(|kind| encode_event(&Event { time: Timestamp(5), kind })).collect(),
        replaces_uid: Bytes::new(),
        request_ids: Vec::new(),
    }
}

fn start(uid: u128, steps: usize) -> log::RunBatch {
    let info =
        RunInfo { namespace: "ns".into(), run_id: format!("run-{uid}"), uid: RunUid(uid), request_id: "req".into(), ..RunInfo::default() };
    let queued = (0..steps).map(|number| EventKind::StepQueued {
        step: step(number),
        input: None,
        queue: "q".into(),
        priority: 3,
        schedule_deadline: None,
        step_deadline: Some(Timestamp(900)),
    });
    batch(uid, 0, std::iter::once(EventKind::RunStarted(Box::new(info))).chain(queued))
}

fn record(batches: Vec<log::RunBatch>) -> Entry {
    entry(2, &log::Record { term: 1, batches, ..log::Record::default() })
}

/// Reads and writes of leasing one step: with what is in memory, and after a restart.
fn cost(runs: u128, steps: usize) -> [(usize, usize); 2] {
    let disk = Arc::new(CountingDisk::default());
    let mut shard = Shard::on(disk.clone());
    shard.apply(&[entry(1, &log::Record { term: 1, open_epoch: Some(log::OpenEpoch::default()), ..log::Record::default() })]);
    for uid in 0..runs {
        shard.apply(&[record(vec![start(uid, steps)])]);
    }
    let uid = runs / 2;
    let mut measure = |sequence: u64, number: usize| {
        let leased = EventKind::StepLeased {
            step: step(number),
            attempt: 1,
            token: Token(sequence + 1),
            worker: worker(),
            queue: "q".into(),
            priority: 3,
            lease: Millis(30_000),
            input: None,
            step_deadline: None,
            attempt_deadline: None,
        };
        let before = disk.reads.load(Ordering::Relaxed);
        let mut batch_of_changes = Batch::new();
        shard.replica.apply(&[record(vec![batch(uid, sequence, [leased])])], &mut batch_of_changes).unwrap();
        let cost = (disk.reads.load(Ordering::Relaxed) - before, batch_of_changes.ops().len());
        disk.write(batch_of_changes, Durability::Buffered).unwrap();
        shard.replica.restored().unwrap();
        cost
    };
    let events = steps as u64 + 1;
    [measure(events, 0), measure(events + 1, 1)]
}

#[test]
fn a_decision_costs_the_same_in_a_large_run_and_among_many_runs() {
    let small = cost(1, 3);
    // History, head and step are written; nothing is read but, after the restart, epoch, head and step.
    assert_eq!(small, [(0, 3), (3, 3)]);
    assert_eq!(cost(20, 40), small, "many runs");
    let [(reads, writes), after_restart] = cost(1, 3000);
    assert!(reads <= 1, "a run too large for the cache is read where it is touched, not as a whole");
    assert_eq!((writes, after_restart), (3, small[1]), "large run");
}
