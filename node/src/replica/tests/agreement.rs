//! The state depends on the records alone: not on how they are grouped, not on restarts, not on whether it came by log or by snapshot.

use std::sync::Arc;

use proptest::prelude::*;
use quorus_engine::Run;
use quorus_raft::{StateMachine, disk::MemoryDisk};

use super::{
    shard::{GROUP, Shard},
    world::{World, ops},
};
use crate::store::testing::copy_group;

/// Applies all entries, `sizes` at a time (and again from the first size).
fn apply_in_chunks(shard: &mut Shard, world: &World, sizes: &[usize]) {
    let mut rest = &world.entries[..];
    let mut answers = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, later) = rest.split_at((*size).min(rest.len()));
        answers.extend(shard.apply(chunk));
        rest = later;
    }
    assert_eq!(answers, world.answers);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn grouping_of_records_into_apply_calls_changes_nothing(
        ops in ops(80),
        sizes in proptest::collection::vec(1usize..12, 1..5),
    ) {
        let world = World::of(&ops);
        let mut one_by_one = Shard::new();
        apply_in_chunks(&mut one_by_one, &world, &[1]);
        let mut chunked = Shard::new();
        apply_in_chunks(&mut chunked, &world, &sizes);
        prop_assert_eq!(one_by_one.digest(), chunked.digest());
        prop_assert_eq!(one_by_one.heard.changes(), chunked.heard.changes());
    }

    #[test]
    fn a_restart_at_any_record_changes_nothing(ops in ops(60), cut in any::<prop::sample::Index>()) {
        let world = World::of(&ops);
        let mut whole = Shard::new();
        apply_in_chunks(&mut whole, &world, &[3]);

        let cut = cut.index(world.entries.len() + 1);
        let mut first = Shard::new();
        first.apply(&world.entries[..cut]);
        let mut second = Shard::on(first.disk);
        second.replica.restored().unwrap();
        second.apply(&world.entries[cut..]);
        prop_assert_eq!(whole.digest(), second.digest());
    }

    #[test]
    fn a_snapshot_at_any_record_changes_nothing(ops in ops(60), cut in any::<prop::sample::Index>()) {
        let world = World::of(&ops);
        let mut sender = Shard::new();
        let cut = cut.index(world.entries.len() + 1);
        sender.apply(&world.entries[..cut]);

        // The receiver knows an older state, also in memory.
        let mut receiver = Shard::on(Arc::new(MemoryDisk::new()));
        receiver.apply(&world.entries[..cut / 2]);
        copy_group(&*sender.disk, &*receiver.disk, GROUP);
        receiver.replica.restored().unwrap();
        prop_assert_eq!(sender.digest(), receiver.digest());

        sender.apply(&world.entries[cut..]);
        receiver.apply(&world.entries[cut..]);
        prop_assert_eq!(sender.digest(), receiver.digest());
    }

    #[test]
    fn what_is_stored_is_what_the_leader_has_and_what_the_history_folds_to(ops in ops(80)) {
        let world = World::of(&ops);
        let mut shard = Shard::new();
        apply_in_chunks(&mut shard, &world, &[2]);
        for (uid, run) in world.runs.iter().filter(|(_, run)| run.head().seq > 0) {
            let loaded = shard.store.load_run(*uid).unwrap().unwrap();
            prop_assert_eq!(&loaded.info, run.info());
            prop_assert_eq!(&loaded.head, run.head());
            prop_assert_eq!(&loaded.steps, run.steps());
            prop_assert_eq!(shard.store.run_info(*uid).unwrap(), Some(run.info().clone()));
            prop_assert_eq!(shard.store.run_head(*uid).unwrap(), Some(run.head().clone()));

            let mut replayed = Run::new(run.info().clone(), run.plan().clone());
            let history = shard.store.history(*uid, 1, usize::MAX).unwrap();
            prop_assert!(history.iter().map(|(sequence, _)| *sequence).eq(1..=run.head().seq));
            for (_, event) in &history {
                replayed.apply(event);
            }
            prop_assert_eq!(replayed.head(), run.head());
            prop_assert_eq!(replayed.steps(), run.steps());
        }
        for (run_id, uid) in &world.ids {
            prop_assert_eq!(shard.store.current_uid("ns", run_id).unwrap(), Some(*uid));
        }
    }
}
