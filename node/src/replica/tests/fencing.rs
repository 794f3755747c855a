//! What a stale or broken record may change: nothing.

use bytes::Bytes;
use quorus_engine::{Event, EventKind, Principal, RunInfo, RunStatus, RunUid, Timestamp};
use quorus_proto::log;
use quorus_raft::{Entry, StateMachine, disk::Batch};

use super::shard::{Shard, entry};
use crate::{
    codec::encode_event,
    replica::{
        BatchAnswer::{self, *},
        RecordAnswer, RunChange,
    },
    store::Epoch,
};

fn epoch(term: u64) -> log::Record {
    let epoch = log::OpenEpoch { node_id: 3, boot_id: "boot".into(), time_ms: 77 };
    log::Record { term, open_epoch: Some(epoch), ..log::Record::default() }
}

fn record(term: u64, batches: Vec<log::RunBatch>) -> log::Record {
    log::Record { term, batches, ..log::Record::default() }
}

fn uid_bytes(uid: u128) -> Bytes {
    Bytes::copy_from_slice(&RunUid(uid).to_bytes())
}

fn batch(uid: u128, expected_seq: u64, events: &[EventKind]) -> log::RunBatch {
    log::RunBatch {
        namespace: "ns".into(),
        run_id: "run".into(),
        run_uid: uid_bytes(uid),
        expected_seq,
        events: events.iter().map(|kind| encode_event(&Event { time: Timestamp(1000), kind: kind.clone() })).collect(),
        replaces_uid: Bytes::new(),
        request_ids: Vec::new(),
    }
}

fn started(uid: u128) -> EventKind {
    EventKind::RunStarted(Box::new(RunInfo {
        namespace: "ns".into(),
        run_id: "run".into(),
        uid: RunUid(uid),
        workflow: "w".into(),
        ..RunInfo::default()
    }))
}

fn cancel_requested() -> EventKind {
    EventKind::RunCancelRequested { principal: Principal::default(), reason: "enough".into(), compensate: false }
}

fn ended() -> EventKind {
    EventKind::RunEnded { status: RunStatus::Cancelled, output: None, failure: None, principal: None, reason: String::new() }
}

fn start(uid: u128) -> log::RunBatch {
    batch(uid, 0, &[started(uid)])
}

/// A shard with term 4 open, and where its log ends.
fn shard() -> (Shard, u64) {
    let mut shard = Shard::new();
    assert_eq!(shard.apply(&[entry(1, &epoch(4))]), [RecordAnswer::Epoch { opened: true }]);
    (shard, 1)
}

fn apply(shard: &mut Shard, record: &log::Record) -> Vec<BatchAnswer> {
    match shard.apply(&[entry(9, record)]).remove(0) {
        RecordAnswer::Batches(answers) => answers,
        other => panic!("{other:?}"),
    }
}

/// Applies a record that must not change anything.
fn refused(shard: &mut Shard, record: &log::Record) -> Vec<BatchAnswer> {
    let before = (shard.digest(), shard.heard.changes());
    let answers = apply(shard, record);
    assert_eq!((shard.digest(), shard.heard.changes()), before);
    answers
}

#[test]
fn only_a_higher_term_opens_an_epoch() {
    let (mut shard, _) = shard();
    let expected = Epoch { term: 4, node: 3, boot_id: "boot".into(), time: Timestamp(77), index: 1 };
    assert_eq!(shard.store.epoch().unwrap(), Some(expected));
    let before = shard.digest();
    let answers = shard.apply(&[entry(2, &epoch(4)), entry(3, &epoch(3))]);
    // The same leader that asks again is told that its epoch is open, but the epoch does not change.
    assert_eq!(answers, [RecordAnswer::Epoch { opened: true }, RecordAnswer::Epoch { opened: false }]);
    assert_eq!(shard.digest(), before);
    assert_eq!(shard.apply(&[entry(4, &epoch(5))]), [RecordAnswer::Epoch { opened: true }]);
    assert_eq!(shard.store.epoch().unwrap().unwrap().term, 5);
}

#[test]
fn a_record_of_another_term_than_the_open_epoch_changes_nothing() {
    let (mut shard, _) = shard();
    let definitions = vec![log::StoredDefinition { digest: Bytes::copy_from_slice(&[1; 32]), workflow: Bytes::from_static(b"w") }];
    for term in [3, 5] {
        let record = log::Record { definitions: definitions.clone(), ..record(term, vec![start(1), start(2)]) };
        assert_eq!(refused(&mut shard, &record), [StaleTerm, StaleTerm]);
    }
    assert_eq!(apply(&mut shard, &record(4, vec![start(1)])), [Applied]);
}

#[test]
fn an_epoch_fences_records_that_come_after_it_in_the_same_apply_call() {
    let (mut shard, _) = shard();
    let answers = shard.apply(&[
        entry(2, &record(4, vec![start(1)])),
        entry(3, &epoch(6)),
        entry(4, &record(4, vec![batch(1, 1, &[cancel_requested()])])),
        entry(5, &record(6, vec![batch(1, 1, &[cancel_requested()])])),
    ]);
    assert_eq!(
        answers,
        [
            RecordAnswer::Batches(vec![Applied]),
            RecordAnswer::Epoch { opened: true },
            RecordAnswer::Batches(vec![StaleTerm]),
            RecordAnswer::Batches(vec![Applied]),
        ]
    );
}

#[test]
fn a_decision_on_another_sequence_changes_nothing() {
    let (mut shard, _) = shard();
    apply(&mut shard, &record(4, vec![start(1)]));
    for expected_seq in [2, 7] {
        assert_eq!(refused(&mut shard, &record(4, vec![batch(1, expected_seq, &[cancel_requested()])])), [StaleSequence]);
    }
    assert_eq!(refused(&mut shard, &record(4, vec![batch(99, 1, &[cancel_requested()])])), [StaleSequence], "no such run");
    // Of two decisions on the same state, the first wins.
    let twice = record(4, vec![batch(1, 1, &[cancel_requested()]), batch(1, 1, &[ended()])]);
    assert_eq!(apply(&mut shard, &twice), [Applied, StaleSequence]);
    assert_eq!(shard.store.run_head(RunUid(1)).unwrap().unwrap().status, RunStatus::Cancelling);
}

#[test]
fn a_start_needs_the_id_to_be_held_by_the_run_that_it_replaces() {
    let (mut shard, _) = shard();
    let replacing = |uid, replaced| log::RunBatch { replaces_uid: uid_bytes(replaced), ..start(uid) };
    assert_eq!(refused(&mut shard, &record(4, vec![replacing(1, 9)])), [IdTaken], "nobody holds the id");
    assert_eq!(apply(&mut shard, &record(4, vec![start(1)])), [Applied]);
    assert_eq!(refused(&mut shard, &record(4, vec![start(1)])), [IdTaken], "the same start again");
    assert_eq!(refused(&mut shard, &record(4, vec![start(2)])), [IdTaken]);
    assert_eq!(refused(&mut shard, &record(4, vec![replacing(2, 1)])), [IdTaken], "the run goes on");
    let end_and_replace = record(4, vec![batch(1, 1, &[ended()]), replacing(2, 1), replacing(3, 1), replacing(1, 2)]);
    assert_eq!(apply(&mut shard, &end_and_replace), [Applied, Applied, IdTaken, IdTaken]);
    assert_eq!(shard.store.current_uid("ns", "run").unwrap(), Some(RunUid(2)));
    assert!(shard.store.load_run(RunUid(1)).unwrap().is_some(), "the replaced run can still be read");
    apply(&mut shard, &record(4, vec![batch(2, 1, &[ended()])]));
    assert_eq!(refused(&mut shard, &record(4, vec![replacing(1, 2)])), [StaleSequence], "a uid is never used twice");
}

#[test]
fn a_batch_that_contradicts_itself_is_refused() {
    let (mut shard, _) = shard();
    apply(&mut shard, &record(4, vec![start(1)]));
    let bad_uid = log::RunBatch { run_uid: Bytes::from_static(b"short"), ..start(2) };
    let other_id = log::RunBatch { run_id: "other".into(), ..start(2) };
    let no_start = log::RunBatch { run_id: "other".into(), ..batch(2, 0, &[cancel_requested()]) };
    let empty = log::RunBatch { run_id: "other".into(), ..batch(2, 0, &[]) };
    let late_start = batch(1, 1, &[started(1)]);
    let two_starts = batch(2, 0, &[started(2), started(2)]);
    let broken = record(4, vec![bad_uid, other_id, no_start, empty, late_start, two_starts]);
    assert_eq!(refused(&mut shard, &broken), [Malformed; 6]);
}

#[test]
fn an_event_from_the_future_stops_the_replica_and_changes_nothing() {
    let (mut shard, _) = shard();
    apply(&mut shard, &record(4, vec![start(1)]));
    let before = shard.digest();
    let mut unknown = batch(1, 1, &[cancel_requested()]);
    unknown.events.push(Bytes::from_static(&[0x08, 0x01, 0x9a, 0x06, 0x00]));
    let entries = [entry(2, &record(4, vec![batch(1, 1, &[cancel_requested()])])), entry(3, &record(4, vec![unknown.clone()]))];
    // In the stale batch nobody looks at the events; as a valid one it stops the replica.
    assert!(shard.replica.apply(&entries, &mut Batch::new()).is_ok());
    shard.replica.restored().unwrap();
    let mut written = Batch::new();
    let error = shard.replica.apply(&[entry(2, &record(4, vec![unknown]))], &mut written).unwrap_err();
    assert!(std::error::Error::source(&error).is_some());
    assert!(written.is_empty());
    assert_eq!(shard.digest(), before);
    // After the failure nothing of it is left in memory.
    assert_eq!(apply(&mut shard, &record(4, vec![batch(1, 1, &[cancel_requested()])])), [Applied]);
}

#[test]
fn a_damaged_record_stops_the_replica() {
    let (mut shard, _) = shard();
    let damaged = Entry { index: 2, term: 4, record: Bytes::from_static(&[0xff; 9]) };
    assert!(shard.replica.apply(&[damaged], &mut Batch::new()).is_err());
}

#[test]
fn the_sink_hears_what_changed_after_it_is_readable() {
    let (mut shard, _) = shard();
    shard.apply(&[
        entry(2, &record(4, vec![start(1)])),
        entry(3, &record(4, vec![batch(1, 1, &[cancel_requested(), ended()]), batch(1, 1, &[ended()])])),
    ]);
    let change = |first_seq, last_seq, final_status| RunChange {
        namespace: "ns".into(),
        run_id: "run".into(),
        uid: RunUid(1),
        first_seq,
        last_seq,
        final_status,
    };
    assert_eq!(shard.heard.changes(), [change(1, 1, None), change(2, 3, Some(RunStatus::Cancelled))]);
}

#[test]
fn a_definition_is_kept_once_and_never_changed() {
    let (mut shard, _) = shard();
    let define =
        |text: &'static [u8]| log::StoredDefinition { digest: Bytes::copy_from_slice(&[1; 32]), workflow: Bytes::from_static(text) };
    let first = log::Record { definitions: vec![define(b"one"), define(b"two")], ..record(4, vec![]) };
    shard.apply(&[entry(2, &first)]);
    shard.apply(&[entry(3, &log::Record { definitions: vec![define(b"three")], ..record(4, vec![]) })]);
    assert_eq!(shard.store.definition(&[1; 32]).unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(shard.store.definition(&[2; 32]).unwrap(), None);
}
