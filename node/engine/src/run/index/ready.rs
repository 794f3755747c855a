//! Which steps of a scope are ready: nothing that they need is missing, and the scope lets them begin; and which item comes next.

use std::ops::Bound;

use quorus_mutants::{Mutant, active};

use super::{Index, Place, Standing, remove_scope};
use crate::run::instance::{self, Instance, ScopeId};
use crate::run::states::States;
use crate::{PlannedKind, PlannedStep, RunOn, StepState};

impl Index<'_> {
    pub(super) fn settle_dependents(&mut self, states: &impl States, instance: &Instance<'_>, ended: bool) {
        let plan = states.plan();
        if instance.undoes {
            return;
        }
        for &dependent in &instance.step.dependents {
            let step = &plan.steps[dependent];
            let place = (instance.scope.clone(), instance::position(step));
            self.count_need(place, step, ended);
            self.find_step(states, &instance.scope, step);
        }
    }

    /// A need of a step ended, or begins again.
    pub(super) fn count_need(&mut self, place: Place, step: &PlannedStep, ended: bool) {
        let missing = self.missing.get(&place).copied().unwrap_or_else(|| needs(step));
        let missing = if ended { missing.saturating_sub(1) } else { missing + 1 };
        if missing < needs(step) {
            self.missing.insert(place, missing);
        } else {
            self.missing.remove(&place);
        }
    }

    /// Finds out whether a step is ready.
    fn find_step(&mut self, states: &impl States, scope: &ScopeId, step: &PlannedStep) {
        let Some(instance) = Instance::of(states.plan(), &instance::in_scope(scope, step)) else { return };
        let place = (scope.clone(), instance::position(step));
        let standing = Standing::of(states, &instance);
        self.find_if_ready(states, &instance, &place, &standing);
    }

    pub(super) fn find_if_ready(&mut self, states: &impl States, instance: &Instance<'_>, place: &Place, standing: &Standing) {
        if instance.item.is_some() || instance.undoes {
            return;
        }
        let missing = self.missing.get(place).copied().unwrap_or_else(|| needs(instance.step));
        let have_ended = missing == 0 || active(Mutant::JoinTooEarly) && missing < needs(instance.step);
        if !standing.started && have_ended && states.may_begin(instance) {
            self.ready.insert(place.clone(), ());
        } else {
            self.ready.remove(place);
        }
    }

    /// Finds the steps of a scope that are ready, after what it does has changed.
    pub(super) fn find_ready(&mut self, states: &impl States, scope: &ScopeId) {
        let plan = states.plan();
        remove_scope(&mut self.ready, scope);
        let Some(id) = scope else {
            let observed =
                |&&index: &&usize| observes_if(states, plan.body.as_slice(), None) || plan.steps[index].role != crate::Role::Body;
            let all = plan.body.iter().chain(&plan.finally).chain(&plan.on_attention).filter(observed);
            return all.for_each(|&index| self.find_step(states, scope, &plan.steps[index]));
        };
        let Some(instance) = Instance::of(plan, id) else { return };
        if instance.has_items() {
            return self.find_next_item(states, scope);
        }
        if observes_if(states, &instance.step.body, states.entry(id)) {
            instance.step.body.iter().for_each(|&index| self.find_step(states, scope, &plan.steps[index]));
        }
        if let Some(guard) = guard(instance.step) {
            self.find_step(states, scope, &plan.steps[guard]);
        }
    }

    /// The next item of a `for_each`, if there is room for it. The iterations of a `repeat` follow from each other.
    pub(super) fn find_next_item(&mut self, states: &impl States, scope: &ScopeId) {
        remove_scope(&mut self.ready, scope);
        let Some(tally) = self.tallies.get(scope).copied() else { return };
        let Some(container) = scope.as_ref().and_then(|id| Instance::of(states.plan(), id)) else { return };
        let PlannedKind::ForEach(items) = &container.step.kind else { return };
        let runs = states.entry(&container.id).and_then(|state| state.scope.as_ref()).filter(|scope| scope.phase == crate::Phase::Forward);
        let Some(total) = runs.map(|scope| scope.total) else { return };
        if tally.open >= items.max_parallel || tally.sleeping > 0 {
            return;
        }
        let again = self.again.from(Bound::Included(&(scope.clone(), 0))).next().map(|(place, ())| place.clone());
        match again.filter(|(of, _)| of == scope) {
            Some(place) => self.ready.insert(place, ()),
            None if tally.next < total => self.ready.insert((scope.clone(), tally.next), ()),
            None => {}
        }
    }
}

/// A scope that fails goes on only for the sake of steps that observe it.
fn observes_if(states: &impl States, body: &[usize], scope: Option<&StepState>) -> bool {
    let phase = match scope {
        Some(state) => state.scope.as_ref().map_or(crate::Phase::Stopping, |scope| scope.phase),
        None => states.head().phase(),
    };
    phase == crate::Phase::Forward || body.iter().any(|&index| states.plan().steps[index].run_on != RunOn::Success)
}

fn needs(step: &PlannedStep) -> u32 {
    u32::try_from(step.needs.len()).unwrap_or(u32::MAX)
}

fn guard(step: &PlannedStep) -> Option<usize> {
    match &step.kind {
        PlannedKind::Group(group) => group.guard,
        _ => None,
    }
}
