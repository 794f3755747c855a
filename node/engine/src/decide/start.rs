//! Start: the run and everything that is ready at once; or the request for its slot, if runs with its key are bounded.

use serde_json::Value;

use super::{Decider, permanent};
use crate::{EventKind, Failure, PlannedConcurrency, Rejection, RunInfo, failure_type};

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
        decider.draft.begin_step();
        match decider.concurrency_key(concurrency) {
            Ok(key) => decider.push(EventKind::SlotRequested {
                key,
                limit: concurrency.limit,
                on_conflict: concurrency.on_conflict,
                deadline: concurrency.max_wait.map(|wait| decider.context.now.plus(wait)),
            }),
            Err(failure) => decider.push(EventKind::RunFailing { failure }),
        }
    }
    decider.settle();
    Ok(())
}

impl Decider<'_, '_, '_> {
    fn concurrency_key(&self, concurrency: &PlannedConcurrency) -> Result<String, Failure> {
        match concurrency.key.0.render(&self.draft.view_of_run()).map_err(|error| error.into_failure("concurrency.key"))? {
            Value::String(key) if !key.is_empty() => Ok(key),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(permanent(failure_type::CONCURRENCY, "concurrency.key: the value is not a text")),
        }
    }
}
