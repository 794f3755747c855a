//! RestartFrom: undo a step and what followed from it, and begin with it again.

use std::collections::BTreeSet;

use super::super::Decider;
use super::Why;
use crate::run::{Instance, States, entry_at};
use crate::{EventKind, Phase, Rejection, Repair, Role, StepId};

pub(in super::super) fn restart_from(decider: &mut Decider<'_, '_, '_>, step: &StepId, why: Why<'_>) -> Result<(), Rejection> {
    let head = decider.draft.head();
    if !head.status.is_final() && !decider.is_held() {
        return Err(Rejection::RunActive(head.status));
    }
    let instance = decider.instance(step)?;
    let refuse = |why: &str| Err(Rejection::CantRestartFrom { step: step.clone(), why: why.to_owned() });
    if instance.scope.is_some() || instance.step.role != Role::Body {
        return refuse("only steps of the run's own scope are restarted from; take the container that it is in");
    }
    if decider.draft.current(&instance).is_none() {
        return refuse("it was never started");
    }
    for id in decider.followers(step) {
        let bound = decider.draft.entry(&id).is_some_and(|state| state.no_return);
        let inner = Instance::of(decider.draft.run.plan(), &id).is_some_and(|instance| instance.step.kind.is_container());
        if bound || (inner && decider.is_bound(&Some(id.clone()))) {
            return Err(Rejection::PastNoReturn(id));
        }
    }
    decider.repaired(Repair::RestartFrom, Some(step.clone()), why, false);
    decider.reopen_run(Phase::Rewinding);
    decider.settle();
    Ok(())
}

impl Decider<'_, '_, '_> {
    /// The step and everything that needs it, directly or not.
    fn followers(&self, step: &StepId) -> BTreeSet<StepId> {
        let plan = self.draft.run.plan();
        let mut found: BTreeSet<StepId> = BTreeSet::new();
        let mut next: Vec<usize> = plan.index(step).into_iter().collect();
        while let Some(index) = next.pop() {
            if found.insert(plan.steps[index].id.clone()) {
                next.extend(&plan.steps[index].dependents);
            }
        }
        found
    }

    /// Goes on undoing, the last end first; then all of it begins anew.
    pub(in super::super) fn rewind(&mut self) {
        let plan = self.draft.run.plan();
        let Some(step) = self.draft.head().rewinds_to.clone() else { return };
        let followers = self.followers(&step);
        let next = self.draft.index.undo_in(&None).filter_map(|position| entry_at(plan, &None, position)).find(|id| followers.contains(id));
        if let Some(instance) = next.and_then(|id| Instance::of(plan, &id)) {
            return self.undo_if_idle(&instance);
        }
        if self.draft.index.has_open(&None) {
            return self.stop_steps(&None, "the run begins again");
        }
        self.push(EventKind::PhaseChanged { scope: None, phase: Phase::Forward, failure: None, deadline: self.forward_deadline() });
        for step in plan.body.iter().map(|&index| &plan.steps[index]).filter(|step| followers.contains(&step.id)) {
            let Some(instance) = Instance::of(plan, &step.id) else { continue };
            if let Some(state) = self.draft.current(&instance).cloned() {
                self.reopen(&instance, &state);
            }
        }
        self.reopen_failed(&None, None);
    }
}
