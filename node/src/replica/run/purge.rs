//! The removal of a run that ended and owes nothing to anybody.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorus_engine::StepId;
use quorus_raft::disk::{Batch, Table};

use super::RunSlot;
use crate::{
    replica::index::RunIndex,
    store::{
        ShardStore, StoreError, discarded, head, history, info, payload,
        payload::Which,
        place::{self, Places},
        reader::Reader,
        signal, step,
    },
};

/// A run with at most so many keys of a family is removed key by key, a larger one by range. Each range that was deleted costs every later read of the
/// table a little until it is compacted away, so ranges are for the runs that would fill a batch (measured: see docs/operations.md, "Retention").
const PURGED_BY_KEY_MAX: usize = 1_000;

impl RunSlot {
    /// Notes that somebody settled an item that failed for good.
    pub(in crate::replica) fn discard(&mut self, store: &ShardStore, step: &StepId, generation: u32, batch: &mut Batch) {
        self.discarded = true;
        batch.put(Table::State, discarded::key(store.group(), self.uid, step), discarded::encode(generation));
    }

    /// True for a run that ended and owes nothing to others: nobody waits to hear of it, and nothing that it began goes on elsewhere.
    pub(in crate::replica) fn may_be_purged(&self, store: &ShardStore) -> Result<bool, StoreError> {
        if !self.head.status.is_final() || self.head.owes().next().is_some() {
            return Ok(false);
        }
        // Steps that were folded in this apply call are as they are here, whatever the disk says.
        if self.touched.iter().filter_map(|id| self.steps.get(id)).any(|slot| slot.state.owes().is_some()) {
            return Ok(false);
        }
        let mut owes = false;
        store.disk().visit(&place::range_of_run(store.group(), Places::Owed, self.uid), |key, _| {
            let step = place::parse(key)?.step;
            owes = step.is_some_and(|step| self.steps.get(&step).is_none_or(|slot| !slot.touched));
            Ok(if owes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(!owes)
    }

    /// Removes everything about the run but its id and its request. The caller forgets the slot.
    pub(in crate::replica) fn purge(&mut self, store: &ShardStore, batch: &mut Batch) -> Result<(), StoreError> {
        // What was folded in this apply call is in the batch only, where no scan of the disk finds it: written out, then removed by range.
        let folded = self.head_touched || !self.touched.is_empty() || !self.signals.is_empty() || self.discarded;
        self.write(store, batch)?;
        let (group, uid, started_at) = (store.group(), self.uid, self.head.started_at);
        let list = self.stored.list.take();
        RunIndex::write(list.as_ref(), None, self.listing(store)?, started_at, group, batch);
        for key in [info::key(group, uid), head::key(group, uid)] {
            batch.delete(Table::State, key);
        }
        for which in [Which::Input, Which::Output] {
            batch.delete(Table::State, payload::key(group, uid, which));
        }
        // A run that ended has neither timers nor open steps; what it may have are items that failed for good.
        let dead_letters = place::range_of_run(group, Places::DeadLetter, uid);
        let discarded = discarded::range(group, uid);
        for range in [step::range(group, uid), history::range(group, uid), signal::range(group, uid), dead_letters, discarded] {
            let mut keys = Vec::new();
            if !folded {
                store.disk().visit(&range, |key, _| {
                    keys.push(Bytes::copy_from_slice(key));
                    Ok(if keys.len() <= PURGED_BY_KEY_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
                })?;
            }
            if folded || keys.len() > PURGED_BY_KEY_MAX {
                batch.delete_range(Table::State, range.0, range.1);
            } else {
                keys.into_iter().for_each(|key| batch.delete(Table::State, key));
            }
        }
        Ok(())
    }
}
