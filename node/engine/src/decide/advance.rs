//! Advance: go on with a fan-out that was too large for one decision. What every decision does, and nothing else.

use super::Decider;
use crate::Rejection;

pub(super) fn advance(decider: &mut Decider<'_, '_, '_>) -> Result<(), Rejection> {
    decider.alive()?;
    decider.review_everything();
    decider.settle();
    Ok(())
}
