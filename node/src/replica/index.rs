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
    store::{Timer, expiry, list, listed::Source, open, timer},
};

/// Each has its place in [`StepIndex::timers`].
const STEP_TIMERS: [TimerKind; 3] = [TimerKind::Due, TimerKind::StepTimeout, TimerKind::CancelGrace];

/// The index entries of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StepIndex {
    /// Queued or leased.
    open: bool,
    timers: [Option<Timestamp>; STEP_TIMERS.len()],
}

impl StepIndex {
    pub(super) fn of(step: &StepState) -> Self {
        let mut timers = [None; STEP_TIMERS.len()];
        for (kind, due) in step.timers() {
            if let Some(place) = STEP_TIMERS.iter().position(|known| *known == kind) {
                timers[place] = Some(due);
            }
        }
        Self { open: is_open(step), timers }
    }

    /// Makes the indexes follow a step from `self` to `after`.
    pub(super) fn write(self, after: Self, group: GroupId, uid: RunUid, step: &StepId, batch: &mut Batch) {
        if self.open != after.open {
            let key = open::key(group, uid, step);
            if after.open {
                batch.put(Table::State, key, Bytes::new());
            } else {
                batch.delete(Table::State, key);
            }
        }
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
        Self { status: head.status, ended_at: head.ended_at, error_type }
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
            Some(Self { status, ended_at, error_type }) => {
                let error_type = error_type.clone();
                let row = RunRow { status: *status, ended_at: *ended_at, error_type, started_at, ..listing.row.clone() };
                batch.put(Table::State, key(Source::List), list::encode(&row));
            }
            None => batch.delete(Table::State, key(Source::List)),
        }
        set(before.is_some(), after.is_some(), || key(Source::Workflow(&listing.row.workflow)), batch);
        let is_open = |index: Option<&Self>| index.is_some_and(|index| !index.status.is_final());
        set(is_open(before), is_open(after), || key(Source::Open), batch);
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

/// Makes a key that says yes by being there follow a change.
fn set(before: bool, after: bool, key: impl Fn() -> Bytes, batch: &mut Batch) {
    match (before, after) {
        (false, true) => batch.put(Table::State, key(), Bytes::new()),
        (true, false) => batch.delete(Table::State, key()),
        (false, false) | (true, true) => {}
    }
}

/// In the index of open steps: what a dispatcher has to know.
pub(super) fn is_open(step: &StepState) -> bool {
    matches!(step.status, StepStatus::Queued | StepStatus::Leased)
}

/// The timer of a run itself.
pub(super) fn run_timer(head: &RunHead) -> Option<Timestamp> {
    head.timer().map(|(_, due)| due)
}

/// Makes the timer index follow a timer from one time to another.
pub(super) fn move_timer(
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
