//! Request ids of starts and changes: remembered for 7 days of recorded time, then purged a few at a time.
//!
//! Invariants: each entry has exactly one key by age, so that a purge never removes an entry that was renewed; what is purged depends only on the state
//! and the time in the event, not on how entries are grouped into apply calls.

use std::{collections::BTreeMap, ops::ControlFlow};

use bytes::Bytes;
use quorus_engine::{RunUid, Timestamp};
use quorus_raft::disk::{Batch, Table};

use crate::store::{REQUEST_KEPT, Request, ShardStore, StoreError, reader::Reader, request};

/// Each request adds one entry, so purging up to so many keeps the index from growing, and the cost of a request small.
const PURGED_PER_REQUEST_MAX: usize = 4;

/// A request that started or changed a run.
pub(super) struct NewRequest<'a> {
    pub(super) namespace: &'a str,
    pub(super) run_id: &'a str,
    /// Empty: it had none.
    pub(super) request_id: &'a str,
    pub(super) uid: RunUid,
    /// Of the event that it led to.
    pub(super) time: Timestamp,
}

/// The request index while records change it.
#[derive(Default)]
pub(super) struct Requests {
    /// No entry on disk or in `ages` is older; `None` while not known. Saves a scan per start.
    oldest_bound: Option<Timestamp>,
    /// By key: the entry, or its removal.
    entries: BTreeMap<Bytes, Option<Request>>,
    /// By age key: there, or removed.
    ages: BTreeMap<Bytes, bool>,
}

impl Requests {
    /// Remembers a request, if it has an id, and forgets some old ones.
    pub(super) fn remember(&mut self, store: &ShardStore, request: &NewRequest<'_>) -> Result<(), StoreError> {
        let time = request.time;
        if !request.request_id.is_empty() {
            self.insert(store, request)?;
        }
        self.purge(store, Timestamp(time.0.saturating_sub_unsigned(REQUEST_KEPT.0)))
    }

    /// Writes what changed.
    pub(super) fn write(&mut self, batch: &mut Batch) {
        for (key, entry) in std::mem::take(&mut self.entries) {
            match entry {
                Some(entry) => batch.put(Table::State, key, request::encode(entry)),
                None => batch.delete(Table::State, key),
            }
        }
        for (key, present) in std::mem::take(&mut self.ages) {
            if present {
                batch.put(Table::State, key, Bytes::new());
            } else {
                batch.delete(Table::State, key);
            }
        }
    }

    fn insert(&mut self, store: &ShardStore, request: &NewRequest<'_>) -> Result<(), StoreError> {
        let &NewRequest { namespace, run_id, request_id, uid, time } = request;
        let group = store.group();
        let key = request::key(group, namespace, run_id, request_id);
        let before = match self.entries.get(&key) {
            Some(entry) => *entry,
            None => request::get(store.disk(), group, namespace, run_id, request_id)?,
        };
        if let Some(before) = before {
            self.ages.insert(request::age_key(group, before.time, namespace, run_id, request_id), false);
        }
        self.ages.insert(request::age_key(group, time, namespace, run_id, request_id), true);
        self.entries.insert(key, Some(Request { uid, time }));
        if let Some(bound) = &mut self.oldest_bound {
            *bound = time.min(*bound);
        }
        Ok(())
    }

    fn purge(&mut self, store: &ShardStore, cutoff: Timestamp) -> Result<(), StoreError> {
        if self.oldest_bound.is_some_and(|bound| bound >= cutoff) {
            return Ok(());
        }
        let group = store.group();
        let mut oldest: Vec<Bytes> = Vec::new();
        store.disk().visit(&request::age_range(group), |key, _| {
            if !self.ages.contains_key(key) {
                oldest.push(Bytes::copy_from_slice(key));
            }
            Ok(if oldest.len() <= PURGED_PER_REQUEST_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        oldest.extend(self.ages.iter().filter(|(_, present)| **present).map(|(key, _)| key.clone()).take(PURGED_PER_REQUEST_MAX + 1));
        oldest.sort();

        // One more than may be purged was looked at: the first that stays is the oldest.
        self.oldest_bound = Some(Timestamp(i64::MAX));
        for (position, age_key) in oldest.into_iter().enumerate() {
            let (time, key) = request::parse_age_key(group, &age_key)?;
            if position == PURGED_PER_REQUEST_MAX || time >= cutoff {
                self.oldest_bound = Some(time);
                break;
            }
            self.ages.insert(age_key, false);
            self.entries.insert(key, None);
        }
        Ok(())
    }
}
