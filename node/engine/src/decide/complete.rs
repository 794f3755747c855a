//! Complete: a worker reports how its attempt ended.

use quorus_mutants::{Mutant, active};

use super::{Decider, reserved};
use crate::{AttemptRef, Failure, Outcome, Payload, Rejection, failure_type};

/// The same report sent twice gets the same answer, also after the run ended; any other report of an attempt that ended is refused.
pub(super) fn complete(decider: &mut Decider<'_, '_, '_>, attempt: &AttemptRef, outcome: &Outcome) -> Result<(), Rejection> {
    let outcome = within_bounds(outcome);
    match decider.live(attempt) {
        Ok((instance, state)) => {
            decider.end_attempt(&instance, &state, outcome);
            decider.settle();
            Ok(())
        }
        Err(_) if is_recorded(decider, attempt, &outcome) => {
            if active(Mutant::NonIdempotentCompletion) && decider.alive().is_ok() {
                decider.record_again(attempt, outcome)?;
            }
            Ok(())
        }
        Err(rejection) => Err(rejection),
    }
}

impl Decider<'_, '_, '_> {
    /// Only for [`Mutant::NonIdempotentCompletion`].
    fn record_again(&mut self, attempt: &AttemptRef, outcome: Outcome) -> Result<(), Rejection> {
        let instance = self.instance(&attempt.step)?;
        if let Some(state) = self.draft.step(&attempt.step).cloned() {
            self.end_attempt(&instance, &state, outcome);
            self.settle();
        }
        Ok(())
    }
}

/// True if the attempt is recorded to have ended like this.
pub(super) fn is_recorded(decider: &Decider<'_, '_, '_>, attempt: &AttemptRef, outcome: &Outcome) -> bool {
    let recorded = decider.draft.step(&attempt.step).map(|state| state.outcomes.as_slice()).unwrap_or_default();
    recorded.iter().any(|known| known.attempt == attempt.attempt && known.token == attempt.token && known.kind == outcome.kind())
}

/// Nothing that a worker reports is larger than it may be. An output that is too large is an outcome, not something to be sent again and
/// again; details and checkpoints that are too large are left out, and long messages cut.
fn within_bounds(outcome: &Outcome) -> Outcome {
    let fits = |payload: &Payload| payload.data.len() <= Payload::BYTES_MAX;
    let cut = |failure: &Failure| Failure {
        kind: shortened(&failure.kind),
        message: shortened(&failure.message),
        details: failure.details.clone().filter(fits),
        ..*failure
    };
    match outcome {
        Outcome::Succeeded(_) if active(Mutant::LostOutput) => Outcome::Succeeded(None),
        Outcome::Succeeded(Some(output)) if !fits(output) => {
            let message = format!("the output has {} bytes, more than {}", output.data.len(), Payload::BYTES_MAX);
            Outcome::Failed(Failure { non_retryable: true, ..reserved(failure_type::OUTPUT_TOO_LARGE, message) })
        }
        Outcome::Failed(failure) => Outcome::Failed(cut(failure)),
        Outcome::TimedOut(failure) => Outcome::TimedOut(cut(failure)),
        Outcome::Abandoned(reason) => Outcome::Abandoned(shortened(reason)),
        Outcome::Released(checkpoint) => Outcome::Released(checkpoint.clone().filter(fits)),
        Outcome::Succeeded(_) | Outcome::Cancelled { .. } => outcome.clone(),
    }
}

/// A message is for people; it is copied to the step and the run.
const TEXT_BYTES_MAX: usize = 8 * 1024;

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}
