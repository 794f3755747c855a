//! The state of one replica: the state machine of the node, and how far it is.
//!
//! Applies are not synced: the log is. The applied index is in the same batch as the changes, so after a crash the state is that of some earlier entry, and
//! the entries after it are applied again.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    StoreError,
    snapshot::{self, SnapshotBuilder, SnapshotData},
};
use crate::{
    ApplyError, Entry, GroupId, Index, StateMachine, codec,
    disk::{Batch, Disk, Durability, Table},
    keys::{self, Meta},
    types::{LogId, Snapshot, SnapshotMeta, StoredMembership, Types},
    writer::Alarm,
};

/// Entries that are applied with one batch.
const BATCH_ENTRIES_MAX: usize = 512;

/// Bytes of records that are applied with one batch, about.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What outlives a restart of the Raft core: the state machine, and what watchers see.
pub(crate) struct StateShared {
    group: GroupId,
    disk: Arc<dyn Disk>,
    alarm: Alarm,
    machine: Mutex<Box<dyn StateMachine>>,
    applied: watch::Sender<Index>,
    /// Counts openings. A core that was given up may still have a batch in hand; it is of an earlier one, and must not apply it.
    generation: AtomicU64,
}

impl StateShared {
    pub(crate) fn new(group: GroupId, disk: Arc<dyn Disk>, alarm: Alarm, machine: Box<dyn StateMachine>) -> Arc<Self> {
        Arc::new(Self { group, disk, alarm, machine: Mutex::new(machine), applied: watch::Sender::new(0), generation: AtomicU64::new(0) })
    }

    pub(crate) fn applied(&self) -> watch::Receiver<Index> {
        self.applied.subscribe()
    }

    /// Stages what arrives for a snapshot.
    pub(crate) fn stage(&self, chunk: Bytes) -> Result<(), StoreError> {
        self.check(snapshot::stage_chunk(self.group, self.disk.as_ref(), chunk))
    }

    pub(crate) fn clear_staging(&self) -> Result<(), StoreError> {
        self.check(snapshot::clear_staging(self.group, self.disk.as_ref()).map_err(StoreError::from))
    }

    /// After a failed write, nothing may be written any more.
    fn check<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Disk(error)) = &result {
            self.alarm.raise(error);
        }
        result
    }
}

/// The state of one replica, as one Raft core sees it.
pub(crate) struct StateStore {
    shared: Arc<StateShared>,
    generation: u64,
    last: Option<LogId>,
    membership: StoredMembership,
}

impl StateStore {
    /// Reads how far the state is. Any store that was opened before stops working.
    pub(crate) fn open(shared: &Arc<StateShared>) -> Result<Self, StoreError> {
        let mut machine = shared.machine.lock();
        let generation = shared.generation.fetch_add(1, Ordering::SeqCst) + 1;
        shared.check(snapshot::recover_install(shared.group, shared.disk.as_ref()))?;
        let (last, membership) = match shared.disk.get(Table::Meta, &keys::meta(shared.group, Meta::Applied))? {
            Some(applied) => codec::decode_applied(&applied)?,
            None => (None, StoredMembership::default()),
        };
        machine.restored().map_err(|error| StoreError::Corrupt(error.to_string()))?;
        shared.applied.send_replace(last.map_or(0, |last| last.index));
        drop(machine);
        Ok(Self { shared: Arc::clone(shared), generation, last, membership })
    }

    /// Applies entries that follow each other, and answers them.
    fn apply_batch(&mut self, entries: &mut Vec<EntryResponder<Types>>) -> Result<(), StoreError> {
        let Some(last) = entries.last().map(|(entry, _)| entry.log_id) else { return Ok(()) };
        let mut records = Vec::with_capacity(entries.len());
        let mut answering: Vec<(Option<ApplyResponder<Types>>, bool)> = Vec::with_capacity(entries.len());
        for (entry, responder) in entries.drain(..) {
            let id = entry.log_id;
            let is_record = match entry.payload {
                EntryPayload::Blank => false,
                EntryPayload::Normal(record) => {
                    records.push(Entry { index: id.index, term: id.leader_id.term, record: record.record() });
                    true
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(id), membership);
                    false
                }
            };
            answering.push((responder, is_record));
        }
        let answers = self.fold(&records, last)?;
        let mut answers = answers.into_iter();
        for (responder, is_record) in answering {
            let answer = if is_record { answers.next().unwrap_or_default() } else { Bytes::new() };
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    fn fold(&mut self, records: &[Entry], last: LogId) -> Result<Vec<Bytes>, StoreError> {
        let shared = &self.shared;
        let mut machine = shared.machine.lock();
        if shared.generation.load(Ordering::SeqCst) != self.generation {
            return Err(StoreError::Corrupt("the group was opened again".to_owned()));
        }
        let mut batch = Batch::new();
        let answers = if records.is_empty() {
            Vec::new()
        } else {
            // A panic is caught, since openraft would wait for ever for a worker that is gone. What the machine thinks afterwards does not matter: it
            // is told to forget it when the group is opened again.
            let applied = catch_unwind(AssertUnwindSafe(|| machine.apply(records, &mut batch)));
            applied.unwrap_or_else(|_| Err(ApplyError::new("the state machine panicked"))).map_err(|error| {
                tracing::error!(group = shared.group, %last, %error, source = ?std::error::Error::source(&error), "cannot apply");
                StoreError::Corrupt(error.to_string())
            })?
        };
        if answers.len() != records.len() {
            return Err(StoreError::Corrupt(format!("{} answers to {} records", answers.len(), records.len())));
        }
        batch.put(Table::Meta, keys::meta(shared.group, Meta::Applied), codec::encode_applied(Some(last), &self.membership));
        shared.check(shared.disk.write(batch, Durability::Buffered).map_err(StoreError::from))?;
        self.last = Some(last);
        machine.applied(last.index);
        drop(machine);
        shared.applied.send_replace(last.index);
        Ok(answers)
    }
}

impl RaftStateMachine<Types> for StateStore {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(item) = entries.next().await {
            let item = item?;
            if let EntryPayload::Normal(record) = &item.0.payload {
                bytes += record.encoded().len();
            }
            batch.push(item);
            if batch.len() >= BATCH_ENTRIES_MAX || bytes >= BATCH_BYTES_MAX {
                self.apply_batch(&mut batch)?;
                bytes = 0;
            }
        }
        self.apply_batch(&mut batch)?;
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder::new(self.shared.group, self.shared.disk.as_ref())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut machine = shared.machine.lock();
        if shared.generation.load(Ordering::SeqCst) != self.generation {
            return Err(StoreError::Corrupt("the group was opened again".to_owned()).into());
        }
        let guard = match data {
            SnapshotData::Staged(guard) => Some(guard),
            SnapshotData::View(mut view) => {
                shared.clear_staging()?;
                while let Some(chunk) = view.next_chunk().map_err(StoreError::from)? {
                    shared.stage(chunk)?;
                }
                None
            }
        };
        let applied = codec::encode_applied(meta.last_log_id, &meta.last_membership);
        shared.check(snapshot::install_staged(shared.group, shared.disk.as_ref(), applied))?;
        drop(guard);
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        machine.restored().map_err(|error| StoreError::Corrupt(error.to_string()))?;
        drop(machine);
        shared.applied.send_replace(self.last.map_or(0, |last| last.index));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        if self.last.is_none() {
            return Ok(None);
        }
        Ok(Some(SnapshotBuilder::new(self.shared.group, self.shared.disk.as_ref()).build()?))
    }
}
