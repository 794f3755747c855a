//! What is left of a run that was removed: nothing but the request that started it.

use std::{collections::BTreeSet, ops::ControlFlow};

use bytes::Bytes;
use proptest::prelude::*;
use quorus_engine::{Millis, RunUid, Timestamp};
use quorus_proto::log;

use super::{
    requests::{apply, run, shard},
    shard::{GROUP, Shard, entry},
    world::{NAMESPACE, World, ops},
};
use crate::{
    query::RunFilter,
    replica::{BatchAnswer, RecordAnswer},
    store::{key::prefix_end, reader::Reader},
};

/// Keys in which a uid stands.
fn keys_of(shard: &Shard, uid: RunUid) -> Vec<Bytes> {
    let prefix = GROUP.to_be_bytes();
    let mut keys = Vec::new();
    let visit = |key: &[u8], _: &[u8]| {
        if key.windows(16).any(|window| window == uid.to_bytes()) {
            keys.push(Bytes::copy_from_slice(key));
        }
        Ok(ControlFlow::Continue(()))
    };
    shard.disk.view().visit(&(Bytes::copy_from_slice(&prefix), prefix_end(&prefix)), visit).unwrap();
    keys
}

fn purge(shard: &mut Shard, uid: u128, expected_seq: u64) -> BatchAnswer {
    let purges = vec![log::PurgeRun { run_uid: Bytes::copy_from_slice(&RunUid(uid).to_bytes()), expected_seq }];
    match shard.apply(&[entry(9, &log::Record { term: 1, purges, ..log::Record::default() })]).remove(0) {
        RecordAnswer::Batches(answers) => answers[0],
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_a_removed_run_is_left_and_all_of_the_others_is(ops in ops(90), size in 1usize..9) {
        let world = World::of(&ops);
        let mut shard = Shard::new();
        for chunk in world.entries.chunks(size) {
            shard.apply(chunk);
        }
        for uid in &world.purged {
            prop_assert_eq!(keys_of(&shard, *uid), Vec::<Bytes>::new());
        }
        for (uid, run) in world.runs.iter().filter(|(_, run)| run.head().seq > 0) {
            let loaded = shard.store.load_run(*uid).unwrap().unwrap();
            prop_assert_eq!(&loaded.head, run.head());
        }
        let listed = shard.store.list_runs(&RunFilter::all(NAMESPACE), None, 1_000).unwrap().runs;
        let listed: BTreeSet<RunUid> = listed.iter().map(|run| run.info.uid).collect();
        let kept: BTreeSet<RunUid> = world.runs.iter().filter(|(_, run)| run.head().seq > 0).map(|(uid, _)| *uid).collect();
        prop_assert_eq!(listed, kept);
        // Each ended run, and no other, will go one day.
        let expiring = shard.store.expired_runs(Timestamp(i64::MAX), Millis(0), None, 1_000).unwrap().runs;
        let expiring: BTreeSet<RunUid> = expiring.iter().map(|run| run.uid).collect();
        let ended: BTreeSet<RunUid> =
            world.runs.iter().filter(|(_, run)| run.head().status.is_final()).map(|(uid, _)| *uid).collect();
        prop_assert_eq!(expiring, ended);
    }
}

#[test]
fn the_id_of_a_removed_run_is_free_and_its_request_is_remembered() {
    let mut shard = shard();
    apply(&mut shard, vec![run(1, "run", "req-1", 10, None)]);
    assert_eq!(purge(&mut shard, 1, 1), BatchAnswer::StaleSequence, "it has two events");
    assert_eq!(purge(&mut shard, 1, 2), BatchAnswer::Applied);
    assert_eq!(shard.store.current_uid("ns", "run").unwrap(), None);
    assert_eq!(shard.store.request("ns", "run", "req-1").unwrap().map(|request| request.uid), Some(RunUid(1)));
    apply(&mut shard, vec![run(2, "run", "req-2", 20, None)]);
    assert_eq!(shard.store.current_uid("ns", "run").unwrap(), Some(RunUid(2)));
}

#[test]
fn the_id_stays_with_the_newer_run_when_an_older_one_is_removed() {
    let mut shard = shard();
    apply(&mut shard, vec![run(1, "run", "req-1", 10, None), run(2, "run", "req-2", 20, Some(1))]);
    assert_eq!(purge(&mut shard, 1, 2), BatchAnswer::Applied);
    assert_eq!(shard.store.current_uid("ns", "run").unwrap(), Some(RunUid(2)));
    assert!(shard.store.load_run(RunUid(2)).unwrap().is_some());
}

#[test]
fn a_discard_is_remembered_with_its_generation_until_the_run_is_removed() {
    let record = |record: log::Record| entry(9, &log::Record { term: 1, ..record });
    let discard = |uid: u128| log::DiscardDeadLetter {
        run_uid: Bytes::copy_from_slice(&RunUid(uid).to_bytes()),
        step: "all[3]".into(),
        generation: 2,
    };
    let purge = log::PurgeRun { run_uid: Bytes::copy_from_slice(&RunUid(1).to_bytes()), expected_seq: 2 };
    let mut shard = shard();
    apply(&mut shard, vec![run(1, "run", "req-1", 10, None)]);
    let answers = shard.apply(&[record(log::Record { discards: vec![discard(1), discard(7)], ..log::Record::default() })]);
    assert_eq!(answers, [RecordAnswer::Batches(vec![BatchAnswer::Applied, BatchAnswer::StaleSequence])]);
    assert_eq!(shard.store.discarded_generation(RunUid(1), &"all[3]".into()).unwrap(), Some(2));
    // In one apply call with the removal, and behind it.
    let answers = shard.apply(&[
        record(log::Record { discards: vec![discard(1)], ..log::Record::default() }),
        record(log::Record { purges: vec![purge], discards: vec![discard(1)], ..log::Record::default() }),
    ]);
    let expected = [vec![BatchAnswer::Applied], vec![BatchAnswer::Applied, BatchAnswer::StaleSequence]];
    assert_eq!(answers, expected.map(RecordAnswer::Batches));
    assert_eq!(keys_of(&shard, RunUid(1)), Vec::<Bytes>::new());
}
