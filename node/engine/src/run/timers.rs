//! What wakes a run and its steps, derived from the state: the index of timers holds exactly these.

use crate::{RunHead, RunStatus, StepState, StepStatus, TimerKind, Timestamp};

impl RunHead {
    /// The run's own timers.
    pub fn timers(&self) -> impl Iterator<Item = (TimerKind, Timestamp)> {
        let slot = self.slot.as_ref().filter(|_| self.status == RunStatus::Queued).and_then(|slot| slot.deadline);
        [
            (TimerKind::RunTimeout, self.deadline),
            (TimerKind::CompensationTimeout, self.compensation_deadline),
            (TimerKind::SlotTimeout, slot),
        ]
        .into_iter()
        .filter_map(|(kind, time)| time.map(|time| (kind, time)))
    }
}

impl StepState {
    /// The step's timers.
    pub fn timers(&self) -> impl Iterator<Item = (TimerKind, Timestamp)> {
        [(TimerKind::Due, self.due), (TimerKind::StepTimeout, self.step_deadline), (TimerKind::CancelGrace, self.cancel_deadline)]
            .into_iter()
            .filter_map(|(kind, time)| time.map(|time| (kind, time)))
    }
}

impl StepStatus {
    /// True if the step was started and has not ended.
    pub fn is_open(self) -> bool {
        match self {
            Self::Queued | Self::Leased | Self::Waiting | Self::BackingOff | Self::Running | Self::Awaiting => true,
            Self::Pending | Self::Succeeded | Self::Failed | Self::Skipped | Self::Cancelled => false,
        }
    }

    /// The word that expressions see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Waiting => "waiting",
            Self::BackingOff => "backing_off",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Running => "running",
            Self::Awaiting => "awaiting",
        }
    }
}
