//! Slots of concurrency keys: granted, denied and released by their keeper, see [`crate::Owed`].

use super::{Decider, reserved};
use crate::{EventKind, Failure, Rejection, RunStatus, failure_type};

/// Hearing so again changes nothing; a run that gave up meanwhile gives the slot back, since it owes that.
pub(super) fn granted(decider: &mut Decider<'_, '_, '_>) -> Result<(), Rejection> {
    let head = decider.draft.head();
    let Some(slot) = &head.slot else { return Err(Rejection::UnexpectedAnswer) };
    if head.status.is_final() {
        return Err(Rejection::RunEnded(head.status));
    }
    if !slot.granted {
        decider.push(EventKind::SlotGranted);
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
    /// The run ends without having begun.
    pub(super) fn deny_slot(&mut self, failure: Failure) {
        self.push(EventKind::RunFailing { failure });
    }
}
