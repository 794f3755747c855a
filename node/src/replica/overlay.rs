//! What the records of one apply call change, before it is written: later records see what earlier ones did.
//!
//! Everything is read at most once per call, folded in memory and written once, however many records touch it. History is written as it comes: the
//! bytes of the record.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use bytes::Bytes;
use quorus_engine::{Event, EventKind, RunInfo, RunUid, Timestamp, fold};
use quorus_mutants::{Mutant, active};
use quorus_proto::log;
use quorus_raft::disk::{Batch, Table};

use super::{
    BatchAnswer, RunChange,
    cache::RunCache,
    requests::{NewRequest, Requests},
    run::{Folding, RunSlot, write_info},
};
use crate::{
    codec::decode_event,
    store::{ShardStore, StoreError, definition, history, id},
};

/// What the records of one apply call change.
pub(super) struct Overlay<'a> {
    store: &'a ShardStore,
    cache: &'a mut RunCache,
    requests: &'a mut Requests,
    batch: &'a mut Batch,
    /// Runs that were read or started. `None`: there is no such run.
    runs: HashMap<RunUid, Option<RunSlot>>,
    /// Keys of `runs`, in the order in which they came, so that batches are the same on every replica.
    order: Vec<RunUid>,
    /// Changed entries of the id index, by key; `None` is removed.
    ids: HashMap<Bytes, Option<RunUid>>,
    /// Definitions that this call writes.
    definitions: HashSet<[u8; 32]>,
    changes: Vec<RunChange>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(store: &'a ShardStore, cache: &'a mut RunCache, requests: &'a mut Requests, batch: &'a mut Batch) -> Self {
        Self {
            store,
            cache,
            requests,
            batch,
            runs: HashMap::new(),
            order: Vec::new(),
            ids: HashMap::new(),
            definitions: HashSet::new(),
            changes: Vec::new(),
        }
    }

    /// Keeps a definition, once per shard.
    pub(super) fn define(&mut self, definition: log::StoredDefinition) -> Result<(), StoreError> {
        let Ok(digest) = <[u8; 32]>::try_from(definition.digest.as_ref()) else { return Ok(()) };
        if definition::get(self.store.disk(), self.store.group(), &digest)?.is_none() && self.definitions.insert(digest) {
            self.batch.put(Table::State, definition::key(self.store.group(), &digest), definition.workflow);
        }
        Ok(())
    }

    /// Folds a decision, if the run is where the decision assumed.
    pub(super) fn fold(&mut self, decision: log::RunBatch) -> Result<BatchAnswer, StoreError> {
        let Some(uid) = RunUid::from_bytes(&decision.run_uid) else { return Ok(BatchAnswer::Malformed) };
        if decision.expected_seq == 0 { self.start(uid, decision) } else { self.go_on(uid, decision) }
    }

    /// Removes an ended run, if it is where the proposer saw it. Its request stays, and its id is free unless a newer run has it.
    pub(super) fn purge(&mut self, purge: &log::PurgeRun) -> Result<BatchAnswer, StoreError> {
        let Some(uid) = RunUid::from_bytes(&purge.run_uid) else { return Ok(BatchAnswer::Malformed) };
        let store = self.store;
        match self.run(uid)? {
            Some(slot) if slot.head.seq == purge.expected_seq && slot.may_be_purged(store)? => {}
            _ => return Ok(BatchAnswer::StaleSequence),
        }
        let Some(Some(mut slot)) = self.runs.insert(uid, None) else { return Err(StoreError::Missing { what: "head", uid }) };
        slot.purge(self.store, self.batch)?;
        let listing = slot.listing(self.store)?;
        let key = id::key(self.store.group(), &listing.namespace, listing.run_id());
        if self.holder(&key, &listing.namespace, listing.run_id())? == Some(uid) {
            self.batch.delete(Table::State, key.clone());
            self.ids.insert(key, None);
        }
        Ok(BatchAnswer::Applied)
    }

    /// Notes that an item of a run that failed for good was settled otherwise.
    pub(super) fn discard(&mut self, discard: &log::DiscardDeadLetter) -> Result<BatchAnswer, StoreError> {
        let Some(uid) = RunUid::from_bytes(&discard.run_uid) else { return Ok(BatchAnswer::Malformed) };
        self.run(uid)?;
        let Some(Some(slot)) = self.runs.get_mut(&uid) else { return Ok(BatchAnswer::StaleSequence) };
        slot.discard(self.store, &discard.step.as_str().into(), discard.generation, self.batch);
        Ok(BatchAnswer::Applied)
    }

    /// Writes everything, and returns which runs changed.
    pub(super) fn finish(mut self) -> Result<Vec<RunChange>, StoreError> {
        for uid in self.order {
            let Some(Some(mut slot)) = self.runs.remove(&uid) else { continue };
            slot.write(self.store, self.batch)?;
            if slot.is_hot() {
                self.cache.put(slot);
            }
        }
        self.requests.write(self.batch);
        Ok(self.changes)
    }

    fn go_on(&mut self, uid: RunUid, decision: log::RunBatch) -> Result<BatchAnswer, StoreError> {
        if self.run(uid)?.is_none_or(|slot| slot.head.seq != decision.expected_seq) {
            return Ok(BatchAnswer::StaleSequence);
        }
        let events = decode(&decision.events)?;
        if events.iter().any(|event| matches!(event.kind, EventKind::RunStarted(_))) {
            return Ok(BatchAnswer::Malformed);
        }
        self.fold_events(uid, decision, &events)?;
        Ok(BatchAnswer::Applied)
    }

    fn start(&mut self, uid: RunUid, decision: log::RunBatch) -> Result<BatchAnswer, StoreError> {
        let events = decode(&decision.events)?;
        let Some(info) = started(uid, &decision, &events) else { return Ok(BatchAnswer::Malformed) };
        if !self.id_is_free(&decision)? {
            return Ok(BatchAnswer::IdTaken);
        }
        if self.run(uid)?.is_some() {
            return Ok(BatchAnswer::StaleSequence);
        }
        let key = id::key(self.store.group(), &info.namespace, &info.run_id);
        self.batch.put(Table::State, key.clone(), id::encode(uid));
        self.ids.insert(key, Some(uid));
        write_info(self.store.group(), info, self.batch);
        let RunInfo { namespace, run_id, request_id, .. } = info;
        let time = if active(Mutant::ReplicaDivergence) { own_time(events[0].time) } else { events[0].time };
        self.requests.remember(self.store, &NewRequest { namespace, run_id, request_id, uid, time })?;
        self.runs.insert(uid, Some(RunSlot::new(info)));
        self.fold_events(uid, decision, &events)?;
        Ok(BatchAnswer::Applied)
    }

    /// The id is held by the run that the start replaces, which has ended; or by nobody, if it replaces none.
    fn id_is_free(&mut self, decision: &log::RunBatch) -> Result<bool, StoreError> {
        let key = id::key(self.store.group(), &decision.namespace, &decision.run_id);
        match self.holder(&key, &decision.namespace, &decision.run_id)? {
            None => Ok(decision.replaces_uid.is_empty()),
            Some(holder) if RunUid::from_bytes(&decision.replaces_uid) == Some(holder) => {
                Ok(self.run(holder)?.is_none_or(|slot| slot.head.status.is_final()))
            }
            Some(_) => Ok(false),
        }
    }

    /// Who has a run id after the records so far.
    fn holder(&self, key: &Bytes, namespace: &str, run_id: &str) -> Result<Option<RunUid>, StoreError> {
        match self.ids.get(key) {
            Some(holder) => Ok(*holder),
            None => id::get(self.store.disk(), self.store.group(), namespace, run_id),
        }
    }

    fn fold_events(&mut self, uid: RunUid, decision: log::RunBatch, events: &[Event]) -> Result<(), StoreError> {
        let Some(Some(slot)) = self.runs.get_mut(&uid) else { return Err(StoreError::Missing { what: "head", uid }) };
        for event in events {
            if matches!(event.kind, EventKind::RunReopened { .. }) {
                slot.reopened(self.store.group(), self.batch);
            }
            fold(&mut Folding { store: self.store, slot }, event)?;
        }
        let log::RunBatch { namespace, run_id, request_ids, .. } = &decision;
        if let Some(time) = events.first().map(|event| event.time) {
            for request_id in request_ids {
                self.requests.remember(self.store, &NewRequest { namespace, run_id, request_id, uid, time })?;
            }
        }
        if slot.head.seq > decision.expected_seq {
            let key = history::key(self.store.group(), uid, slot.head.seq);
            self.batch.put(Table::State, key, history::encode(decision.events));
            self.changes.push(RunChange {
                namespace: decision.namespace,
                run_id: decision.run_id,
                uid,
                first_seq: decision.expected_seq + 1,
                last_seq: slot.head.seq,
                final_status: Some(slot.head.status).filter(|status| status.is_final()),
            });
        }
        Ok(())
    }

    /// The run as it is after the records so far.
    fn run(&mut self, uid: RunUid) -> Result<Option<&RunSlot>, StoreError> {
        let slot = match self.runs.entry(uid) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let slot = match self.cache.take(uid) {
                    Some(slot) => Some(slot),
                    None => RunSlot::load(self.store, uid)?,
                };
                self.order.push(uid);
                entry.insert(slot)
            }
        };
        Ok(slot.as_ref())
    }
}

/// A time that each replica takes from its own clock. Only for [`Mutant::ReplicaDivergence`].
fn own_time(recorded: Timestamp) -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(recorded.0 + i64::from(since.subsec_nanos()))
}

fn decode(events: &[Bytes]) -> Result<Vec<Event>, StoreError> {
    events.iter().map(|bytes| Ok(decode_event(bytes.clone())?)).collect()
}

/// What the first event of a start says, if the batch is one and agrees with it.
fn started<'e>(uid: RunUid, decision: &log::RunBatch, events: &'e [Event]) -> Option<&'e RunInfo> {
    let (first, rest) = events.split_first()?;
    let EventKind::RunStarted(info) = &first.kind else { return None };
    let agrees = info.uid == uid && info.namespace == decision.namespace && info.run_id == decision.run_id;
    let once = rest.iter().all(|event| !matches!(event.kind, EventKind::RunStarted(_)));
    (agrees && once).then_some(&**info)
}
