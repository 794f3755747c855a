//! Request ids are remembered for 7 days of recorded time, also after the run's id was reused, and then purged.

use bytes::Bytes;
use quorus_engine::{Event, EventKind, RunInfo, RunStatus, RunUid, Timestamp};
use quorus_proto::log;

use super::shard::{Shard, entry};
use crate::{
    codec::encode_event,
    replica::{BatchAnswer, RecordAnswer},
    store::{REQUEST_KEPT, Request, reader::Reader, request},
};

/// A started and ended run under `run_id`, which `replaces` another.
pub(super) fn run(uid: u128, run_id: &str, request_id: &str, time: i64, replaces: Option<u128>) -> log::RunBatch {
    let info =
        RunInfo { namespace: "ns".into(), run_id: run_id.into(), uid: RunUid(uid), request_id: request_id.into(), ..RunInfo::default() };
    let ended = EventKind::RunEnded { status: RunStatus::Succeeded, output: None, failure: None, principal: None, reason: String::new() };
    let events = [EventKind::RunStarted(Box::new(info)), ended];
    log::RunBatch {
        namespace: "ns".into(),
        run_id: run_id.into(),
        run_uid: Bytes::copy_from_slice(&RunUid(uid).to_bytes()),
        expected_seq: 0,
        events: events.into_iter().map(|kind| encode_event(&Event { time: Timestamp(time), kind })).collect(),
        replaces_uid: replaces.map(|uid| Bytes::copy_from_slice(&RunUid(uid).to_bytes())).unwrap_or_default(),
        request_ids: Vec::new(),
    }
}

pub(super) fn shard() -> Shard {
    let mut shard = Shard::new();
    shard.apply(&[entry(1, &log::Record { term: 1, open_epoch: Some(log::OpenEpoch::default()), ..log::Record::default() })]);
    shard
}

pub(super) fn apply(shard: &mut Shard, batches: Vec<log::RunBatch>) {
    let applied = RecordAnswer::Batches(vec![BatchAnswer::Applied; batches.len()]);
    assert_eq!(shard.apply(&[entry(2, &log::Record { term: 1, batches, ..log::Record::default() })]), [applied]);
}

fn age_keys(shard: &Shard) -> usize {
    let mut count = 0;
    shard
        .disk
        .view()
        .visit(&request::age_range(shard.store.group()), |_, _| {
            count += 1;
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .unwrap();
    count
}

#[test]
fn a_request_leads_to_the_run_that_it_started_also_when_the_id_was_reused() {
    let mut shard = shard();
    apply(&mut shard, vec![run(1, "run", "req-1", 10, None)]);
    apply(&mut shard, vec![run(2, "run", "req-2", 20, Some(1))]);
    let request = |uid, time| Some(Request { uid: RunUid(uid), time: Timestamp(time) });
    assert_eq!(shard.store.request("ns", "run", "req-1").unwrap(), request(1, 10));
    assert_eq!(shard.store.request("ns", "run", "req-2").unwrap(), request(2, 20));
    assert_eq!(shard.store.request("ns", "other", "req-1").unwrap(), None);
    assert_eq!(shard.store.request("ns", "run", "").unwrap(), None);
}

#[test]
fn old_requests_are_purged_a_few_at_a_time_by_later_starts() {
    let mut shard = shard();
    for uid in 0..10 {
        apply(&mut shard, vec![run(uid, &format!("run-{uid}"), "req", uid as i64, None)]);
    }
    let week = REQUEST_KEPT.0 as i64;
    // Everything is younger than 7 days, or exactly as old.
    apply(&mut shard, vec![run(100, "late-1", "req", week, None)]);
    assert_eq!(age_keys(&shard), 11);
    // 0 to 5 are older: four now, two with the next start, which needs no request id of its own.
    apply(&mut shard, vec![run(101, "late-2", "req", week + 6, None)]);
    assert_eq!(age_keys(&shard), 12 - 4);
    assert_eq!(shard.store.request("ns", "run-3", "req").unwrap(), None);
    assert!(shard.store.request("ns", "run-4", "req").unwrap().is_some());
    apply(&mut shard, vec![run(102, "late-3", "", week + 6, None)]);
    assert_eq!(age_keys(&shard), 12 - 6);
    assert_eq!(shard.store.request("ns", "run-5", "req").unwrap(), None);
    assert!(shard.store.request("ns", "run-6", "req").unwrap().is_some());
}

#[test]
fn a_request_that_came_again_later_is_kept_from_then_on() {
    let mut shard = shard();
    let week = REQUEST_KEPT.0 as i64;
    apply(&mut shard, vec![run(1, "run", "req", 0, None)]);
    // In the same record as the purge of the first entry, and the same with a clock that went back.
    apply(&mut shard, vec![run(2, "run", "req", week + 1, Some(1)), run(3, "other", "req", 5, None), run(4, "third", "", week + 9, None)]);
    assert_eq!(shard.store.request("ns", "run", "req").unwrap(), Some(Request { uid: RunUid(2), time: Timestamp(week + 1) }));
    assert_eq!(shard.store.request("ns", "other", "req").unwrap(), None);
    assert_eq!(age_keys(&shard), 1);
}

#[test]
fn a_change_is_remembered_with_its_run_and_not_mistaken_for_a_start() {
    let mut shard = shard();
    apply(&mut shard, vec![run_going_on(1, "run", "req", 10)]);
    let cancel = EventKind::RunCancelRequested { principal: Default::default(), reason: String::new(), compensate: false };
    let change = log::RunBatch {
        expected_seq: 1,
        events: vec![encode_event(&Event { time: Timestamp(15), kind: cancel })],
        request_ids: vec![request::id_of_change("cancel", "req"), request::id_of_change("cancel", "other")],
        replaces_uid: Bytes::new(),
        ..run_going_on(1, "run", "req", 10)
    };
    // The second copy was decided on the same state: a no-op, which remembers nothing.
    let late = log::RunBatch { request_ids: vec![request::id_of_change("cancel", "late")], ..change.clone() };
    let record = log::Record { term: 1, batches: vec![change, late], ..log::Record::default() };
    let answer = RecordAnswer::Batches(vec![BatchAnswer::Applied, BatchAnswer::StaleSequence]);
    assert_eq!(shard.apply(&[entry(3, &record)]), [answer]);
    let remembered = |request_id: &str| shard.store.request("ns", "run", request_id).unwrap();
    let at = |time| Some(Request { uid: RunUid(1), time: Timestamp(time) });
    assert_eq!(remembered("req"), at(10), "the start's own");
    assert_eq!(remembered(&request::id_of_change("cancel", "req")), at(15));
    assert_eq!(remembered(&request::id_of_change("cancel", "other")), at(15));
    assert_eq!(remembered(&request::id_of_change("cancel", "late")), None);
    assert_eq!(remembered(&request::id_of_change("pause", "req")), None, "another method");
    assert_eq!(age_keys(&shard), 3);
}

/// A started run that goes on.
fn run_going_on(uid: u128, run_id: &str, request_id: &str, time: i64) -> log::RunBatch {
    let mut batch = run(uid, run_id, request_id, time, None);
    batch.events.truncate(1);
    batch
}
