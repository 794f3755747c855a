//! What a shard's state says: the read side, used by API, leader and tests.
//!
//! Answers come from what is applied on this node; whether that is fresh enough is the caller's question (`Group::read_barrier`). Each call that
//! reads several keys reads them from one view, so an answer never mixes two moments.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use quorus_engine::{Event, Millis, RunHead, RunInfo, RunUid, SignalKey, SignalState, StepId, StepState, Timestamp};
use quorus_raft::{
    GroupId,
    disk::{Disk, View},
};

use super::{
    Epoch, Expired, ExpiryPage, OpenStep, PlaceEntry, Request, RunCount, RunCursor, RunPage, RunPlace, RunSummary, StoreError, Timer,
    TimerEntry, definition, discarded, epoch, expiry, head, history, id, info, list, open, payload,
    payload::Which,
    place::{self, Places},
    reader::Reader,
    request, signal, step, timer,
};
use crate::query::RunFilter;

/// Reads the state of one shard. Cheap to clone.
#[derive(Clone)]
pub struct ShardStore {
    disk: Arc<dyn Disk>,
    group: GroupId,
}

/// Everything about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedRun {
    /// What never changes, with the input.
    pub info: RunInfo,
    /// Where it stands, with the output.
    pub head: RunHead,
    /// The steps that have an entry.
    pub steps: BTreeMap<StepId, StepState>,
    /// The signals that it received.
    pub signals: BTreeMap<SignalKey, SignalState>,
}

impl LoadedRun {
    /// Digest of the definition that the run's plan is made from.
    pub fn digest(&self) -> &[u8; 32] {
        digest(&self.info, &self.head)
    }
}

/// Digest of the definition that a run's plan is made from: of the version that it was started with, unless it goes on with another.
pub fn digest<'a>(info: &'a RunInfo, head: &'a RunHead) -> &'a [u8; 32] {
    head.migrated.as_ref().map_or(&info.digest, |migrated| &migrated.digest)
}

impl ShardStore {
    /// The store of a group on a disk.
    pub fn new(disk: Arc<dyn Disk>, group: GroupId) -> Self {
        Self { disk, group }
    }

    /// Which group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The open leadership; `None` before the first.
    ///
    /// # Errors
    /// As all reads: if the disk fails, or holds what this version can't read.
    pub fn epoch(&self) -> Result<Option<Epoch>, StoreError> {
        epoch::get(self.disk(), self.group)
    }

    /// The newest run under an id.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn current_uid(&self, namespace: &str, run_id: &str) -> Result<Option<RunUid>, StoreError> {
        id::get(self.disk(), self.group, namespace, run_id)
    }

    /// What never changes about a run, with its input.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn run_info(&self, uid: RunUid) -> Result<Option<RunInfo>, StoreError> {
        read_info(self.disk(), self.group, uid)
    }

    /// Where a run stands, with its output.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn run_head(&self, uid: RunUid) -> Result<Option<RunHead>, StoreError> {
        read_head(&*self.view(), self.group, uid)
    }

    /// A run without its payloads and steps.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn run_summary(&self, uid: RunUid) -> Result<Option<RunSummary>, StoreError> {
        list::summary(&*self.view(), self.group, uid)
    }

    /// Where a step stands; `None` while it is pending.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn step(&self, uid: RunUid, id: &StepId) -> Result<Option<StepState>, StoreError> {
        step::get(self.disk(), self.group, uid, id)
    }

    /// Everything about a run.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn load_run(&self, uid: RunUid) -> Result<Option<LoadedRun>, StoreError> {
        let view = self.view();
        let Some(head) = read_head(&*view, self.group, uid)? else { return Ok(None) };
        let info = read_info(&*view, self.group, uid)?.ok_or(StoreError::Missing { what: "info", uid })?;
        let steps = step::all(&*view, self.group, uid)?;
        let signals = signal::all(&*view, self.group, uid)?;
        Ok(Some(LoadedRun { info, head, steps, signals }))
    }

    /// At most `limit` places that owe something to others and come after `after`, run by run.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn owed_after(&self, after: Option<&RunPlace>, limit: usize) -> Result<Vec<PlaceEntry>, StoreError> {
        place::page(&*self.view(), self.group, Places::Owed, after, limit)
    }

    /// At most `limit` steps that wait for a signal or for people and come after `after`, run by run.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn awaiting_after(&self, after: Option<&RunPlace>, limit: usize) -> Result<Vec<PlaceEntry>, StoreError> {
        place::page(&*self.view(), self.group, Places::Awaiting, after, limit)
    }

    /// At most `limit` places that come after `after` where there may be a dead letter: a run that needs attention, or an item that failed for good.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn dead_letters_after(&self, after: Option<&RunPlace>, limit: usize) -> Result<Vec<RunPlace>, StoreError> {
        let entries = place::page(&*self.view(), self.group, Places::DeadLetter, after, limit)?;
        Ok(entries.into_iter().map(|entry| entry.place).collect())
    }

    /// The generation of an item that was discarded as a dead letter, if any was.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn discarded_generation(&self, uid: RunUid, step: &StepId) -> Result<Option<u32>, StoreError> {
        discarded::get(self.disk(), self.group, uid, step)
    }

    /// The run that a request started, if it is remembered.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn request(&self, namespace: &str, run_id: &str, request_id: &str) -> Result<Option<Request>, StoreError> {
        request::get(self.disk(), self.group, namespace, run_id, request_id)
    }

    /// At most `limit` events of a run from a sequence on; the first is 1.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn history(&self, uid: RunUid, from_sequence: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        history::page(self.disk(), self.group, uid, from_sequence, limit)
    }

    /// At most `limit` timers that are due at `until` or before and come after `after`, earliest first.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn timers_after(&self, after: Option<&Timer>, until: Timestamp, limit: usize) -> Result<Vec<TimerEntry>, StoreError> {
        let view = self.view();
        let timers = timer::page(&*view, self.group, after, until, limit)?;
        timer::resolve(&*view, self.group, timers)
    }

    /// The first timer that is due later than `time`: how long to sleep.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn next_timer_after(&self, time: Timestamp) -> Result<Option<Timer>, StoreError> {
        timer::first_after(self.disk(), self.group, time)
    }

    /// Visits all queued and leased steps, run by run, as they were at one moment.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn open_steps(&self, visit: impl FnMut(OpenStep) -> ControlFlow<()>) -> Result<(), StoreError> {
        open::visit(&*self.view(), self.group, visit)
    }

    /// The definition with a digest: an encoded `v1.Workflow`.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn definition(&self, digest: &[u8; 32]) -> Result<Option<Bytes>, StoreError> {
        definition::get(self.disk(), self.group, digest)
    }

    /// At most `limit` runs that match and come after the cursor, newest first. Pages of several shards: [`RunPage::merge`].
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn list_runs(&self, filter: &RunFilter, after: Option<RunCursor>, limit: usize) -> Result<RunPage, StoreError> {
        list::page(&*self.view(), self.group, filter, after, limit)
    }

    /// Counts at most `max` runs that match and come after the cursor, by status. Reads a bounded part of the list: see [`RunCount::next`].
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn count_runs(&self, filter: &RunFilter, after: Option<RunCursor>, max: u64) -> Result<RunCount, StoreError> {
        list::count(&*self.view(), self.group, filter, after, max)
    }

    /// At most `limit` ended runs that are to be removed at `now`, behind `after`; those without a retention of their own are kept for `default`.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn expired_runs(&self, now: Timestamp, default: Millis, after: Option<&Expired>, limit: usize) -> Result<ExpiryPage, StoreError> {
        expiry::due(self.disk(), self.group, now, default, after, limit)
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    fn view(&self) -> Box<dyn View> {
        self.disk.view()
    }
}

fn read_info(reader: &(impl Reader + ?Sized), group: GroupId, uid: RunUid) -> Result<Option<RunInfo>, StoreError> {
    let Some(mut info) = info::get(reader, group, uid)? else { return Ok(None) };
    info.input = payload::get(reader, group, uid, Which::Input)?.unwrap_or_default();
    Ok(Some(info))
}

fn read_head(reader: &(impl Reader + ?Sized), group: GroupId, uid: RunUid) -> Result<Option<RunHead>, StoreError> {
    let Some((mut head, has_output)) = head::get(reader, group, uid)? else { return Ok(None) };
    if has_output {
        let output = payload::get(reader, group, uid, Which::Output)?;
        head.output = Some(output.ok_or(StoreError::Missing { what: "output", uid })?);
    }
    Ok(Some(head))
}
