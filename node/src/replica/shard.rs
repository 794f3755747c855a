//! The state machine of a shard.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use quorus_engine::Timestamp;
use quorus_proto::log;
use quorus_raft::{
    ApplyError, Entry, GroupId, Index, StateMachine, Term,
    disk::{Batch, Disk, Table},
};

use super::{
    AppliedSink, BatchAnswer, RecordAnswer, RunChange,
    cache::{RunCache, WEIGHT_MAX},
    overlay::Overlay,
    requests::Requests,
};
use crate::store::{Epoch, ShardStore, epoch};

/// Folds the records of a shard into its state.
pub struct ShardReplica {
    store: ShardStore,
    sink: Box<dyn AppliedSink>,
    memory: Memory,
    /// Written, but not told to the sink yet.
    changes: Vec<RunChange>,
}

/// What is kept between apply calls. Always equal to the disk, so it can be dropped at any time; dropped when the disk changes by other hands, and when an
/// apply call failed half-way.
struct Memory {
    /// `None` while it was not read.
    term: Option<Term>,
    runs: RunCache,
    requests: Requests,
}

impl Memory {
    fn empty() -> Self {
        Self { term: None, runs: RunCache::new(WEIGHT_MAX), requests: Requests::default() }
    }
}

impl ShardReplica {
    /// The state machine of a group whose state is on this disk. Reads nothing yet.
    pub fn new(disk: Arc<dyn Disk>, group: GroupId, sink: Box<dyn AppliedSink>) -> Self {
        Self { store: ShardStore::new(disk, group), sink, memory: Memory::empty(), changes: Vec::new() }
    }

    fn fold_entries(&mut self, entries: &[Entry], batch: &mut Batch) -> Result<Vec<Bytes>, ApplyError> {
        let group = self.store.group();
        let Memory { term, runs, requests } = &mut self.memory;
        let mut open = match *term {
            Some(term) => term,
            None => epoch::get(self.store.disk(), group)?.map_or(0, |epoch| epoch.term),
        };
        let mut overlay = Overlay::new(&self.store, runs, requests, batch);
        let mut answers = Vec::with_capacity(entries.len());
        let mut opened = None;
        for entry in entries {
            let record = log::Record::decode(entry.record.clone())
                .map_err(|error| ApplyError::with_source(format!("group {group}: record {} is malformed", entry.index), error))?;
            let answer = match record.open_epoch {
                Some(epoch) => {
                    // Two leaders never have the same term, so an equal one is the same leader, that wants to be sure again.
                    let newer = record.term > open;
                    if newer {
                        open = record.term;
                        opened = Some(Epoch {
                            term: record.term,
                            node: epoch.node_id,
                            boot_id: epoch.boot_id,
                            time: Timestamp(epoch.time_ms),
                            index: entry.index,
                        });
                    }
                    RecordAnswer::Epoch { opened: record.term == open }
                }
                None if record.term != open => RecordAnswer::Batches(vec![BatchAnswer::StaleTerm; parts_of(&record)]),
                None => RecordAnswer::Batches(fold_record(&mut overlay, record).map_err(|error| in_record(group, entry.index, error))?),
            };
            answers.push(answer.encode());
        }
        let changes = overlay.finish()?;
        if let Some(opened) = opened {
            batch.put(Table::State, epoch::key(group), epoch::encode(&opened));
        }
        *term = Some(open);
        self.changes.extend(changes);
        Ok(answers)
    }
}

impl StateMachine for ShardReplica {
    fn apply(&mut self, entries: &[Entry], batch: &mut Batch) -> Result<Vec<Bytes>, ApplyError> {
        // Into a batch of its own, so that a failure leaves nothing half-done in the caller's.
        let mut changed = Batch::new();
        let result = self.fold_entries(entries, &mut changed);
        match &result {
            Ok(_) => batch.extend(changed),
            Err(_) => self.memory = Memory::empty(),
        }
        result
    }

    fn applied(&mut self, index: Index) {
        self.sink.applied(self.store.group(), index, std::mem::take(&mut self.changes));
    }

    fn restored(&mut self) -> Result<(), ApplyError> {
        self.memory = Memory::empty();
        self.changes.clear();
        self.sink.restored(self.store.group());
        Ok(())
    }
}

/// How many answers a record gets.
fn parts_of(record: &log::Record) -> usize {
    record.batches.len() + record.purges.len() + record.discards.len()
}

/// Folds a record of the open leadership, part by part.
fn fold_record(overlay: &mut Overlay<'_>, record: log::Record) -> Result<Vec<BatchAnswer>, crate::store::StoreError> {
    let parts = parts_of(&record);
    for definition in record.definitions {
        overlay.define(definition)?;
    }
    let mut answers = Vec::with_capacity(parts);
    for decision in record.batches {
        answers.push(overlay.fold(decision)?);
    }
    for purge in &record.purges {
        answers.push(overlay.purge(purge)?);
    }
    for discard in &record.discards {
        answers.push(overlay.discard(discard)?);
    }
    Ok(answers)
}

fn in_record(group: GroupId, index: Index, error: crate::store::StoreError) -> ApplyError {
    ApplyError::with_source(format!("group {group}: record {index} can't be applied"), error)
}
