//! Runs that are likely to change again soon, kept between apply calls so that their heads and steps are not read back from the disk.
//!
//! Bounded by the number of heads and steps, in two generations: what was not used while the young one filled up is dropped with the old one. That is
//! nearly as good as least-recently-used and costs no list. Dropping is invisible: everything in here is on disk, too.

use std::collections::HashMap;

use quorus_engine::RunUid;

use super::run::RunSlot;

/// Heads and steps kept per shard: at about 1 KiB each 2 MiB, for several hundred runs that go on at the same time.
pub(super) const WEIGHT_MAX: usize = 2048;

pub(super) struct RunCache {
    young: HashMap<RunUid, RunSlot>,
    young_weight: usize,
    old: HashMap<RunUid, RunSlot>,
    weight_max: usize,
}

impl RunCache {
    pub(super) fn new(weight_max: usize) -> Self {
        Self { young: HashMap::new(), young_weight: 0, old: HashMap::new(), weight_max }
    }

    /// Takes a run out, to change it.
    pub(super) fn take(&mut self, uid: RunUid) -> Option<RunSlot> {
        if let Some(slot) = self.young.remove(&uid) {
            self.young_weight -= slot.weight();
            return Some(slot);
        }
        self.old.remove(&uid)
    }

    /// Puts a run back, equal to the disk.
    pub(super) fn put(&mut self, mut slot: RunSlot) {
        let generation_max = self.weight_max / 2;
        if slot.weight() > generation_max {
            slot.forget_steps();
        }
        if self.young_weight + slot.weight() > generation_max {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        self.young_weight += slot.weight();
        self.young.insert(slot.uid, slot);
    }
}

#[cfg(test)]
mod tests {
    use quorus_engine::RunInfo;

    use super::*;

    fn slot(uid: u128) -> RunSlot {
        RunSlot::new(&RunInfo { uid: RunUid(uid), ..RunInfo::default() })
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let mut cache = RunCache::new(10);
        cache.put(slot(0));
        for uid in 1..100 {
            cache.put(slot(uid));
            let used = cache.take(RunUid(0)).expect("used all the time");
            cache.put(used);
            assert!(cache.young.len() + cache.old.len() <= 10);
        }
        assert!(cache.take(RunUid(1)).is_none(), "not used for long");
    }

    #[test]
    fn a_run_is_in_it_at_most_once() {
        let mut cache = RunCache::new(4);
        for uid in [1, 2, 3, 4, 5] {
            cache.put(slot(uid));
        }
        assert!(cache.take(RunUid(5)).is_some());
        assert!(cache.take(RunUid(5)).is_none());
    }
}
