//! Checkpoint: a worker's progress is to survive its attempt.

use super::Decider;
use crate::{AttemptRef, EventKind, Payload, Rejection};

pub(super) fn checkpoint(decider: &mut Decider<'_, '_, '_>, attempt: &AttemptRef, checkpoint: &Payload) -> Result<(), Rejection> {
    let (instance, state) = decider.live(attempt)?;
    // Heartbeats repeat the last checkpoint; only progress is worth an event.
    if state.checkpoint_attempt != attempt.attempt || state.checkpoint.as_ref() != Some(checkpoint) {
        decider.push(EventKind::StepCheckpointed { step: instance.id.clone(), attempt: attempt.attempt, checkpoint: checkpoint.clone() });
    }
    Ok(())
}
