//! What the indexes say about a run, as a function of its state, and how they follow when the state changes.
//!
//! Invariant: an index equals what this module derives from all heads and steps. So a change needs no reading of the index: the entries before are
//! derived from the state before.

use bytes::Bytes;
use quorus_engine::{RunHead, RunUid, StepId, StepState, StepStatus, TimerKind, Timestamp};
use quorus_raft::{
    GroupId,
    disk::{Batch, Table},
};

use crate::store::{
    Timer, open,
    place::{self, Places},
    timer,
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
    timers: [Option<Timestamp>; RUN_TIMERS.len()],
}

impl HeadIndex {
    pub(super) fn of(head: &RunHead) -> Self {
        Self { owes: head.owes().next().is_some(), timers: places_of(RUN_TIMERS, head.timers()) }
    }

    /// Makes the indexes follow a run from `self` to `after`.
    pub(super) fn write(self, after: Self, group: GroupId, uid: RunUid, batch: &mut Batch) {
        move_place(place::key(group, Places::Owed, uid, None), self.owes, after.owes, batch);
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
    timers: [Option<Timestamp>; STEP_TIMERS.len()],
}

impl StepIndex {
    pub(super) fn of(step: &StepState) -> Self {
        Self {
            open: is_open(step),
            awaiting: step.status == StepStatus::Awaiting,
            owes: step.owes().is_some(),
            timers: places_of(STEP_TIMERS, step.timers()),
        }
    }

    /// Makes the indexes follow a step from `self` to `after`.
    pub(super) fn write(self, after: Self, group: GroupId, uid: RunUid, step: &StepId, batch: &mut Batch) {
        move_place(open::key(group, uid, step), self.open, after.open, batch);
        move_place(place::key(group, Places::Awaiting, uid, Some(step)), self.awaiting, after.awaiting, batch);
        move_place(place::key(group, Places::Owed, uid, Some(step)), self.owes, after.owes, batch);
        for ((kind, before), after) in STEP_TIMERS.into_iter().zip(self.timers).zip(after.timers) {
            move_timer(group, uid, kind, Some(step), before, after, batch);
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
