//! A shard on one disk, without Raft: entries are applied as a group would.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use prost::Message;
use quorus_proto::log;
use quorus_raft::{
    Entry, GroupId, Index, StateMachine,
    disk::{Batch, Disk, Durability, MemoryDisk},
};

use crate::{
    replica::{AppliedSink, RecordAnswer, RunChange, ShardReplica, state_digest},
    store::ShardStore,
};

pub(super) const GROUP: GroupId = 5;

pub(super) struct Shard {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) store: ShardStore,
    pub(super) replica: ShardReplica,
    pub(super) heard: Heard,
}

/// What the sink heard.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Vec<RunChange>>>);

impl AppliedSink for Heard {
    fn applied(&mut self, group: GroupId, _index: Index, changes: Vec<RunChange>) {
        assert_eq!(group, GROUP);
        self.0.lock().unwrap().extend(changes);
    }

    fn restored(&mut self, _group: GroupId) {
        self.0.lock().unwrap().clear();
    }
}

impl Heard {
    pub(super) fn changes(&self) -> Vec<RunChange> {
        self.0.lock().unwrap().clone()
    }
}

impl Shard {
    pub(super) fn new() -> Self {
        Self::on(Arc::new(MemoryDisk::new()))
    }

    pub(super) fn on(disk: Arc<dyn Disk>) -> Self {
        let heard = Heard::default();
        let replica = ShardReplica::new(disk.clone(), GROUP, Box::new(heard.clone()));
        Self { store: ShardStore::new(disk.clone(), GROUP), disk, replica, heard }
    }

    /// Applies entries in one call.
    pub(super) fn apply(&mut self, entries: &[Entry]) -> Vec<RecordAnswer> {
        let mut batch = Batch::new();
        let answers = self.replica.apply(entries, &mut batch).unwrap();
        self.disk.write(batch, Durability::Buffered).unwrap();
        if let Some(last) = entries.last() {
            self.replica.applied(last.index);
        }
        answers.iter().map(|bytes| RecordAnswer::decode(bytes).unwrap()).collect()
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        state_digest(&*self.disk, GROUP).unwrap()
    }
}

pub(super) fn entry(index: Index, record: &log::Record) -> Entry {
    Entry { index, term: record.term, record: Bytes::from(record.encode_to_vec()) }
}
