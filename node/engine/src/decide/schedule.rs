//! Puts a task before a worker: leases it at once if one has room, else queues it.

use super::Decider;
use crate::{EventKind, Payload, PlannedStep, PlannedTask, Timestamp, Token, WorkerId};

/// What is fixed when a step becomes ready, and recorded with the first event of its generation.
#[derive(Default)]
pub(super) struct FirstTime {
    pub(super) input: Option<Payload>,
    pub(super) step_deadline: Option<Timestamp>,
}

impl Decider<'_, '_, '_> {
    /// For its first attempt, or again.
    pub(super) fn schedule(&mut self, step: &PlannedStep, task: &PlannedTask, first: FirstTime) {
        match self.context.credits.take_for(&task.queue, step, task) {
            Some(worker) => self.lease(step, task, &worker, first),
            None => self.push(EventKind::StepQueued {
                step: step.id.clone(),
                input: first.input,
                queue: task.queue.clone(),
                priority: task.priority,
                schedule_deadline: Some(self.context.now.plus(task.schedule_timeout)),
                step_deadline: first.step_deadline,
            }),
        }
    }

    pub(super) fn lease(&mut self, step: &PlannedStep, task: &PlannedTask, worker: &WorkerId, first: FirstTime) {
        let attempt = self.draft.step(&step.id).map_or(0, |state| state.attempt) + 1;
        self.push(EventKind::StepLeased {
            step: step.id.clone(),
            attempt,
            token: Token(self.draft.head().seq + 1),
            worker: worker.clone(),
            queue: task.queue.clone(),
            priority: task.priority,
            lease: self.context.lease,
            input: first.input,
            step_deadline: first.step_deadline,
            attempt_deadline: Some(self.context.now.plus(task.attempt_timeout)),
        });
    }
}
