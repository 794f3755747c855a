//! Puts a task before a worker: leases it at once if one has room, else queues it.

use quorus_mutants::{Mutant, active};

use super::Decider;
use crate::run::{Instance, States};
use crate::{EventKind, Payload, PlannedPool, PlannedTask, Timestamp, Token, WorkerId};

/// What is fixed when a step becomes ready, and recorded with the first event of its generation.
#[derive(Default)]
pub(super) struct FirstTime {
    pub(super) input: Option<Payload>,
    pub(super) step_deadline: Option<Timestamp>,
}

impl<'d> Decider<'_, 'd, '_> {
    /// For its first attempt, or again.
    pub(super) fn schedule(&mut self, instance: &Instance<'d>, task: &PlannedTask, first: FirstTime) {
        let (queue, wait) = self.queue(instance, task);
        let paused = self.draft.head().paused_by.is_some() || self.is_held_back(instance);
        let worker = if paused { None } else { self.context.credits.take_for(queue, instance.step, task) };
        match worker {
            Some(worker) => self.lease(instance, task, &worker, first),
            None => self.push(EventKind::StepQueued {
                step: instance.id.clone(),
                input: first.input,
                queue: queue.to_owned(),
                priority: task.priority,
                schedule_deadline: Some(self.context.now.plus(wait)),
                step_deadline: first.step_deadline,
            }),
        }
    }

    pub(super) fn lease(&mut self, instance: &Instance<'d>, task: &PlannedTask, worker: &WorkerId, first: FirstTime) {
        let (queue, _) = self.queue(instance, task);
        let attempt = self.draft.current(instance).map_or(0, |state| state.attempt) + 1;
        let token = Token(self.draft.head().seq + 1);
        let last = self.draft.current(instance).and_then(|state| state.outcomes.last()).filter(|_| active(Mutant::RetryReusesAttempt));
        let (attempt, token) = last.map_or((attempt, token), |last| (last.attempt, last.token));
        self.push(EventKind::StepLeased {
            step: instance.id.clone(),
            attempt,
            token,
            worker: worker.clone(),
            queue: queue.to_owned(),
            priority: task.priority,
            lease: self.context.lease,
            input: first.input,
            step_deadline: first.step_deadline,
            attempt_deadline: Some(self.context.now.plus(task.attempt_timeout)),
        });
        let is_bound = self.draft.current(instance).is_some_and(|state| state.no_return);
        if instance.step.point_of_no_return && !is_bound {
            self.push(EventKind::NoReturnBound { step: instance.id.clone() });
        }
    }

    /// The queue of the step's pool, and how long it may wait there.
    fn queue<'t>(&self, instance: &Instance<'d>, task: &'t PlannedTask) -> (&'t str, crate::Millis) {
        match self.pool(instance, task) {
            Some(pool) => (&pool.queue, pool.max_wait),
            None => (&task.queue, task.schedule_timeout),
        }
    }

    fn pool<'t>(&self, instance: &Instance<'d>, task: &'t PlannedTask) -> Option<&'t PlannedPool> {
        let pool = self.draft.current(instance).map_or(0, |state| state.pool);
        task.pools.get(pool as usize)
    }
}
