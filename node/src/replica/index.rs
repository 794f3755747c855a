//! What the indexes say about a run, as a function of its state, and how they follow when the state changes.
//!
//! Invariant: an index equals what this module derives from all heads and steps. So a change needs no reading of the index: the entries before are
//! derived from the state before.

use bytes::Bytes;
use quorus_engine::{Millis, RunHead, RunInfo, RunStatus, RunUid, StepId, StepState, StepStatus, TimerKind, Timestamp};
use quorus_raft::{
    GroupId,
    disk::{Batch, Table},
};

use crate::{
    query::RunRow,
    store::{
        Timer, expiry, list,
        listed::Source,
        open,
        place::{self, Places},
        timer,
    },
};

/// Each has its place in [`StepIndex::timers`].
const STEP_TIMERS: [TimerKind; 3] = [TimerKind::Due, TimerKind::StepTimeout, TimerKind::CancelGrace];

/// Each has its place in [`HeadIndex::timers`].
const RUN_TIMERS: [TimerKind; 3] = [TimerKind::RunTimeout, TimerKind::CompensationTimeout, TimerKind::SlotTimeout];

/// The index entries of a run itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HeadIndex {
    /// Owes something to others.
    owes: bool,
    /// Needs attention.
    attention: bool,
    timers: [Option<Timestamp>; RUN_TIMERS.len()],
}

impl HeadIndex {
    pub(super) fn of(head: &RunHead) -> Self {
        Self {
            owes: head.owes().next().is_some(),
            attention: head.status == RunStatus::NeedsAttention,
            timers: places_of(RUN_TIMERS, head.timers()),
        }
    }

    /// Makes the indexes follow a run from `self` to `after`.
    pub(super) fn write(self, after: Self, group: GroupId, uid: RunUid, batch: &mut Batch) {
        move_place(place::key(group, Places::Owed, uid, None), self.owes, after.owes, batch);
        move_place(place::key(group, Places::DeadLetter, uid, None), self.attention, after.attention, batch);
        for ((kind, before), after) in RUN_TIMERS.into_iter().zip(self.timers).zip(after.timers) {
            move_timer(group, uid, kind, None, before, after, batch);
        }
    }
}

/// The index entries of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StepIndex {
    /// Queued or leased.
    open: bool,
    /// Waits for a signal or for people.
    awaiting: bool,
    /// Owes something to others.
    owes: bool,
    /// An item that failed for good, without which its `for_each` goes on.
    dead_letter: bool,
    timers: [Option<Timestamp>; STEP_TIMERS.len()],
}

impl StepIndex {
    pub(super) fn of(id: &StepId, step: &StepState) -> Self {
        Self {
            open: is_open(step),
            awaiting: step.status == StepStatus::Awaiting,
            owes: step.owes().is_some(),
            dead_letter: step.handled && step.status == StepStatus::Failed && id.as_item().is_some(),
            timers: places_of(STEP_TIMERS, step.timers()),
        }
    }

    /// Makes the indexes follow a step from `self` to `after`.
    pub(super) fn write(self, after: Self, group: GroupId, uid: RunUid, step: &StepId, batch: &mut Batch) {
        move_place(open::key(group, uid, step), self.open, after.open, batch);
        move_place(place::key(group, Places::Awaiting, uid, Some(step)), self.awaiting, after.awaiting, batch);
        move_place(place::key(group, Places::Owed, uid, Some(step)), self.owes, after.owes, batch);
        move_place(place::key(group, Places::DeadLetter, uid, Some(step)), self.dead_letter, after.dead_letter, batch);
        for ((kind, before), after) in STEP_TIMERS.into_iter().zip(self.timers).zip(after.timers) {
            move_timer(group, uid, kind, Some(step), before, after, batch);
        }
    }
}

/// What the indexes say about a run itself; a change of anything here is a change of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunIndex {
    status: RunStatus,
    ended_at: Option<Timestamp>,
    error_type: String,
    /// The version that it went on with, if that is another one than it was started with.
    version: Option<u64>,
}

/// What the indexes say about a run and never changes.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub(super) namespace: String,
    /// Changing parts are empty.
    row: RunRow,
    retention: Option<Millis>,
}

impl Listing {
    pub(super) fn of(info: &RunInfo) -> Self {
        Self { namespace: info.namespace.clone(), row: list::row_of(info, &RunHead::default()), retention: info.retention }
    }

    pub(super) fn run_id(&self) -> &str {
        &self.row.run_id
    }
}

impl RunIndex {
    pub(super) fn of(head: &RunHead) -> Self {
        let error_type = head.failure.as_ref().map(|failure| failure.kind.clone()).unwrap_or_default();
        let version = head.migrated.as_ref().map(|migrated| migrated.version);
        Self { status: head.status, ended_at: head.ended_at, error_type, version }
    }

    /// Makes the indexes follow a run; `before` is `None` at its start, `after` when it is removed. The start never changes.
    pub(super) fn write(
        before: Option<&Self>,
        after: Option<&Self>,
        listing: &Listing,
        started_at: Timestamp,
        group: GroupId,
        batch: &mut Batch,
    ) {
        let uid = listing.row.uid;
        let key = |source: Source<'_>| source.key(group, &listing.namespace, started_at, uid);
        match after {
            Some(Self { status, ended_at, error_type, version }) => {
                let (error_type, version) = (error_type.clone(), version.unwrap_or(listing.row.version));
                let row = RunRow { status: *status, ended_at: *ended_at, error_type, version, started_at, ..listing.row.clone() };
                batch.put(Table::State, key(Source::List), list::encode(&row));
            }
            None => batch.delete(Table::State, key(Source::List)),
        }
        move_place(key(Source::Workflow(&listing.row.workflow)), before.is_some(), after.is_some(), batch);
        let is_open = |index: Option<&Self>| index.is_some_and(|index| !index.status.is_final());
        move_place(key(Source::Open), is_open(before), is_open(after), batch);
        let expiry = |index: Option<&Self>| {
            let ended_at = index.filter(|index| index.status.is_final())?.ended_at?;
            Some(expiry::key(group, ended_at, listing.retention, uid))
        };
        let (before, after) = (expiry(before), expiry(after));
        if before != after {
            if let Some(key) = before {
                batch.delete(Table::State, key);
            }
            if let Some(key) = after {
                batch.put(Table::State, key, Bytes::new());
            }
        }
    }
}

/// In the index of open steps: what a dispatcher has to know.
pub(super) fn is_open(step: &StepState) -> bool {
    matches!(step.status, StepStatus::Queued | StepStatus::Leased)
}

/// Timers in the places of their kinds.
fn places_of<const N: usize>(kinds: [TimerKind; N], timers: impl Iterator<Item = (TimerKind, Timestamp)>) -> [Option<Timestamp>; N] {
    let mut places = [None; N];
    for (kind, due) in timers {
        if let Some(place) = kinds.iter().position(|known| *known == kind) {
            places[place] = Some(due);
        }
    }
    places
}

/// Makes an index without values follow from being there or not.
fn move_place(key: Bytes, before: bool, after: bool, batch: &mut Batch) {
    match (before, after) {
        (false, true) => batch.put(Table::State, key, Bytes::new()),
        (true, false) => batch.delete(Table::State, key),
        (true, true) | (false, false) => {}
    }
}

/// Makes the timer index follow a timer from one time to another.
fn move_timer(
    group: GroupId,
    uid: RunUid,
    kind: TimerKind,
    step: Option<&StepId>,
    before: Option<Timestamp>,
    after: Option<Timestamp>,
    batch: &mut Batch,
) {
    if before == after {
        return;
    }
    let key = |due| timer::key(group, &Timer { due, uid, kind, step: step.cloned() });
    if let Some(due) = before {
        batch.delete(Table::State, key(due));
    }
    if let Some(due) = after {
        batch.put(Table::State, key(due), Bytes::new());
    }
}
