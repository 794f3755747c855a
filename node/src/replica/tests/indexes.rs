//! The indexes always equal what heads and steps say.

use std::{collections::BTreeSet, ops::ControlFlow};

use proptest::prelude::*;
use quorus_engine::{RunUid, StepId, StepStatus, Timestamp};

use super::{
    shard::Shard,
    world::{NAMESPACE, World, ops},
};
use crate::{
    query::{Condition, RunFilter},
    replica::index,
    store::{PlaceEntry, RunPlace, Timer},
};

/// What the indexes have to say.
#[derive(Debug, Default, PartialEq)]
struct Indexes {
    timers: BTreeSet<Timer>,
    open: BTreeSet<(RunUid, StepId)>,
    owed: BTreeSet<RunPlace>,
    awaiting: BTreeSet<RunPlace>,
}

/// Recomputed from the whole state.
fn recomputed(shard: &Shard, world: &World) -> Indexes {
    let Indexes { mut timers, mut open, mut owed, mut awaiting } = Indexes::default();
    for uid in world.runs.keys().chain(&world.purged) {
        let Some(run) = shard.store.load_run(*uid).unwrap() else { continue };
        timers.extend(run.head.timers().map(|(kind, due)| Timer { due, uid: *uid, kind, step: None }));
        for (id, state) in &run.steps {
            timers.extend(state.timers().map(|(kind, due)| Timer { due, uid: *uid, kind, step: Some(id.clone()) }));
            if index::is_open(state) {
                open.insert((*uid, id.clone()));
            }
            let place = RunPlace { uid: *uid, step: Some(id.clone()) };
            if state.owes().is_some() {
                owed.insert(place.clone());
            }
            if state.status == StepStatus::Awaiting {
                awaiting.insert(place);
            }
            assert!(!run.head.status.is_final() || !state.status.is_open(), "an ended run has no step that goes on");
        }
        if run.head.owes().next().is_some() {
            owed.insert(RunPlace { uid: *uid, step: None });
        }
        assert!(!run.head.status.is_final() || run.head.timers().next().is_none(), "an ended run has no timer");
    }
    Indexes { timers, open, owed, awaiting }
}

/// As they are stored, read in small pages.
fn stored(shard: &Shard) -> Indexes {
    let timers = shard.store.timers_after(None, Timestamp(i64::MAX), usize::MAX).unwrap().into_iter().map(|entry| entry.timer).collect();
    let mut indexes = Indexes { timers, ..Indexes::default() };
    let open = |step: crate::store::OpenStep| {
        assert!(index::is_open(&step.state));
        indexes.open.insert((step.uid, step.step));
        ControlFlow::Continue(())
    };
    shard.store.open_steps(open).unwrap();
    let pages = |page: &dyn Fn(Option<&RunPlace>) -> Vec<PlaceEntry>| {
        let mut places = BTreeSet::new();
        loop {
            let entries = page(places.last());
            assert!(entries.iter().all(|entry| places.last().is_none_or(|last| *last < entry.place)), "in order");
            if entries.is_empty() {
                return places;
            }
            places.extend(entries.into_iter().map(|entry| entry.place));
        }
    };
    indexes.owed = pages(&|after| shard.store.owed_after(after, 2).unwrap());
    indexes.awaiting = pages(&|after| shard.store.awaiting_after(after, 2).unwrap());
    indexes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn indexes_equal_what_the_state_says_after_every_record(ops in ops(70)) {
        let world = World::of(&ops);
        let mut shard = Shard::new();
        for (position, entry) in world.entries.iter().enumerate() {
            shard.apply(std::slice::from_ref(entry));
            if position % 4 != 0 && position + 1 != world.entries.len() {
                continue;
            }
            prop_assert_eq!(stored(&shard), recomputed(&shard, &world));
        }
    }

    #[test]
    fn timers_come_in_pages_and_the_next_one_is_known(ops in ops(70), limit in 1usize..4) {
        let world = World::of(&ops);
        let mut shard = Shard::new();
        shard.apply(&world.entries);
        let all = shard.store.timers_after(None, Timestamp(i64::MAX), usize::MAX).unwrap();
        let mut paged = Vec::new();
        loop {
            let after = paged.last().map(|entry: &crate::store::TimerEntry| &entry.timer);
            let page = shard.store.timers_after(after, Timestamp(i64::MAX), limit).unwrap();
            prop_assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        prop_assert_eq!(&paged, &all);
        for (position, entry) in all.iter().enumerate() {
            let due = entry.timer.due;
            let until: Vec<_> = all.iter().filter(|other| other.timer.due <= due).cloned().collect();
            prop_assert_eq!(shard.store.timers_after(None, due, usize::MAX).unwrap(), until);
            let later = all[position..].iter().find(|other| other.timer.due > due).map(|other| other.timer.clone());
            prop_assert_eq!(shard.store.next_timer_after(due).unwrap(), later);
            let run = &world.runs[&entry.timer.uid];
            prop_assert_eq!((entry.namespace.as_str(), &entry.run_id), (NAMESPACE, &run.info().run_id));
        }
    }

    #[test]
    fn the_list_shows_each_run_with_its_status(ops in ops(70), limit in 1usize..4) {
        let world = World::of(&ops);
        let mut shard = Shard::new();
        for chunk in world.entries.chunks(3) {
            shard.apply(chunk);
        }
        let mut statuses: Vec<_> = world.runs.values().map(|run| run.head().status).collect();
        statuses.sort();
        statuses.dedup();
        for status in statuses {
            let filter = RunFilter::all(NAMESPACE).and(Condition::Status { negated: false, any: [status].into() });
            let mut listed = BTreeSet::new();
            let mut after = None;
            loop {
                let page = shard.store.list_runs(&filter, after, limit).unwrap();
                for summary in page.runs {
                    prop_assert_eq!(summary.head.status, status);
                    listed.insert(summary.info.uid);
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let expected: BTreeSet<_> =
                world.runs.iter().filter(|(_, run)| run.head().seq > 0 && run.head().status == status).map(|(uid, _)| *uid).collect();
            prop_assert_eq!(listed, expected);
        }
    }
}
