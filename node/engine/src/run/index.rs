//! What follows from the stored entries of a run, and is needed at each step: which entries are open, which steps are ready, what is to be
//! undone.
//!
//! It can be built from the entries at any time, and follows each event at the cost of the event's own step: an entry is found by its scope
//! and its place in it, so that a run may have any number of them. Scopes that have ended leave nothing here but what may have to be undone.
//! The same code follows for a run and for a draft of one, which is a layer over it. `ready.rs` finds what may begin.

mod ready;

use std::ops::Bound;

use super::instance::{self, Instance, ScopeId};
use super::layered::Layered;
use super::states::States;
use crate::{Event, EventKind, PlannedKind, SignalKey, SignalState, StepId, StepState, StepStatus};

/// A scope, and a place in it.
pub(crate) type Place = (ScopeId, u32);

/// What is counted of a scope whose steps or items are executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Steps of its body that have ended.
    pub(crate) ended: u32,
    /// Items that have an entry: all that come before this one.
    pub(crate) next: u32,
    /// Items that are open; and those of them that sleep before they begin.
    pub(crate) open: u32,
    pub(crate) sleeping: u32,
    /// Items that ended well, and those that did not, or undo themselves because they won't.
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Index<'a> {
    /// The run, and scopes whose status is running.
    pub(crate) tallies: Layered<'a, ScopeId, Tally>,
    /// Needs that have not ended, of steps of which some have.
    missing: Layered<'a, Place, u32>,
    /// May begin now.
    pub(crate) ready: Layered<'a, Place, ()>,
    /// Started and not ended; or ended and being undone.
    pub(crate) open: Layered<'a, Place, ()>,
    /// Items that are to begin again.
    again: Layered<'a, Place, ()>,
    /// What may have to be undone, by scope and end.
    pub(crate) undo: Layered<'a, (ScopeId, u64), u32>,
    /// Steps that wait for a signal, by its name and in plan order.
    pub(crate) awaiting: Layered<'a, (String, u32, StepId), ()>,
    /// Signals that no step took.
    pub(crate) unread: Layered<'a, SignalKey, ()>,
    pub(crate) signal_ids: Layered<'a, String, ()>,
}

/// Where an entry stands, as far as it matters here. One from an earlier generation stands nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    exists: bool,
    started: bool,
    open: bool,
    sleeping: bool,
    runs_scope: bool,
    ended: Option<StepStatus>,
    /// It failed, and undoes itself before that is its end.
    failing: bool,
    undo: u64,
    awaits: Option<String>,
}

impl Standing {
    pub(crate) fn of(states: &impl States, instance: &Instance<'_>) -> Self {
        let Some(state) = states.current(instance) else { return Self::default() };
        let is_final = state.status.is_final();
        let phase = state.scope.as_ref().map(|scope| scope.phase);
        let unwinds = is_final && phase == Some(crate::Phase::Compensating);
        Self {
            exists: true,
            started: state.status != StepStatus::Pending,
            open: state.status.is_open() || unwinds,
            sleeping: state.status == StepStatus::Waiting,
            runs_scope: state.status == StepStatus::Running && state.scope.is_some(),
            ended: is_final.then_some(state.status),
            failing: !is_final && matches!(phase, Some(crate::Phase::Compensating | crate::Phase::Compensated)),
            undo: if is_final && state.end_seq > 0 && !states.is_undone(&instance.id, state) { state.end_seq } else { 0 },
            awaits: match &instance.step.kind {
                PlannedKind::Signal(signal) if state.status == StepStatus::Awaiting => Some(signal.name.clone()),
                _ => None,
            },
        }
    }
}

impl Index<'static> {
    /// Builds it from the entries.
    pub(crate) fn build<'e>(
        states: &impl States,
        entries: impl Iterator<Item = (&'e StepId, &'e StepState)>,
        signals: impl Iterator<Item = (&'e SignalKey, &'e SignalState)>,
    ) -> Self {
        let mut index = Self::default();
        let mut scopes = vec![None];
        for (id, _) in entries {
            let Some(instance) = Instance::of(states.plan(), id) else { continue };
            let standing = Standing::of(states, &instance);
            let place = (instance.scope.clone(), instance.position());
            index.place(&instance, &place, &Standing::default(), &standing);
            if standing.runs_scope {
                scopes.push(Some(id.clone()));
            }
        }
        for scope in scopes {
            index.build_scope(states, &scope);
        }
        for (key, signal) in signals {
            index.signal_ids.insert(signal.id.clone(), ());
            if signal.consumed_by.is_none() {
                index.unread.insert(key.clone(), ());
            }
        }
        index
    }

    /// An empty layer over this index.
    pub(crate) fn draft(&self) -> Index<'_> {
        Index {
            tallies: self.tallies.draft(),
            missing: self.missing.draft(),
            ready: self.ready.draft(),
            open: self.open.draft(),
            again: self.again.draft(),
            undo: self.undo.draft(),
            awaiting: self.awaiting.draft(),
            unread: self.unread.draft(),
            signal_ids: self.signal_ids.draft(),
        }
    }

    /// How many entries it has.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let places = [&self.ready, &self.open, &self.again].map(Layered::len);
        self.tallies.len() + self.missing.len() + self.undo.len() + self.awaiting.len() + places.into_iter().sum::<usize>()
    }

    /// All of it, to be compared.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> impl PartialEq + std::fmt::Debug {
        (
            self.tallies.entries(),
            self.missing.entries(),
            self.ready.entries(),
            self.open.entries(),
            (self.again.entries(), self.undo.entries()),
            self.awaiting.entries(),
            self.unread.entries(),
            self.signal_ids.entries(),
        )
    }
}

impl Index<'_> {
    /// Follows an event that was folded into the entries. `before` is where its step stood before.
    pub(crate) fn follow(&mut self, states: &impl States, event: &Event, seq: u64, before: Option<(Instance<'_>, Standing)>) {
        if let Some((instance, before)) = before {
            self.follow_step(states, &instance, &before);
        }
        match &event.kind {
            EventKind::RunStarted(_)
            | EventKind::RunFailing { .. }
            | EventKind::RunCancelRequested { .. }
            | EventKind::RunEnded { .. }
            | EventKind::SlotRequested { .. }
            | EventKind::SlotGranted
            | EventKind::PhaseChanged { scope: None, .. } => self.find_ready(states, &None),
            EventKind::PhaseChanged { scope: Some(step), .. } => self.find_ready(states, &Some(step.clone())),
            // The steps of `finally` and `on_attention` begin again from here.
            EventKind::RunReopened { .. } | EventKind::AttentionRequested { .. } => self.build_scope(states, &None),
            EventKind::StepReopened { step, .. } | EventKind::ScopeRetried { step, .. } => self.forget_below(states, step),
            EventKind::SignalReceived { name, id, .. } => {
                self.signal_ids.insert(id.clone(), ());
                self.unread.insert(SignalKey { name: name.as_str().into(), seq }, ());
            }
            EventKind::SignalConsumed { signal, .. } => self.unread.remove(signal),
            EventKind::StepQueued { .. }
            | EventKind::StepLeased { .. }
            | EventKind::StepCheckpointed { .. }
            | EventKind::AttemptEnded { .. }
            | EventKind::StepWaiting { .. }
            | EventKind::StepCancelRequested { .. }
            | EventKind::StepEnded { .. }
            | EventKind::ScopeStarted { .. }
            | EventKind::ScopeReopened { .. }
            | EventKind::StepAwaiting { .. }
            | EventKind::ApprovalRecorded { .. }
            | EventKind::ChildRequested { .. }
            | EventKind::ChildStarted { .. }
            | EventKind::ChildCancelRequested { .. }
            | EventKind::ChildCompensationRequested { .. }
            | EventKind::ChildEnded { .. }
            | EventKind::ParentNotified
            | EventKind::SlotReleased
            | EventKind::RunPaused { .. }
            | EventKind::RunResumed { .. }
            | EventKind::NoReturnBound { .. }
            | EventKind::NoReturnLifted { .. }
            | EventKind::Repaired { .. }
            | EventKind::RunMigrated { .. }
            | EventKind::RunAnnotated { .. }
            | EventKind::PoolChanged { .. } => {}
        }
    }

    fn follow_step(&mut self, states: &impl States, instance: &Instance<'_>, before: &Standing) {
        let after = Standing::of(states, instance);
        if *before == after {
            return;
        }
        let scope = &instance.scope;
        let place = (scope.clone(), instance.position());
        self.place(instance, &place, before, &after);
        if instance.undoes {
            self.follow_undone(states, instance);
        }
        if let Some(tally) = self.tallies.get(scope).copied() {
            self.tallies.insert(scope.clone(), count(tally, instance, before, &after));
            if instance.item.is_some() {
                toggle(&mut self.again, &place, before.exists && !before.started, after.exists && !after.started);
            }
            if instance.item.is_none() && before.ended.is_some() != after.ended.is_some() {
                self.settle_dependents(states, instance, after.ended.is_some());
            }
            self.find_if_ready(states, instance, &place, &after);
        }
        match (before.runs_scope, after.runs_scope) {
            (false, true) => self.build_scope(states, &Some(instance.id.clone())),
            (true, false) => self.drop_scope(&Some(instance.id.clone())),
            (true, true) | (false, false) => {}
        }
        if instance.item.is_some() {
            self.find_next_item(states, scope);
        }
    }

    fn place(&mut self, instance: &Instance<'_>, place: &Place, before: &Standing, after: &Standing) {
        toggle(&mut self.open, place, before.open, after.open);
        if before.undo != after.undo {
            self.undo.remove(&(place.0.clone(), before.undo));
            if after.undo > 0 {
                self.undo.insert((place.0.clone(), after.undo), place.1);
            }
        }
        if before.awaits != after.awaits {
            let key = |name: &String| (name.clone(), place.1, instance.id.clone());
            if let Some(name) = &before.awaits {
                self.awaiting.remove(&key(name));
            }
            if let Some(name) = &after.awaits {
                self.awaiting.insert(key(name), ());
            }
        }
    }

    /// A compensation changed: what it undoes may be undone.
    fn follow_undone(&mut self, states: &impl States, instance: &Instance<'_>) {
        let Some(step) = instance.id.undoes().and_then(|id| Instance::of(states.plan(), &id)) else { return };
        let Some(state) = states.current(&step).filter(|state| state.end_seq > 0) else { return };
        let key = (step.scope.clone(), state.end_seq);
        if states.is_undone(&step.id, state) {
            self.undo.remove(&key);
        } else {
            self.undo.insert(key, step.position());
        }
    }

    /// Counts what a scope has, and finds what is ready in it.
    fn build_scope(&mut self, states: &impl States, scope: &ScopeId) {
        let plan = states.plan();
        remove_scope(&mut self.missing, scope);
        let mut tally = Tally::default();
        let container = scope.as_ref().and_then(|id| Instance::of(plan, id));
        match &container {
            Some(container) if container.has_items() => {
                while let Some(item) = Instance::of(plan, &container.id.item(tally.next)) {
                    let standing = Standing::of(states, &item);
                    if !standing.exists {
                        break;
                    }
                    if !standing.started {
                        self.again.insert((scope.clone(), tally.next), ());
                    }
                    tally = count(tally, &item, &Standing::default(), &standing);
                }
            }
            _ => {
                let own = container.as_ref().map(|container| container.step.body.as_slice());
                let lists = [own.unwrap_or(&plan.body), &plan.finally, &plan.on_attention];
                let lists = if own.is_some() { &lists[..1] } else { &lists[..] };
                for step in lists.iter().copied().flatten().map(|&index| &plan.steps[index]) {
                    let Some(instance) = Instance::of(plan, &instance::in_scope(scope, step)) else { continue };
                    let standing = Standing::of(states, &instance);
                    tally = count(tally, &instance, &Standing::default(), &standing);
                    if standing.ended.is_some() {
                        for &dependent in &step.dependents {
                            let step = &plan.steps[dependent];
                            self.count_need((scope.clone(), instance::position(step)), step, true);
                        }
                    }
                }
            }
        }
        self.tallies.insert(scope.clone(), tally);
        self.find_ready(states, scope);
    }

    fn drop_scope(&mut self, scope: &ScopeId) {
        self.tallies.remove(scope);
        remove_scope(&mut self.missing, scope);
        remove_scope(&mut self.ready, scope);
        remove_scope(&mut self.again, scope);
    }

    /// What is below a step is from an earlier generation now.
    fn forget_below(&mut self, states: &impl States, step: &StepId) {
        let plan = states.plan();
        let mut scopes: Vec<_> = Instance::of(plan, step).into_iter().collect();
        while let Some(container) = scopes.pop() {
            if container.has_items() {
                let items = (0..).map(|position| container.id.item(position)).take_while(|item| states.entry(item).is_some());
                scopes.extend(items.filter_map(|item| Instance::of(plan, &item)));
            }
            let scope = Some(container.id.clone());
            if !container.has_items() {
                let inner = container.step.body.iter().map(|&index| &plan.steps[index]).filter(|step| step.kind.is_container());
                scopes.extend(inner.filter_map(|step| Instance::of(plan, &instance::in_scope(&scope, step))));
            }
            let ends = self.undo.from(Bound::Included(&(scope.clone(), 0)));
            let gone: Vec<_> = ends.take_while(|((of, _), _)| *of == scope).map(|(key, _)| key.clone()).collect();
            for key in gone {
                self.undo.remove(&key);
            }
        }
    }

    /// True if something in the scope has not ended, or is being undone.
    pub(crate) fn has_open(&self, scope: &ScopeId) -> bool {
        self.open_in(scope).next().is_some()
    }

    /// What has not ended in a scope, in plan order.
    pub(crate) fn open_in(&self, scope: &ScopeId) -> impl Iterator<Item = u32> {
        self.open
            .from(Bound::Included(&(scope.clone(), 0)))
            .take_while(move |((of, _), ())| of == scope)
            .map(|((_, position), ())| *position)
    }

    /// True if something in the scope may begin.
    pub(crate) fn has_ready(&self, scope: &ScopeId) -> bool {
        self.ready.from(Bound::Included(&(scope.clone(), 0))).next().is_some_and(|((of, _), ())| of == scope)
    }

    /// What may have to be undone in a scope, the last end first.
    pub(crate) fn undo_in(&self, scope: &ScopeId) -> impl Iterator<Item = u32> {
        let scope = scope.clone();
        self.undo.before(&(scope.clone(), u64::MAX)).take_while(move |((of, _), _)| *of == scope).map(|(_, position)| *position)
    }
}

fn count(mut tally: Tally, instance: &Instance<'_>, before: &Standing, after: &Standing) -> Tally {
    let change = |value: &mut u32, before: bool, after: bool| *value = (*value + u32::from(after)).saturating_sub(u32::from(before));
    if instance.item.is_some() {
        let well = |standing: &Standing| standing.ended == Some(StepStatus::Succeeded);
        change(&mut tally.next, before.exists, after.exists);
        change(&mut tally.open, before.open, after.open);
        change(&mut tally.sleeping, before.sleeping, after.sleeping);
        change(&mut tally.succeeded, well(before), well(after));
        let failed = |standing: &Standing| standing.failing || standing.ended.is_some() && !well(standing);
        change(&mut tally.failed, failed(before), failed(after));
    } else if instance.is_body() {
        change(&mut tally.ended, before.ended.is_some(), after.ended.is_some());
    }
    tally
}

fn toggle(map: &mut Layered<'_, Place, ()>, place: &Place, before: bool, after: bool) {
    match (before, after) {
        (false, true) => map.insert(place.clone(), ()),
        (true, false) => map.remove(place),
        (true, true) | (false, false) => {}
    }
}

fn remove_scope<V>(map: &mut Layered<'_, Place, V>, scope: &ScopeId) {
    let keys: Vec<_> =
        map.from(Bound::Included(&(scope.clone(), 0))).take_while(|((of, _), _)| of == scope).map(|(key, _)| key.clone()).collect();
    for key in keys {
        map.remove(&key);
    }
}
