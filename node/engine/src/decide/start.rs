//! Start: the run and everything that is ready at once.

use super::Decider;
use crate::{EventKind, Rejection, RunInfo};

pub(super) fn start(decider: &mut Decider<'_, '_, '_>, info: &RunInfo) -> Result<(), Rejection> {
    if decider.draft.head().seq > 0 {
        return Err(Rejection::RunExists);
    }
    let plan = decider.draft.run.plan().clone();
    let mut info = Box::new(info.clone());
    info.steps_total = u32::try_from(plan.steps.len()).unwrap_or(u32::MAX);
    info.deadline = info.deadline.or_else(|| plan.timeout.map(|timeout| decider.context.now.plus(timeout)));
    decider.push(EventKind::RunStarted(info));
    decider.settle();
    Ok(())
}
