//! Slots of concurrency keys: granted, denied and released by their keeper, see [`crate::Owed`].
//!
//! A run holds its slot from its beginning to its end. One that is reopened after its end has given its slot back, so it waits for it anew before
//! anything goes on, forwards or backwards (ADR 0022).

use serde_json::Value;

use super::{Decider, permanent, reserved};
use crate::{EventKind, Failure, OnConflict, Phase, PlannedConcurrency, Rejection, RunStatus, SlotState, Timestamp, failure_type};

/// Hearing so again changes nothing; a run that gave up meanwhile gives the slot back, since it owes that.
pub(super) fn granted(decider: &mut Decider<'_, '_, '_>) -> Result<(), Rejection> {
    let head = decider.draft.head();
    let Some(slot) = &head.slot else { return Err(Rejection::UnexpectedAnswer) };
    if head.status.is_final() {
        return Err(Rejection::RunEnded(head.status));
    }
    if !slot.granted {
        decider.push(EventKind::SlotGranted);
        if decider.draft.head().phase == Phase::Compensating {
            // Its time has not run while it waited.
            let deadline = decider.compensation_deadline();
            decider.push(EventKind::PhaseChanged { scope: None, phase: Phase::Compensating, failure: None, deadline });
        }
        decider.review_everything();
        decider.catch_up()?;
        decider.settle();
    }
    Ok(())
}

pub(super) fn denied(decider: &mut Decider<'_, '_, '_>, reason: &str) -> Result<(), Rejection> {
    decider.alive()?;
    if decider.draft.head().status != RunStatus::Queued {
        return Err(Rejection::UnexpectedAnswer);
    }
    decider.deny_slot(reserved(failure_type::CONCURRENCY, reason));
    decider.settle();
    Ok(())
}

pub(super) fn released(decider: &mut Decider<'_, '_, '_>) -> Result<(), Rejection> {
    let head = decider.draft.head();
    match &head.slot {
        Some(slot) if slot.released => Ok(()),
        Some(_) if head.status.is_final() => {
            decider.push(EventKind::SlotReleased);
            Ok(())
        }
        _ => Err(Rejection::UnexpectedAnswer),
    }
}

impl Decider<'_, '_, '_> {
    /// The run ends without having begun, or begun again.
    pub(super) fn deny_slot(&mut self, failure: Failure) {
        self.push(EventKind::RunFailing { failure });
        self.stop_steps(&None, "the run got no slot");
    }

    /// From here on nothing begins until the slot is granted.
    pub(super) fn request_slot(&mut self, concurrency: &PlannedConcurrency, on_conflict: OnConflict, deadline: Option<Timestamp>) {
        self.draft.begin_step();
        match self.concurrency_key(concurrency) {
            Ok(key) => self.push(EventKind::SlotRequested { key, limit: concurrency.limit, on_conflict, deadline }),
            Err(failure) => self.push(EventKind::RunFailing { failure }),
        }
    }

    /// A run that was reopened after its end asks again. It waits in line, whatever the workflow says of conflicts: who repairs a run means neither to
    /// lose it for want of room nor to end another one, and can cancel it.
    pub(super) fn retake_slot(&mut self) {
        let plan = self.draft.run.plan().clone();
        match (&plan.concurrency, self.draft.head().slot.clone()) {
            (Some(concurrency), _) => self.request_slot(concurrency, OnConflict::Queue, None),
            // It had one for another reason than its plan of now.
            (None, Some(SlotState { key, limit, .. })) => {
                self.push(EventKind::SlotRequested { key, limit, on_conflict: OnConflict::Queue, deadline: None });
            }
            (None, None) => {}
        }
    }

    /// True from the request for a slot until it is granted, and after that if it was denied or given up.
    pub(super) fn has_no_slot(&self) -> bool {
        self.draft.head().slot.as_ref().is_some_and(|slot| !slot.granted)
    }

    fn concurrency_key(&self, concurrency: &PlannedConcurrency) -> Result<String, Failure> {
        match concurrency.key.0.render(&self.draft.view_of_run()).map_err(|error| error.into_failure("concurrency.key"))? {
            Value::String(key) if !key.is_empty() => Ok(key),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(permanent(failure_type::CONCURRENCY, "concurrency.key: the value is not a text")),
        }
    }
}
