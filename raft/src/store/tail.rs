//! The log in memory: where it begins and ends, and its recent entries.
//!
//! The log is `[first, next)`. The cache holds its end, `[next - cache.len(), next)`.
//! Invariant: whatever is not written to disk yet is in the cache, so that a read finds every entry from the moment it is appended.

use std::collections::VecDeque;

use openraft::EntryPayload;

use crate::{
    Index,
    types::{LogId, RaftEntry, Vote},
};

/// About what an entry costs beside its record.
const ENTRY_COST: usize = 96;

#[derive(Default)]
pub(super) struct Tail {
    pub(super) vote: Option<Vote>,
    /// Last entry that was purged.
    pub(super) purged: Option<LogId>,
    /// The last entry; the last purged one if the log is empty.
    pub(super) last: Option<LogId>,
    /// The last entry known to be committed.
    pub(super) committed: Option<LogId>,
    /// `committed` has changed since it was last written.
    pub(super) committed_unwritten: bool,
    pub(super) first: Index,
    pub(super) next: Index,
    cache: VecDeque<RaftEntry>,
    cache_bytes: usize,
    cache_bytes_max: usize,
    /// Entries before this index are on disk.
    written: Index,
    /// Counts truncations: what an append wrote counts only if nothing was cut off since it was queued.
    epoch: u64,
}

impl Tail {
    pub(super) fn new(cache_bytes_max: usize) -> Self {
        Self { cache_bytes_max, ..Self::default() }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// First index that is in memory.
    pub(super) fn cached_from(&self) -> Index {
        self.next - self.cache.len() as u64
    }

    /// Adds an entry at the end. `false` if it does not follow the last one.
    #[must_use]
    pub(super) fn push(&mut self, entry: RaftEntry) -> bool {
        let index = entry.log_id.index;
        if self.is_empty() && index >= self.next {
            // The first entry of a new log, or the first one after a snapshot.
            self.first = index;
            self.next = index;
        }
        if index != self.next {
            return false;
        }
        self.next += 1;
        self.last = Some(entry.log_id);
        self.cache_bytes += cost(&entry);
        self.cache.push_back(entry);
        true
    }

    /// Everything before `until` is on disk, if the log was not cut since `epoch`.
    pub(super) fn mark_written(&mut self, until: Index, epoch: u64) {
        if epoch == self.epoch {
            self.written = self.written.max(until);
        }
        self.evict();
    }

    fn evict(&mut self) {
        while self.cache_bytes > self.cache_bytes_max && self.cached_from() < self.written {
            match self.cache.pop_front() {
                Some(entry) => self.cache_bytes -= cost(&entry),
                None => break,
            }
        }
    }

    /// Cuts off everything after `last`, which is in the log, or was purged.
    pub(super) fn truncate(&mut self, last: Option<LogId>) {
        let next = last.map_or(0, |last| last.index + 1).max(self.first);
        self.epoch += 1;
        while self.next > next {
            self.next -= 1;
            if let Some(entry) = self.cache.pop_back() {
                self.cache_bytes -= cost(&entry);
            }
        }
        self.written = self.written.min(self.next);
        self.last = if self.is_empty() { self.purged } else { last };
    }

    /// Forgets everything up to `id`, which may be after the last entry.
    pub(super) fn purge(&mut self, id: LogId) {
        let first = id.index + 1;
        while self.cached_from() < first {
            match self.cache.pop_front() {
                Some(entry) => self.cache_bytes -= cost(&entry),
                None => break,
            }
        }
        self.purged = Some(id);
        self.first = self.first.max(first);
        if self.next <= self.first {
            // Nothing is left; and nothing that is still being written counts for what comes next.
            self.next = self.first;
            self.last = Some(id);
            self.epoch += 1;
        }
        self.written = self.written.max(self.first);
    }

    /// Copies the cached entries from `from` on, until `to` or until there are more bytes than `bytes_max`; at least one, if there is one.
    pub(super) fn cached(&self, from: Index, to: Index, bytes_max: usize, into: &mut Vec<RaftEntry>, bytes: &mut usize) {
        let skip = from.saturating_sub(self.cached_from()) as usize;
        let take = to.saturating_sub(from) as usize;
        for entry in self.cache.iter().skip(skip).take(take) {
            if *bytes > bytes_max {
                return;
            }
            *bytes += cost(entry);
            into.push(entry.clone());
        }
    }
}

/// About how many bytes an entry takes.
pub(super) fn cost(entry: &RaftEntry) -> usize {
    ENTRY_COST
        + match &entry.payload {
            EntryPayload::Normal(record) => record.encoded().len(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        }
}
