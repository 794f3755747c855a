//! What a run owes to others, derived from its state: the index of what is owed holds exactly these, so that a new leader finds them.
//!
//! The courier delivers each until a command takes note of it: [`crate::Command::ChildStarted`] and the like. All that it needs is in the
//! state that owes.

use crate::{Phase, RunHead, RunStatus, StepState, StepStatus};

/// Something that a run owes to another run, or to the keeper of the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owed {
    /// To start [`StepState::child`] with [`StepState::input`]. Until `ChildStarted`, `ChildRefused` or `ChildEnded`.
    StartChild,
    /// To cancel it; one that is not there yet must never start. Until `ChildEnded`.
    CancelChild,
    /// To have it undo what it did. Until `ChildStarted` (it has begun) or `ChildEnded`.
    CompensateChild,
    /// To tell [`RunHead::parent`] how the run ended. Until `ParentNotified`.
    NotifyParent,
    /// To ask for [`RunHead::slot`]. Until `SlotGranted` or `SlotDenied`.
    AcquireSlot,
    /// To give it back, or to withdraw the request. Until `SlotReleased`.
    ReleaseSlot,
}

impl StepState {
    /// What the step owes.
    pub fn owes(&self) -> Option<Owed> {
        let child = self.child.as_ref().filter(|child| child.ended.is_none())?;
        let is_running = self.status == StepStatus::Running;
        match (child.compensates, child.cancel.is_some(), child.started) {
            (true, _, false) if is_running => Some(Owed::CompensateChild),
            // Also after a terminate, which waits for nothing.
            (false, true, _) => Some(Owed::CancelChild),
            (false, false, false) if is_running => Some(Owed::StartChild),
            _ => None,
        }
    }
}

impl RunHead {
    /// What the run owes.
    pub fn owes(&self) -> impl Iterator<Item = Owed> {
        let is_final = self.status.is_final();
        let slot = self.slot.as_ref().filter(|slot| !slot.released).and_then(|slot| match (is_final, slot.granted) {
            (true, _) => Some(Owed::ReleaseSlot),
            (false, false) => (self.status == RunStatus::Queued).then_some(Owed::AcquireSlot),
            (false, true) => None,
        });
        let notice = (is_final && self.parent.is_some() && !self.parent_notified).then_some(Owed::NotifyParent);
        slot.into_iter().chain(notice)
    }

    /// What the run does, with the phase that follows from a status that says more.
    pub fn phase(&self) -> Phase {
        match (self.status, self.phase) {
            (RunStatus::Failing | RunStatus::Cancelling, Phase::Forward) => Phase::Stopping,
            // It was on its way back when it got stuck.
            (RunStatus::NeedsAttention, Phase::Forward) if self.failure.is_some() || self.cancelled_by.is_some() => Phase::Stopping,
            (_, phase) => phase,
        }
    }
}
