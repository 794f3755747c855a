//! What must hold after every decision.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Replica, World};
use crate::{EventKind, Owed, Phase, PlannedKind, Run, RunStatus, StepId, StepState, StepStatus, Token, fold};

pub(super) fn check(world: &World) {
    let run = &world.run;
    assert_eq!(run.head(), &world.replica.head, "fold and the working state agree");
    assert_eq!(run.steps(), &world.replica.steps, "fold and the working state agree");
    assert_eq!(run.signals(), &world.replica.signals, "fold and the working state agree");
    assert_eq!(run.head().seq, world.events.len() as u64);

    let loaded = Run::load(run.info().clone(), run.head().clone(), run.steps().clone(), run.signals().clone(), run.plan().clone());
    assert!(
        loaded.derived() == run.derived(),
        "what follows from the state can be rebuilt:\n{:#?}\n{:#?}",
        loaded.derived(),
        run.derived()
    );

    let ended = run.steps().iter().filter(|(id, state)| id.is_plain() && state.status.is_final()).count();
    assert_eq!(run.head().steps_ended as usize, ended);
    let unread = run.signals().values().filter(|signal| signal.consumed_by.is_none()).count();
    assert_eq!(run.head().signals_unread as usize, unread);
    let bound = run.steps().values().filter(|state| state.no_return).count();
    assert_eq!(run.head().no_return as usize, bound);
    for (id, state) in run.steps() {
        entry(run, id, state);
    }
    wakers(run);
    history(world);
}

fn entry(run: &Run, id: &StepId, state: &StepState) {
    assert_eq!(state.lease.is_some(), state.status == StepStatus::Leased, "{id}: {state:?}");
    assert_eq!(state.due.is_some(), matches!(state.status, StepStatus::Waiting | StepStatus::BackingOff), "{id}: {state:?}");
    assert!(state.failures <= state.attempt && state.checkpoint_attempt <= state.attempt, "{id}: {state:?}");
    assert!(run.planned(id).is_some(), "{id} is in the plan");
    if state.status.is_final() {
        assert_eq!(state.timers().count(), 0, "{id}: {state:?}");
        assert!(state.ended_at.is_some(), "{id}: {state:?}");
        if state.end_seq == 0 {
            assert!(state.input.is_none() && state.checkpoint.is_none(), "{id}: {state:?}");
        }
    }
}

/// Nothing is orphaned: a run that has not ended waits for something, and each open step has something that will wake it.
fn wakers(run: &Run) {
    let status = run.head().status;
    if status.is_final() {
        assert_eq!(run.open_steps().count(), 0, "an ended run has nothing open");
        assert_eq!(run.head().timers().count(), 0);
        return;
    }
    match status {
        RunStatus::Queued => assert!(run.head().owes().any(|owed| owed == Owed::AcquireSlot)),
        // Waits for people.
        RunStatus::NeedsAttention => assert!(run.head().attention.is_some()),
        _ => assert!(run.open_steps().count() > 0, "a run that goes on waits for something: {:?}\n{:#?}", run.head(), run.derived()),
    }
    for (id, state) in run.open_steps() {
        match state.status {
            StepStatus::Queued => assert!(state.schedule_deadline.is_some(), "{id}"),
            StepStatus::Leased => {
                let lease = state.lease.as_ref().unwrap();
                assert!(lease.attempt_deadline.is_some() && lease.duration.0 > 0, "{id}");
            }
            StepStatus::Waiting | StepStatus::BackingOff => assert!(state.due.is_some(), "{id}"),
            StepStatus::Awaiting => {
                assert!(matches!(run.planned(id).unwrap().kind, PlannedKind::Signal(_) | PlannedKind::Approval(_)), "{id}");
            }
            StepStatus::Running if state.child.is_some() => {
                let child = state.child.as_ref().unwrap();
                assert!(child.ended.is_none() && (child.started || state.owes().is_some()), "{id}: {child:?}");
            }
            // A container: something in it, or its compensation, is open.
            StepStatus::Running => {
                let inside = run.open_steps().any(|(other, _)| is_inside(run, other, id) || other.undoes().as_ref() == Some(id));
                assert!(
                    inside || run.has_backlog() || status == RunStatus::NeedsAttention,
                    "{id} waits for something in it: {state:?}\n{:#?}",
                    run.derived()
                );
            }
            StepStatus::Succeeded | StepStatus::Failed | StepStatus::Cancelled | StepStatus::Skipped => {
                assert!(state.scope.is_some(), "{id} is being undone");
            }
            StepStatus::Pending => panic!("{id} is not open"),
        }
    }
}

/// True if an entry is somewhere inside of a container or item, or is that itself.
fn is_inside(run: &Run, id: &StepId, container: &StepId) -> bool {
    let around = std::iter::successors(Some(id.clone()), |id| crate::run::Instance::of(run.plan(), id).and_then(|instance| instance.scope));
    around.into_iter().any(|id| id == *container)
}

/// Order, uniqueness and tokens, over the whole history.
fn history(world: &World) {
    let plan = world.run.plan();
    let mut ended: BTreeMap<StepId, u64> = BTreeMap::new();
    let mut begun: BTreeSet<StepId> = BTreeSet::new();
    let mut last = Token(0);
    let mut run_ended = false;
    let mut undoing = Undoing::default();
    for (position, event) in world.events.iter().enumerate() {
        let seq = position as u64 + 1;
        undoing.follow(world, seq, event);
        if let EventKind::StepReopened { step, .. } | EventKind::ScopeReopened { step } = &event.kind {
            ended.remove(step);
            begun.remove(step);
            continue;
        }
        match &event.kind {
            EventKind::RunReopened { .. } => run_ended = false,
            EventKind::Repaired { .. }
            | EventKind::RunCancelRequested { .. }
            | EventKind::RunAnnotated { .. }
            | EventKind::ParentNotified
            | EventKind::SlotReleased
            | EventKind::ChildEnded { .. } => {}
            _ => assert!(!run_ended, "nothing follows the end of a run: {event:?}"),
        }
        let about_scope = matches!(
            event.kind,
            EventKind::PhaseChanged { .. }
                | EventKind::Repaired { .. }
                | EventKind::AttentionRequested { .. }
                | EventKind::ChildEnded { .. }
        );
        if let Some(id) = event.step().filter(|_| !about_scope) {
            assert!(!ended.contains_key(id), "nothing follows the end of step {id}: {event:?}");
            // People may do without a step before its turn.
            let is_passed = matches!(&event.kind, EventKind::StepEnded { skip: Some(crate::SkipCause::Operator), .. });
            if begun.insert(id.clone()) && !is_passed && id.as_item().is_none() && id.undoes().is_none() {
                let step = plan.step(&StepId::from(id.planned())).unwrap();
                for need in &step.needs {
                    let need = &plan.steps[need.index].id;
                    let need = id.within().map_or(need.clone(), |within| StepId::from(format!("{within}.{need}").as_str()));
                    assert!(ended.contains_key(&need), "{id} waits for {need}");
                }
            }
            if let Some(undone) = id.undoes().filter(|_| !matches!(event.kind, EventKind::StepEnded { .. })) {
                assert!(
                    ended.contains_key(&undone) || world.run.planned(&undone).unwrap().kind.is_container(),
                    "{id} undoes what has ended"
                );
            }
        }
        match &event.kind {
            EventKind::StepLeased { token, .. } => {
                assert_eq!(token.0, seq);
                assert!(*token > last, "tokens rise");
                last = *token;
            }
            EventKind::StepEnded { step, .. } => assert!(ended.insert(step.clone(), seq).is_none(), "one outcome per step"),
            EventKind::RunEnded { .. } => run_ended = true,
            EventKind::RunStarted(_) => assert_eq!(seq, 1),
            _ => {}
        }
    }
}

/// Any prefix and the rest give the same state as the whole, in memory and in a store.
pub(super) fn prefixes(world: &World) {
    for cut in 0..=world.events.len() {
        let (before, after) = world.events.split_at(cut);
        let mut replica = Replica::default();
        for event in before {
            let Ok(()) = fold(&mut replica, event);
        }
        let stored = replica.clone();
        let mut run = Run::load(world.run.info().clone(), stored.head, stored.steps, stored.signals, world.run.plan().clone());
        for event in after {
            run.apply(event);
            let Ok(()) = fold(&mut replica, event);
        }
        assert_eq!(replica, world.replica);
        assert_eq!((run.head(), run.steps(), run.signals()), (&replica.head, &replica.steps, &replica.signals));
        assert!(run.derived() == world.run.derived(), "cut at {cut}: {:#?}\n{:#?}", run.derived(), world.run.derived());
    }
}

/// Compensations follow the recorded ends, backwards, in each scope that undoes one entry at a time.
#[derive(Default)]
struct Undoing {
    /// Entries that have something that undoes them, by scope and end.
    ends: BTreeMap<(Option<StepId>, u64), StepId>,
    /// A part of the run is undone, not the last ends first.
    rewinds: bool,
}

impl Undoing {
    fn follow(&mut self, world: &World, seq: u64, event: &crate::Event) {
        let scope = |id: &StepId| crate::run::Instance::of(world.run.plan(), id).unwrap().scope;
        match &event.kind {
            EventKind::StepEnded { step, undo: true, .. } => drop(self.ends.insert((scope(step), seq), step.clone())),
            EventKind::StepEnded { step, status: StepStatus::Succeeded | StepStatus::Skipped, .. } => {
                if let Some(undone) = step.undoes() {
                    self.ends.retain(|_, step| *step != undone);
                }
            }
            EventKind::StepReopened { step, .. } | EventKind::ScopeReopened { step } => self.forget(world, step),
            EventKind::ScopeRetried { step, .. } => self.forget(world, step),
            EventKind::PhaseChanged { scope: Some(step), phase: Phase::Compensated, .. } => self.ends.retain(|_, ended| ended != step),
            EventKind::PhaseChanged { scope: Some(step), phase: Phase::Compensating, .. } => self.begin(&scope(step), step, world),
            EventKind::StepQueued { step, input, .. } if input.is_some() || step.undoes().is_some() => {
                if let Some(undone) = step.undoes() {
                    self.begin(&scope(&undone), &undone, world);
                }
            }
            EventKind::RunReopened { phase, .. } => self.rewinds = *phase == Phase::Rewinding,
            EventKind::PhaseChanged { scope: None, phase: Phase::Forward, .. } => self.rewinds = false,
            _ => {}
        }
    }

    fn begin(&self, scope: &Option<StepId>, step: &StepId, world: &World) {
        let side_by_side = scope.as_ref().and_then(|scope| world.run.planned(scope)).is_some_and(|container| match &container.kind {
            PlannedKind::ForEach(items) => items.compensate_parallel > 1,
            _ => false,
        });
        // A scope that undoes itself has not ended.
        let Some(((_, end), _)) = self.ends.iter().find(|((of, _), ended)| of == scope && *ended == step) else { return };
        if !side_by_side && !self.rewinds {
            let later: Vec<_> = self.ends.iter().filter(|((of, later), _)| of == scope && later > end).collect();
            assert!(later.is_empty(), "{step} is undone before what ended later: {later:?}");
        }
    }

    /// A new generation, and everything in it.
    fn forget(&mut self, world: &World, step: &StepId) {
        self.ends.retain(|_, ended| !is_inside(&world.run, ended, step));
    }
}
