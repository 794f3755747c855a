//! The dispatcher gives an attempt up: its worker is gone, or its time is over.

use super::complete::is_recorded;
use super::{Decider, reserved};
use crate::{AttemptRef, Outcome, Rejection};

pub(super) fn abandon(decider: &mut Decider<'_, '_, '_>, attempt: &AttemptRef, reason: &str) -> Result<(), Rejection> {
    end(decider, attempt, Outcome::Abandoned(reason.to_owned()))
}

pub(super) fn time_out(decider: &mut Decider<'_, '_, '_>, attempt: &AttemptRef, kind: &str) -> Result<(), Rejection> {
    end(decider, attempt, Outcome::TimedOut(reserved(kind, format!("attempt {} ran out of time", attempt.attempt))))
}

fn end(decider: &mut Decider<'_, '_, '_>, attempt: &AttemptRef, outcome: Outcome) -> Result<(), Rejection> {
    match decider.live(attempt) {
        Ok((instance, state)) => {
            decider.end_attempt(&instance, &state, outcome);
            decider.settle();
            Ok(())
        }
        Err(_) if is_recorded(decider, attempt, &outcome) => Ok(()),
        Err(rejection) => Err(rejection),
    }
}
