//! The log and the vote of one replica.
//!
//! Appends and votes go through the one [`Writer`] in the order in which openraft makes them. An append returns as soon as its entries are readable (in
//! memory), and reports when they are synced. Truncating and purging are queued in the same order and need no sync: what depends on them is
//! later in the same write-ahead log.

use std::{io, ops::Bound, ops::ControlFlow, ops::RangeBounds, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;

use super::{
    StoreError,
    tail::{Tail, cost},
};
use crate::{
    GroupId, Index, Options, codec,
    disk::{Batch, Disk, Durability, Order, Table},
    keys::{self, Meta},
    types::{LogId, RaftEntry, Types, Vote},
    writer::Writer,
};

/// Up to so many keys are deleted one by one; a range tombstone slows down later reads.
const POINT_DELETES_MAX: u64 = 500;

/// The log and the vote of one replica; every clone reads the same.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    group: GroupId,
    disk: Arc<dyn Disk>,
    writer: Writer,
    read_bytes_max: usize,
    tail: Mutex<Tail>,
}

impl LogStore {
    /// Reads what is stored. The queue of the writer must hold nothing of this group.
    pub(crate) fn open(group: GroupId, disk: Arc<dyn Disk>, writer: Writer, options: &Options) -> Result<Self, StoreError> {
        let mut tail = Tail::new(options.log_cache_bytes);
        let meta = |kind| disk.get(Table::Meta, &keys::meta(group, kind));
        tail.vote = meta(Meta::Vote)?.map(|vote| codec::decode_vote(&vote)).transpose()?;
        tail.committed = meta(Meta::Committed)?.map(|id| codec::decode_log_id(&id)).transpose()?;
        if let Some(purged) = meta(Meta::Purged)? {
            tail.purge(codec::decode_log_id(&purged)?);
        }
        load_entries(group, disk.as_ref(), &mut tail)?;
        check(&tail)?;
        Ok(Self { shared: Arc::new(Shared { group, disk, writer, read_bytes_max: options.append_bytes_max, tail: Mutex::new(tail) }) })
    }
}

/// Reads the log, oldest first, and finds holes.
fn load_entries(group: GroupId, disk: &dyn Disk, tail: &mut Tail) -> Result<(), StoreError> {
    let mut problem = None;
    let purged = tail.purged;
    disk.scan(Table::Log, &keys::log(group, tail.first), &keys::log(group, Index::MAX), Order::Forward, &mut |key, value| {
        let result = read_entry(key, Bytes::copy_from_slice(value)).and_then(|entry| {
            let id = entry.log_id;
            let expected = if tail.is_empty() && purged.is_none() { id.index } else { tail.next };
            if id.index != expected {
                return Err(StoreError::Corrupt(format!("the log has a hole: entry {} follows {expected}", id.index)));
            }
            if tail.last.is_some_and(|last| last.leader_id > id.leader_id) {
                return Err(StoreError::Corrupt(format!("terms fall in the log at entry {}", id.index)));
            }
            if !tail.push(entry) {
                return Err(StoreError::Corrupt(format!("the log has a hole before entry {}", id.index)));
            }
            let (next, epoch) = (tail.next, tail.epoch());
            tail.mark_written(next, epoch);
            Ok(())
        });
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                problem = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    problem.map_or(Ok(()), Err)
}

/// What can't be, if nothing that was synced was lost.
fn check(tail: &Tail) -> Result<(), StoreError> {
    let term = tail.vote.map_or(0, |vote| vote.leader_id.term);
    if let Some(last) = tail.last
        && last.leader_id.term > term
    {
        return Err(StoreError::Corrupt(format!("the last entry {last} is of a later term than the vote, {term}")));
    }
    if let Some(committed) = tail.committed
        && tail.last.is_none_or(|last| last.index < committed.index)
    {
        let last = tail.last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
        return Err(StoreError::Corrupt(format!("the log ends at {last}, but {committed} was committed")));
    }
    Ok(())
}

fn read_entry(key: &[u8], value: Bytes) -> Result<RaftEntry, StoreError> {
    let index = keys::log_index(key).ok_or_else(|| StoreError::Corrupt("malformed key in the log".to_owned()))?;
    Ok(codec::decode_entry(index, value)?)
}

impl Shared {
    /// Entries from `from` to before `to`; fewer if they have more bytes than `bytes_max`, but at least one if there is one.
    fn read(&self, from: Index, to: Index, bytes_max: usize) -> Result<Vec<RaftEntry>, StoreError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let (from, to, cached_from) = {
            let tail = self.tail.lock();
            let (from, to) = (from.max(tail.first), to.min(tail.next));
            if from >= tail.cached_from() {
                tail.cached(from, to, bytes_max, &mut entries, &mut bytes);
                return Ok(entries);
            }
            (from, to, tail.cached_from())
        };
        let mut next = self.read_disk(from, to.min(cached_from), bytes_max, &mut entries, &mut bytes)?;
        if next == cached_from && next < to && bytes <= bytes_max {
            let tail = self.tail.lock();
            if tail.cached_from() <= next {
                tail.cached(next, to, bytes_max, &mut entries, &mut bytes);
            } else {
                // What was cached a moment ago is on disk by now.
                drop(tail);
                next = self.read_disk(next, to, bytes_max, &mut entries, &mut bytes)?;
                let _end = next;
            }
        }
        Ok(entries)
    }

    /// Reads from disk, and returns the index after the last entry that was read.
    fn read_disk(
        &self,
        from: Index,
        to: Index,
        bytes_max: usize,
        into: &mut Vec<RaftEntry>,
        bytes: &mut usize,
    ) -> Result<Index, StoreError> {
        let mut next = from;
        let mut problem = None;
        let (begin, end) = (keys::log(self.group, from), keys::log(self.group, to));
        self.disk.scan(Table::Log, &begin, &end, Order::Forward, &mut |key, value| {
            if *bytes > bytes_max {
                return ControlFlow::Break(());
            }
            match read_entry(key, Bytes::copy_from_slice(value)) {
                Ok(entry) if entry.log_id.index == next => {
                    next += 1;
                    *bytes += cost(&entry);
                    into.push(entry);
                    ControlFlow::Continue(())
                }
                Ok(entry) => {
                    problem = Some(StoreError::Corrupt(format!("the log has a hole: entry {} follows {next}", entry.log_id.index)));
                    ControlFlow::Break(())
                }
                Err(error) => {
                    problem = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if problem.is_none() && next < to && *bytes <= bytes_max {
            problem = Some(StoreError::Corrupt(format!("the log ends before entry {next}")));
        }
        match problem {
            // A purge or a truncation may have overtaken the read; then there is nothing wrong with what was not found.
            Some(error) if !self.moved(from, to) => Err(error),
            _ => Ok(next),
        }
    }

    fn moved(&self, from: Index, to: Index) -> bool {
        let tail = self.tail.lock();
        from < tail.first || to > tail.next
    }

    fn purge_batch(&self, first: Index, id: LogId) -> Batch {
        let mut batch = Batch::new();
        batch.put(Table::Meta, keys::meta(self.group, Meta::Purged), codec::encode_log_id(id));
        self.delete(first, id.index + 1, &mut batch);
        batch
    }

    fn delete(&self, from: Index, to: Index, batch: &mut Batch) {
        if to.saturating_sub(from) > POINT_DELETES_MAX {
            batch.delete_range(Table::Log, keys::log(self.group, from), keys::log(self.group, to));
        } else {
            for index in from..to {
                batch.delete(Table::Log, keys::log(self.group, index));
            }
        }
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + std::fmt::Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<RaftEntry>> {
        let (from, to) = ends(&range);
        Ok(self.shared.read(from, to, usize::MAX)?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        Ok(self.shared.read(start, end, self.shared.read_bytes_max)?)
    }

    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<RaftEntry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + std::fmt::Debug + OptionalSend,
    {
        // In pieces, since a replica that starts may have much to apply.
        let shared = Arc::clone(&self.shared);
        let (from, to) = ends(&range);
        let pieces = std::iter::successors(Some((from, Vec::new())), move |(next, _)| {
            let entries = shared.read(*next, to, shared.read_bytes_max).map_err(io::Error::from);
            match entries {
                Ok(entries) => {
                    let next = entries.last()?.log_id.index + 1;
                    Some((next, entries.into_iter().map(Ok).collect()))
                }
                Err(error) => Some((to, vec![Err(error)])),
            }
        });
        futures::stream::iter(pieces.flat_map(|(_, entries)| entries))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.tail.lock().vote)
    }
}

fn ends(range: &impl RangeBounds<u64>) -> (Index, Index) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(from) => from.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(to) => to.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => Index::MAX,
    };
    (from, to)
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let tail = self.shared.tail.lock();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let mut batch = Batch::new();
        batch.put(Table::Meta, keys::meta(self.shared.group, Meta::Vote), codec::encode_vote(vote));
        self.shared.writer.write(batch, Durability::Synced).await?;
        self.shared.tail.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        // Only saves time at the next start, so it is written along with the next append.
        let mut tail = self.shared.tail.lock();
        tail.committed = committed;
        tail.committed_unwritten = true;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.shared.tail.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let group = self.shared.group;
        let mut batch = Batch::new();
        let mut key_bytes = BytesMut::new();
        let (next, epoch) = {
            let mut tail = self.shared.tail.lock();
            for entry in entries {
                let id = entry.log_id;
                key_bytes.put_u32(group);
                key_bytes.put_u64(id.index);
                batch.put(Table::Log, key_bytes.split().freeze(), codec::encode_entry(&entry));
                if !tail.push(entry) {
                    return Err(StoreError::Corrupt(format!("entry {id} does not follow {:?}", tail.last)).into());
                }
            }
            if let Some(committed) = tail.committed
                && tail.committed_unwritten
                && tail.last.is_some_and(|last| last.index >= committed.index)
            {
                // After the entries it speaks of, and in the same batch: a start that finds it finds them.
                batch.put(Table::Meta, keys::meta(group, Meta::Committed), codec::encode_log_id(committed));
                tail.committed_unwritten = false;
            }
            (tail.next, tail.epoch())
        };
        let shared = Arc::clone(&self.shared);
        self.shared.writer.queue(batch, Durability::Synced, move |result| {
            if result.is_ok() {
                shared.tail.lock().mark_written(next, epoch);
            }
            callback.io_completed(result);
        });
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let mut batch = Batch::new();
        {
            let mut tail = self.shared.tail.lock();
            let from = last.map_or(0, |last| last.index + 1).max(tail.first);
            if from >= tail.next {
                return Ok(());
            }
            self.shared.delete(from, tail.next, &mut batch);
            tail.truncate(last);
        }
        self.shared.writer.queue_unsynced(batch);
        Ok(())
    }

    async fn purge(&mut self, id: LogId) -> io::Result<()> {
        let batch = {
            let mut tail = self.shared.tail.lock();
            if tail.purged.is_some_and(|purged| purged.index >= id.index) {
                return Ok(());
            }
            let batch = self.shared.purge_batch(tail.first, id);
            tail.purge(id);
            batch
        };
        self.shared.writer.queue_unsynced(batch);
        Ok(())
    }
}
