//! What must hold after every decision.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Replica, World};
use crate::{EventKind, Run, RunStatus, StepId, StepStatus, Token, fold};

pub(super) fn check(world: &World) {
    let run = &world.run;
    assert_eq!(run.head(), &world.replica.head, "fold and the working state agree");
    assert_eq!(run.steps(), &world.replica.steps, "fold and the working state agree");
    assert_eq!(run.head().seq, world.events.len() as u64);

    let loaded = Run::load(run.info().clone(), run.head().clone(), run.steps().clone(), run.plan().clone());
    assert!(loaded.derived() == run.derived(), "what follows from the state can be rebuilt:\n{:?}\n{:?}", loaded.derived(), run.derived());

    let ended = run.steps().values().filter(|state| state.status.is_final()).count();
    assert_eq!(run.head().steps_ended as usize, ended);
    for (id, state) in run.steps() {
        assert_eq!(state.lease.is_some(), state.status == StepStatus::Leased, "{id}: {state:?}");
        assert_eq!(state.due.is_some(), matches!(state.status, StepStatus::Waiting | StepStatus::BackingOff), "{id}: {state:?}");
        assert!(state.failures <= state.attempt && state.checkpoint_attempt <= state.attempt, "{id}: {state:?}");
        assert_ne!(state.status, StepStatus::Pending, "{id}: no entry without a start");
        if state.status.is_final() {
            assert_eq!(state.timers().count(), 0, "{id}: {state:?}");
            assert!(state.ended_at.is_some() && state.input.is_none() && state.checkpoint.is_none(), "{id}: {state:?}");
        }
    }
    wakers(run);
    history(world);
}

/// Nothing is orphaned: a run that has not ended has an open step, and each open step has something that will wake it.
fn wakers(run: &Run) {
    let status = run.head().status;
    if status.is_final() {
        assert_eq!(run.open_steps().count(), 0, "an ended run has nothing open");
        assert_eq!(run.head().timer(), None);
        return;
    }
    assert!(run.open_steps().count() > 0, "a run that goes on waits for something");
    for (step, state) in run.open_steps() {
        match state.status {
            StepStatus::Queued => assert!(state.schedule_deadline.is_some(), "{}", step.id),
            StepStatus::Leased => {
                let lease = state.lease.as_ref().unwrap();
                assert!(lease.attempt_deadline.is_some() && lease.duration.0 > 0, "{}", step.id);
            }
            StepStatus::Waiting | StepStatus::BackingOff => assert!(state.due.is_some(), "{}", step.id),
            StepStatus::Pending | StepStatus::Succeeded | StepStatus::Failed | StepStatus::Skipped | StepStatus::Cancelled => {
                panic!("{} is not open", step.id)
            }
        }
        if matches!(status, RunStatus::Failing | RunStatus::Cancelling) {
            assert!(
                state.status == StepStatus::Leased && state.cancel_deadline.is_some(),
                "{}: only live attempts hold up the end",
                step.id
            );
        }
    }
}

/// Order, uniqueness and tokens, over the whole history.
fn history(world: &World) {
    let plan = world.run.plan();
    let mut ended: BTreeSet<StepId> = BTreeSet::new();
    let mut seen: BTreeSet<StepId> = BTreeSet::new();
    let mut last = Token(0);
    let mut run_ended = false;
    for (position, event) in world.events.iter().enumerate() {
        let seq = position as u64 + 1;
        assert!(!run_ended, "nothing follows the end of a run");
        if let Some(id) = event.step() {
            assert!(!ended.contains(id), "nothing follows the end of step {id}");
            if seen.insert(id.clone()) {
                for need in &plan.step(id).unwrap().needs {
                    let need = &plan.steps[need.index].id;
                    assert!(ended.contains(need), "{id} waits for {need}");
                }
            }
        }
        match &event.kind {
            EventKind::StepLeased { token, .. } => {
                assert_eq!(token.0, seq);
                assert!(*token > last, "tokens rise");
                last = *token;
            }
            EventKind::StepEnded { step, .. } => assert!(ended.insert(step.clone()), "one outcome per step"),
            EventKind::RunEnded { .. } => run_ended = true,
            EventKind::RunStarted(_) => assert_eq!(seq, 1),
            EventKind::StepQueued { .. }
            | EventKind::StepCheckpointed { .. }
            | EventKind::AttemptEnded { .. }
            | EventKind::StepWaiting { .. }
            | EventKind::StepCancelRequested { .. }
            | EventKind::RunFailing { .. }
            | EventKind::RunCancelRequested { .. } => {}
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
        let stored = (replica.head.clone(), replica.steps.clone());
        let mut run =
            Run::load(world.run.info().clone(), stored.0, stored.1.into_iter().collect::<BTreeMap<_, _>>(), world.run.plan().clone());
        for event in after {
            run.apply(event);
            let Ok(()) = fold(&mut replica, event);
        }
        assert_eq!(replica, world.replica);
        assert_eq!((run.head(), run.steps()), (&replica.head, &replica.steps));
        assert!(run.derived() == world.run.derived(), "cut at {cut}");
    }
}
