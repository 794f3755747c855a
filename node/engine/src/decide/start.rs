//! Start: the run and everything that is ready at once; or the request for its slot, if runs with its key are bounded, or if its workflow may be paused.

use super::Decider;
use crate::{EventKind, OnConflict, Rejection, RunInfo, UNBOUNDED_KEY};

pub(super) fn start(decider: &mut Decider<'_, '_, '_>, info: &RunInfo) -> Result<(), Rejection> {
    if decider.draft.head().seq > 0 {
        return Err(Rejection::RunExists);
    }
    let plan = decider.draft.run.plan().clone();
    let mut info = Box::new(info.clone());
    info.steps_total = crate::run::steps_total(&plan);
    info.deadline = info.deadline.or_else(|| plan.timeout.map(|timeout| decider.context.now.plus(timeout)));
    decider.push(EventKind::RunStarted(info));
    if let Some(concurrency) = &plan.concurrency {
        let deadline = concurrency.max_wait.map(|wait| decider.context.now.plus(wait));
        decider.request_slot(concurrency, concurrency.on_conflict, deadline);
    } else if decider.context.parks {
        let (key, limit) = (UNBOUNDED_KEY.to_owned(), u32::MAX);
        decider.push(EventKind::SlotRequested { key, limit, on_conflict: OnConflict::Queue, deadline: None });
    }
    decider.settle();
    Ok(())
}
