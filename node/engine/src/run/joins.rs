//! Joins count: a step is ready when as many needs have ended as it has.

use crate::{SkipCause, StepState, StepStatus};

/// What a step still waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Join {
    /// Needs that have not ended.
    pub(crate) missing: u32,
    /// A need ended in a way that this step does not accept.
    pub(crate) blocked: bool,
}

impl Join {
    /// A need ended. True if it was the last one.
    pub(crate) fn settle(&mut self, need: &StepState) -> bool {
        self.missing = self.missing.saturating_sub(1);
        self.blocked |= !is_accepted(need);
        self.missing == 0
    }
}

/// A need is accepted if it succeeded, or was skipped by its own condition.
fn is_accepted(need: &StepState) -> bool {
    match need.status {
        StepStatus::Succeeded => true,
        StepStatus::Skipped => need.skip == Some(SkipCause::If),
        StepStatus::Pending
        | StepStatus::Queued
        | StepStatus::Leased
        | StepStatus::Waiting
        | StepStatus::BackingOff
        | StepStatus::Running
        | StepStatus::Awaiting
        | StepStatus::Failed
        | StepStatus::Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: StepStatus, skip: Option<SkipCause>) -> StepState {
        StepState { status, skip, ..StepState::default() }
    }

    #[test]
    fn success_and_a_false_condition_are_accepted_and_nothing_else() {
        let cases = [
            (ended(StepStatus::Succeeded, None), false),
            (ended(StepStatus::Skipped, Some(SkipCause::If)), false),
            (ended(StepStatus::Skipped, Some(SkipCause::Upstream)), true),
            (ended(StepStatus::Failed, None), true),
            (ended(StepStatus::Cancelled, None), true),
        ];
        for (need, blocked) in cases {
            let mut join = Join { missing: 2, blocked: false };
            assert!(!join.settle(&need), "one need is missing");
            assert!(join.settle(&ended(StepStatus::Succeeded, None)), "the last need");
            assert_eq!(join.blocked, blocked, "{need:?}");
        }
    }
}
