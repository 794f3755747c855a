//! Goes on until nothing more follows. Iterative: a chain of steps that end at once may have 10,000 of them.

use std::ops::Bound;

use super::Decider;
use crate::run::{Instance, Place, entry_at};
use crate::{EventKind, RunStatus};

/// A decision that is larger than this leaves the rest of a fan-out to the next one, so that neither a record of the log nor an actor's
/// turn grows with the width of a plan: thousands of steps with small inputs, one with the largest. Something must be open before it
/// stops, so that the run has a recorded waker.
const DECISION_BYTES_MAX: usize = 1024 * 1024;

impl<'d> Decider<'_, 'd, '_> {
    /// Starts what is ready, and draws the conclusions of what changed in each scope.
    pub(super) fn settle(&mut self) {
        let plan = self.draft.run.plan();
        // What would follow does so when the run has its slot: everything is reviewed then.
        if self.draft.head().status == RunStatus::Queued {
            return;
        }
        loop {
            let may_begin = !(self.is_too_large() && self.draft.has_any_open());
            if let Some(place) = self.next_ready().filter(|_| may_begin) {
                match entry_at(plan, &place.0, place.1).and_then(|id| Instance::of(plan, &id)) {
                    Some(instance) => self.start_or_postpone(&instance),
                    None => self.draft.index.ready.remove(&place),
                }
                continue;
            }
            match self.draft.take_touched() {
                Some(None) => self.review_run(),
                Some(Some(scope)) => self.review_scope(&scope),
                None => return,
            }
        }
    }

    /// While people are waited for only what is there for that.
    fn next_ready(&self) -> Option<Place> {
        if self.draft.head().status != RunStatus::NeedsAttention {
            return self.draft.next_ready();
        }
        let plan = self.draft.run.plan();
        let mut ready = self.draft.index.ready.from(Bound::Unbounded).map(|(place, ())| place);
        let may_begin = |place: &&Place| {
            let instance = entry_at(plan, &place.0, place.1).and_then(|id| Instance::of(plan, &id));
            instance.is_none_or(|instance| !self.is_held_back(&instance))
        };
        ready.find(may_begin).cloned()
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.draft.bytes() >= DECISION_BYTES_MAX || self.draft.is_exhausted()
    }

    pub(super) fn start_or_postpone(&mut self, instance: &Instance<'d>) {
        if self.is_too_large() { self.postpone(instance) } else { self.activate(instance) }
    }

    /// Leaves a step to the next decision: it sleeps until now. Nothing else would wake the run.
    pub(super) fn postpone(&mut self, instance: &Instance<'d>) {
        self.open_generation(instance);
        self.push(EventKind::StepWaiting { step: instance.id.clone(), until: self.context.now, step_deadline: None });
    }
}
