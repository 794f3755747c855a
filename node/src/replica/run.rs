//! A run while records change it: its head and the steps that were touched, read once, folded in memory, written once.
//!
//! Between apply calls it waits in the cache, with the steps that are likely to change next. What it holds always equals the disk, except within an
//! apply call.

mod purge;

use std::collections::{BTreeMap, HashMap, HashSet, btree_map, hash_map::Entry};

use bytes::Bytes;
use quorus_engine::{Payload, RunHead, RunInfo, RunUid, SignalKey, SignalState, StateMut, StepId, StepState};
use quorus_raft::{
    GroupId,
    disk::{Batch, Table},
};

use super::index::{HeadIndex, Listing, RunIndex, StepIndex};
use crate::{
    codec,
    store::{ShardStore, StoreError, head, info, payload, payload::Which, signal, step},
};

/// A step with more payload than this is not kept between apply calls: a cache counts entries, and large ones would make it large.
const KEPT_PAYLOAD_BYTES_MAX: usize = 4096;

/// How many steps of a run are remembered as having an entry: enough for most runs, and not much memory.
const KNOWN_STEPS_MAX: usize = 64;

/// A run while records change it.
pub(super) struct RunSlot {
    pub(super) uid: RunUid,
    pub(super) head: RunHead,
    /// What the disk says about the head.
    stored: StoredHead,
    head_touched: bool,
    /// What the list says about the run and never changes, once it was needed. Boxed, since most runs in the cache don't need it.
    listing: Option<Box<Listing>>,
    /// Boxed, since a small map has more room than entries, and an entry is large.
    steps: HashMap<StepId, Box<StepSlot>>,
    /// Keys of `steps` that differ from the disk, each once.
    touched: Vec<StepId>,
    /// Signals that differ from the disk. Not kept between apply calls: a signal changes twice at most.
    signals: BTreeMap<SignalKey, SignalState>,
    /// An item was discarded in this apply call.
    discarded: bool,
    /// All steps that have an entry, if that is known: then one that is not among them need not be looked for on the disk.
    known: Option<HashSet<StepId>>,
}

#[derive(Default)]
struct StoredHead {
    /// What the list says; `None` before the start.
    list: Option<RunIndex>,
    index: HeadIndex,
    has_output: bool,
}

struct StepSlot {
    state: StepState,
    /// What the indexes on disk say.
    stored: StepIndex,
    touched: bool,
}

impl RunSlot {
    /// A run that is being started.
    pub(super) fn new(info: &RunInfo) -> Self {
        Self {
            uid: info.uid,
            head: RunHead::default(),
            stored: StoredHead::default(),
            head_touched: false,
            listing: Some(Box::new(Listing::of(info))),
            steps: HashMap::new(),
            touched: Vec::new(),
            signals: BTreeMap::new(),
            discarded: false,
            known: Some(HashSet::new()),
        }
    }

    /// Reads a run's head; `None` if there is no such run.
    pub(super) fn load(store: &ShardStore, uid: RunUid) -> Result<Option<Self>, StoreError> {
        let Some((head, has_output)) = head::get(store.disk(), store.group(), uid)? else { return Ok(None) };
        let stored = StoredHead { list: Some(RunIndex::of(&head)), index: HeadIndex::of(&head), has_output };
        Ok(Some(Self {
            uid,
            head,
            stored,
            head_touched: false,
            listing: None,
            steps: HashMap::new(),
            touched: Vec::new(),
            signals: BTreeMap::new(),
            discarded: false,
            known: None,
        }))
    }

    /// How much it counts in the cache: a head or a step is 1, a remembered name less.
    pub(super) fn weight(&self) -> usize {
        1 + self.steps.len() + self.known.as_ref().map_or(0, HashSet::len) / 8
    }

    /// Forgets the steps, to weigh less.
    pub(super) fn forget_steps(&mut self) {
        self.steps.clear();
    }

    /// The run goes on after its end: what it returned counts no more.
    pub(super) fn reopened(&mut self, group: GroupId, batch: &mut Batch) {
        if std::mem::take(&mut self.stored.has_output) {
            batch.delete(Table::State, payload::key(group, self.uid, Which::Output));
        }
    }

    /// Worth keeping between apply calls: small, and not at its end.
    pub(super) fn is_hot(&self) -> bool {
        !self.head.status.is_final() && self.head.failure.is_none()
    }

    /// Writes what was touched, with the indexes, and makes itself equal to the disk again.
    pub(super) fn write(&mut self, store: &ShardStore, batch: &mut Batch) -> Result<(), StoreError> {
        let group = store.group();
        self.discarded = false;
        if self.head_touched {
            self.write_head(store, batch)?;
            self.head_touched = false;
        }
        for (key, state) in std::mem::take(&mut self.signals) {
            batch.put(Table::State, signal::key(group, self.uid, &key), codec::encode_signal(&state));
        }
        for id in std::mem::take(&mut self.touched) {
            let Some(slot) = self.steps.get_mut(&id) else { continue };
            batch.put(Table::State, step::key(group, self.uid, &id), codec::encode_step(&slot.state));
            let after = StepIndex::of(&id, &slot.state);
            slot.stored.write(after, group, self.uid, &id, batch);
            slot.stored = after;
            slot.touched = false;
            if slot.state.status.is_final() || !detach(&mut slot.state) {
                self.steps.remove(&id);
            }
        }
        Ok(())
    }

    fn write_head(&mut self, store: &ShardStore, batch: &mut Batch) -> Result<(), StoreError> {
        let group = store.group();
        if let Some(output) = self.head.output.take() {
            batch.put(Table::State, payload::key(group, self.uid, Which::Output), codec::encode_payload(&output));
            self.stored.has_output = true;
        }
        batch.put(Table::State, head::key(group, self.uid), codec::encode_head(&self.head, self.stored.has_output));
        let index = HeadIndex::of(&self.head);
        self.stored.index.write(index, group, self.uid, batch);
        self.stored.index = index;
        let list = RunIndex::of(&self.head);
        if self.stored.list.as_ref() != Some(&list) {
            let before = self.stored.list.take();
            let started_at = self.head.started_at;
            RunIndex::write(before.as_ref(), Some(&list), self.listing(store)?, started_at, group, batch);
            self.stored.list = Some(list);
        }
        Ok(())
    }

    /// What the list says about the run and never changes.
    pub(super) fn listing(&mut self, store: &ShardStore) -> Result<&Listing, StoreError> {
        let listing = match self.listing.take() {
            Some(listing) => listing,
            None => {
                let info = info::get(store.disk(), store.group(), self.uid)?;
                Box::new(Listing::of(&info.ok_or(StoreError::Missing { what: "info", uid: self.uid })?))
            }
        };
        Ok(self.listing.insert(listing))
    }
}

/// A run as the engine folds it: entries are read from the store when they are touched first.
pub(super) struct Folding<'a> {
    pub(super) store: &'a ShardStore,
    pub(super) slot: &'a mut RunSlot,
}

impl StateMut for Folding<'_> {
    type Error = StoreError;

    fn head(&mut self) -> Result<&mut RunHead, StoreError> {
        self.slot.head_touched = true;
        Ok(&mut self.slot.head)
    }

    fn step(&mut self, id: &StepId) -> Result<&mut StepState, StoreError> {
        let RunSlot { uid, steps, touched, known, .. } = &mut *self.slot;
        let slot = match steps.entry(id.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let is_new = known.as_mut().is_some_and(|known| known.insert(id.clone()));
                if known.as_ref().is_some_and(|known| known.len() > KNOWN_STEPS_MAX) {
                    *known = None;
                }
                let stored = if is_new { None } else { step::get(self.store.disk(), self.store.group(), *uid, id)? };
                let state = stored.unwrap_or_default();
                entry.insert(Box::new(StepSlot { stored: StepIndex::of(id, &state), state, touched: false }))
            }
        };
        if !slot.touched {
            slot.touched = true;
            touched.push(id.clone());
        }
        Ok(&mut slot.state)
    }

    fn signal(&mut self, key: &SignalKey) -> Result<&mut SignalState, StoreError> {
        let RunSlot { uid, signals, .. } = &mut *self.slot;
        Ok(match signals.entry(key.clone()) {
            btree_map::Entry::Occupied(entry) => entry.into_mut(),
            btree_map::Entry::Vacant(entry) => {
                let stored = signal::get(self.store.disk(), self.store.group(), *uid, key)?;
                entry.insert(stored.unwrap_or_default())
            }
        })
    }
}

/// Writes what never changes about a run that is being started.
pub(super) fn write_info(group: GroupId, run: &RunInfo, batch: &mut Batch) {
    batch.put(Table::State, info::key(group, run.uid), codec::encode_info_without_input(run));
    if run.input != Payload::default() {
        batch.put(Table::State, payload::key(group, run.uid, Which::Input), codec::encode_payload(&run.input));
    }
}

/// Copies the payloads out of the record that they are slices of, so that a small step does not keep a large record in memory. Returns false if they
/// are too large to be worth it.
fn detach(step: &mut StepState) -> bool {
    let details = step.failure.as_mut().and_then(|failure| failure.details.as_mut());
    let of_scope = step.scope.as_mut().and_then(|scope| scope.failure.as_mut()).and_then(|failure| failure.details.as_mut());
    let payloads = [step.input.as_mut(), step.checkpoint.as_mut(), step.output.as_mut(), details, of_scope];
    let mut bytes = 0;
    for payload in payloads.into_iter().flatten() {
        bytes += payload.data.len();
        if bytes > KEPT_PAYLOAD_BYTES_MAX {
            return false;
        }
        if !payload.data.is_unique() {
            payload.data = Bytes::copy_from_slice(&payload.data);
        }
    }
    true
}
