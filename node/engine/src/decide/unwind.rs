//! Undoes what was done in a scope: completed and doubtful steps, the last end first, one after another. A container that has ended is one
//! entry at its end, and is undone from the inside unless it has a compensation of its own.

use quorus_mutants::{Mutant, active};

use super::Decider;
use crate::run::{Instance, ScopeId, States, entry_at};
use crate::{AttentionCause, EventKind, Failure, Phase, PlannedKind, RunStatus, StepId, StepStatus};

/// How far the undoing of one entry is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Undoing {
    NotBegun,
    UnderWay,
    /// It waits for somebody.
    Failed,
}

impl<'d> Decider<'_, 'd, '_> {
    /// Goes on with the undoing of a scope, or ends it.
    pub(super) fn unwind(&mut self, scope: &ScopeId) {
        let plan = self.draft.run.plan();
        let container = scope.as_ref().and_then(|id| Instance::of(plan, id));
        // A scope that undoes itself does so by its own compensation, if it has one.
        if let Some(container) = &container
            && container.item.is_none()
            && container.step.compensation.is_some()
        {
            match self.undoing(container) {
                Undoing::NotBegun if self.is_undone(container) => self.undone(scope),
                Undoing::NotBegun => self.undo(container),
                Undoing::UnderWay | Undoing::Failed => {}
            }
            return;
        }
        let at_a_time = match container.as_ref().map(|container| (&container.step.kind, container.item)) {
            Some((PlannedKind::ForEach(items), None)) => items.compensate_parallel.max(1),
            _ => 1,
        };
        let last: Vec<u32> = if active(Mutant::ForwardCompensation) {
            let ends: Vec<u32> = self.draft.index.undo_in(scope).collect();
            ends.into_iter().rev().take(at_a_time as usize).collect()
        } else {
            self.draft.index.undo_in(scope).take(at_a_time as usize).collect()
        };
        let is_last = || self.draft.index.undo_in(scope).nth(1).is_none();
        if last.is_empty() || active(Mutant::SkippedCompensation) && is_last() {
            return self.undone(scope);
        }
        for position in last {
            let Some(instance) = entry_at(plan, scope, position).and_then(|id| Instance::of(plan, &id)) else { continue };
            self.undo_if_idle(&instance);
        }
    }

    fn undone(&mut self, scope: &ScopeId) {
        self.push(EventKind::PhaseChanged { scope: scope.clone(), phase: Phase::Compensated, failure: None, deadline: None });
    }

    fn is_undone(&self, instance: &Instance<'d>) -> bool {
        self.draft.current(instance).is_some_and(|state| self.draft.is_undone(&instance.id, state))
    }

    fn undoing(&self, instance: &Instance<'d>) -> Undoing {
        let compensation = Instance::of(self.draft.run.plan(), &instance.id.compensation());
        if let Some(state) = compensation.and_then(|compensation| self.draft.current(&compensation)) {
            let waits_for_people = self.draft.head().status == RunStatus::NeedsAttention;
            return match state.status {
                StepStatus::Failed if waits_for_people => Undoing::Failed,
                // One that failed before somebody repaired the run, or was cut by a terminate, is tried again.
                status if status.is_final() || status == StepStatus::Pending => Undoing::NotBegun,
                _ => Undoing::UnderWay,
            };
        }
        let is_final = self.draft.current(instance).is_some_and(|state| state.status.is_final());
        match self.phase(&Some(instance.id.clone())) {
            Phase::Compensating if is_final => Undoing::UnderWay,
            _ => Undoing::NotBegun,
        }
    }

    /// Begins to undo an entry, unless that is under way or waits for somebody.
    pub(super) fn undo_if_idle(&mut self, instance: &Instance<'d>) {
        if self.undoing(instance) == Undoing::NotBegun {
            self.undo(instance);
        }
    }

    /// Begins to undo one entry.
    fn undo(&mut self, instance: &Instance<'d>) {
        let compensation = Instance::of(self.draft.run.plan(), &instance.id.compensation()).filter(|_| instance.item.is_none());
        if let Some(compensation) = &compensation
            && let Some(ended) = self.draft.current(compensation).filter(|state| state.status.is_final()).cloned()
        {
            self.reopen(compensation, &ended);
        }
        match compensation {
            Some(compensation) if compensation.is_child_compensation() => self.request_child_compensation(instance, &compensation),
            Some(compensation) if self.is_too_large() => self.postpone(&compensation),
            Some(compensation) => self.activate(&compensation),
            None => {
                let scope = Some(instance.id.clone());
                self.push(EventKind::PhaseChanged { scope, phase: Phase::Compensating, failure: None, deadline: None });
            }
        }
    }

    /// A compensation failed for good: only people can help.
    pub(super) fn compensation_failed(&mut self, instance: &Instance<'d>, failure: Failure) {
        let step = instance.id.undoes();
        self.ask_for_attention(AttentionCause::CompensationFailed, step, Some(failure));
    }

    pub(super) fn ask_for_attention(&mut self, cause: AttentionCause, step: Option<StepId>, failure: Option<Failure>) {
        if self.draft.head().status != RunStatus::NeedsAttention {
            self.push(EventKind::AttentionRequested { cause, step, failure });
        }
    }

    /// A scope would have to go backwards behind a point of no return.
    pub(super) fn point_of_no_return(&mut self, scope: &ScopeId) {
        let failure = self.draft.head().failure.clone().or_else(|| {
            let state = scope.as_ref().and_then(|id| self.draft.entry(id))?;
            state.scope.as_ref()?.failure.clone()
        });
        self.ask_for_attention(AttentionCause::NoReturn, scope.clone(), failure);
    }
}
