//! Complete: a worker reports how its attempt ended.

use super::{Decider, reserved};
use crate::{AttemptRef, Failure, Outcome, Payload, Rejection, failure_type};

/// The same report sent twice gets the same answer, also after the run ended; any other report of an attempt that ended is refused.
pub(super) fn complete(decider: &mut Decider<'_, '_, '_>, attempt: &AttemptRef, outcome: &Outcome) -> Result<(), Rejection> {
    let outcome = within_bounds(outcome);
    match decider.live(attempt) {
        Ok((step, state)) => {
            decider.end_attempt(step, &state, outcome);
            decider.settle();
            Ok(())
        }
        Err(_) if is_recorded(decider, attempt, &outcome) => Ok(()),
        Err(rejection) => Err(rejection),
    }
}

/// True if the attempt is recorded to have ended like this.
pub(super) fn is_recorded(decider: &Decider<'_, '_, '_>, attempt: &AttemptRef, outcome: &Outcome) -> bool {
    let recorded = decider.draft.step(&attempt.step).map(|state| state.outcomes.as_slice()).unwrap_or_default();
    recorded.iter().any(|known| known.attempt == attempt.attempt && known.token == attempt.token && known.kind == outcome.kind())
}

/// An output that is too large is an outcome, not something to be sent again and again.
fn within_bounds(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Succeeded(Some(output)) if output.data.len() > Payload::BYTES_MAX => {
            let message = format!("the output has {} bytes, more than {}", output.data.len(), Payload::BYTES_MAX);
            Outcome::Failed(Failure { non_retryable: true, ..reserved(failure_type::OUTPUT_TOO_LARGE, message) })
        }
        Outcome::Succeeded(_)
        | Outcome::Failed(_)
        | Outcome::TimedOut(_)
        | Outcome::Abandoned(_)
        | Outcome::Released(_)
        | Outcome::Cancelled { .. } => outcome.clone(),
    }
}
