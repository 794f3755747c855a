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

/// The index entries of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StepIndex {
    /// Queued or leased.
    open: bool,
    due: Option<Timestamp>,
    step_deadline: Option<Timestamp>,
    cancel_deadline: Option<Timestamp>,
}

impl StepIndex {
    pub(super) fn of(step: &StepState) -> Self {
        Self {
            open: matches!(step.status, StepStatus::Queued | StepStatus::Leased),
            due: step.due,
            step_deadline: step.step_deadline,
            cancel_deadline: step.cancel_deadline,
        }
    }

    fn timers(self) -> [(TimerKind, Option<Timestamp>); 3] {
        [(TimerKind::Due, self.due), (TimerKind::StepTimeout, self.step_deadline), (TimerKind::CancelGrace, self.cancel_deadline)]
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
        for ((kind, before), (_, after)) in self.timers().into_iter().zip(after.timers()) {
            move_timer(group, uid, kind, Some(step), before, after, batch);
        }
    }
}

/// The timer of a run itself.
pub(super) fn run_timer(head: &RunHead) -> Option<Timestamp> {
    head.deadline
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
