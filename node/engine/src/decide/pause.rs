//! Pause and resume. A pause stops no clock: what expired meanwhile acts on resume.

use std::ops::Bound;

use super::Decider;
use crate::run::{Instance, States, entry_at};
use crate::{EventKind, Principal, Rejection, RunStatus, StepStatus, TimerKind, Timestamp};

/// Asking again changes nothing.
pub(super) fn pause(decider: &mut Decider<'_, '_, '_>, principal: &Principal, reason: &str) -> Result<(), Rejection> {
    decider.alive()?;
    if decider.draft.head().paused_by.is_none() {
        decider.push(EventKind::RunPaused { principal: principal.clone(), reason: reason.to_owned() });
    }
    Ok(())
}

/// Asking again changes nothing.
pub(super) fn resume(decider: &mut Decider<'_, '_, '_>, principal: &Principal, reason: &str) -> Result<(), Rejection> {
    decider.alive()?;
    if decider.draft.head().paused_by.is_none() {
        return Ok(());
    }
    decider.push(EventKind::RunResumed { principal: principal.clone(), reason: reason.to_owned() });
    decider.catch_up()?;
    decider.settle();
    Ok(())
}

impl<'d> Decider<'_, 'd, '_> {
    /// Does what was put off while the run was paused, or waited for people or its slot.
    pub(super) fn catch_up(&mut self) -> Result<(), Rejection> {
        if self.draft.head().paused_by.is_some() || self.draft.head().status == RunStatus::Queued {
            return Ok(());
        }
        self.fire_expired()?;
        self.offer_to_workers();
        Ok(())
    }

    /// In the order in which they were due.
    fn fire_expired(&mut self) -> Result<(), Rejection> {
        let now = self.context.now;
        let own = self.draft.head().timers().map(|(kind, due)| (due, None, kind));
        let mut expired: Vec<(Timestamp, Option<crate::StepId>, TimerKind)> = own.collect();
        for instance in self.open_instances() {
            let Some(state) = self.draft.current(&instance) else { continue };
            expired.extend(state.timers().map(|(kind, due)| (due, Some(instance.id.clone()), kind)));
        }
        expired.retain(|(due, ..)| *due <= now);
        expired.sort();
        for (due, step, kind) in expired {
            // An earlier one may have made it stale.
            let armed = match &step {
                None => self.draft.head().timers().any(|timer| timer == (kind, due)),
                Some(step) => self.draft.entry(step).is_some_and(|state| state.timers().any(|timer| timer == (kind, due))),
            };
            let held = match step.as_ref().filter(|step| kind == TimerKind::Due && self.begins_something(step)) {
                Some(step) => self.is_held_back(&self.instance(step)?),
                None => false,
            };
            if armed && !held {
                self.fire(step.as_ref(), kind)?;
            }
        }
        for instance in self.open_instances() {
            let state = self.draft.current(&instance).filter(|state| state.status == StepStatus::Queued);
            if state.and_then(|state| state.schedule_deadline).is_some_and(|deadline| deadline <= now) {
                self.not_taken(&instance);
            }
        }
        Ok(())
    }

    /// Workers that have room take what was queued meanwhile.
    fn offer_to_workers(&mut self) {
        for instance in self.open_instances() {
            if self.is_held_back(&instance) {
                continue;
            }
            let queue = self.draft.current(&instance).filter(|state| state.status == StepStatus::Queued).map(|state| state.queue.clone());
            let Some((queue, task)) = queue.zip(instance.step.kind.task()) else { continue };
            if let Some(worker) = self.context.credits.take(&queue) {
                self.lease(&instance, task, &worker, super::schedule::FirstTime::default());
            }
        }
    }

    fn open_instances(&self) -> Vec<Instance<'d>> {
        let plan = self.draft.run.plan();
        let open = self.draft.index.open.from(Bound::Unbounded);
        open.filter_map(|((scope, position), ())| Instance::of(plan, &entry_at(plan, scope, *position)?)).collect()
    }
}
