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

use crate::store::{Timer, open, timer};

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
