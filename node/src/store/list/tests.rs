use std::sync::Arc;

use proptest::prelude::*;
use quorus_raft::disk::Disk;

use super::*;
use crate::{
    query::{Condition, Pattern, tests},
    store::testing::disk_with,
};

fn run(started_at: i64, uid: u128) -> RunSummary {
    RunSummary {
        info: RunInfo {
            namespace: "ns".into(),
            run_id: format!("run-{uid}"),
            uid: RunUid(uid),
            workflow: if uid.is_multiple_of(2) { "even".into() } else { "odd".into() },
            labels: [("third".to_owned(), (uid.is_multiple_of(3)).to_string())].into(),
            ..RunInfo::default()
        },
        head: RunHead {
            status: if uid.is_multiple_of(5) { RunStatus::Failed } else { RunStatus::Running },
            seq: 1,
            started_at: Timestamp(started_at),
            ..RunHead::default()
        },
    }
}

fn disk(runs: &[RunSummary]) -> Arc<dyn Disk> {
    disk_with(runs.iter().flat_map(|RunSummary { info, head }| {
        [
            (info::key(1, info.uid), codec::encode_info_without_input(info)),
            (head::key(1, info.uid), codec::encode_head(head, false)),
            (Source::List.key(1, &info.namespace, head.started_at, info.uid), encode(&row_of(info, head))),
        ]
    }))
}

/// A disk with nothing but what the list and its indexes keep.
fn listed(rows: &[RunRow]) -> Arc<dyn Disk> {
    disk_with(rows.iter().flat_map(|row| {
        let key = |source: Source<'_>| source.key(1, "ns", row.started_at, row.uid);
        let mut keys = vec![(key(Source::List), encode(row)), (key(Source::Workflow(&row.workflow)), Bytes::new())];
        if !row.status.is_final() {
            keys.push((key(Source::Open), Bytes::new()));
        }
        keys
    }))
}

fn filter() -> RunFilter {
    RunFilter::all("ns")
}

fn all(disk: &dyn Disk, filter: &RunFilter, limit: usize) -> Vec<u128> {
    let mut uids = Vec::new();
    let mut after = None;
    loop {
        let page = page(disk, 1, filter, after, limit).unwrap();
        assert!(page.runs.len() <= limit);
        uids.extend(page.runs.iter().map(|run| run.info.uid.0));
        after = page.next;
        if after.is_none() {
            return uids;
        }
    }
}

proptest! {
    #[test]
    fn pages_together_are_the_whole_list_newest_first(times in proptest::collection::vec(-20i64..20, 0..20), limit in 1usize..6) {
        let mut runs: Vec<_> = times.iter().zip(0..).map(|(time, uid)| run(*time, uid)).collect();
        let disk = disk(&runs);
        runs.sort_by_key(|run| (-run.head.started_at.0, run.info.uid));
        let expected: Vec<u128> = runs.iter().map(|run| run.info.uid.0).collect();
        prop_assert_eq!(all(&*disk, &filter(), limit), expected);
    }

    #[test]
    fn merged_pages_of_shards_are_the_pages_of_one(times in proptest::collection::vec(-20i64..20, 0..24), limit in 1usize..6) {
        let runs: Vec<_> = times.iter().zip(0..).map(|(time, uid)| run(*time, uid)).collect();
        let whole = disk(&runs);
        let shards: Vec<_> =
            (0..3).map(|shard| disk(&runs.iter().filter(|run| run.info.uid.0 % 3 == shard).cloned().collect::<Vec<_>>())).collect();
        let mut after = None;
        let mut merged = Vec::new();
        loop {
            let pages = shards.iter().map(|shard| page(&**shard, 1, &filter(), after, limit).unwrap()).collect();
            let RunPage { runs, next } = RunPage::merge(pages, limit);
            merged.extend(runs.iter().map(|run| run.info.uid.0));
            after = next;
            if after.is_none() {
                break;
            }
        }
        prop_assert_eq!(merged, all(&*whole, &filter(), 100));
    }

    #[test]
    fn a_filter_finds_what_a_look_at_every_run_finds(
        rows in proptest::collection::vec(tests::row(), 0..40),
        filter in tests::filter(),
        few in 1u64..5,
    ) {
        // An entry without a run id is one of an older version.
        let rows: Vec<RunRow> = rows.into_iter().filter(|row| !row.run_id.is_empty()).collect();
        let disk = listed(&rows);
        let mut expected: Vec<&RunRow> = rows.iter().filter(|row| filter.matches(row)).collect();
        expected.sort_by_key(|row| RunCursor { started_at: row.started_at, uid: row.uid });
        let mut found = Vec::new();
        let next = scan(&*disk, 1, &filter, None, |row| {
            found.push(row);
            Ok(ControlFlow::Continue(()))
        });
        prop_assert_eq!(next.unwrap(), None);
        prop_assert!(found.iter().eq(expected.iter().copied()));

        let (mut by_status, mut after) = (BTreeMap::<RunStatus, u64>::new(), None);
        loop {
            let part = count(&*disk, 1, &filter, after, few).unwrap();
            prop_assert!(part.total() <= few);
            for (status, runs) in part.by_status {
                *by_status.entry(status).or_default() += runs;
            }
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        let mut counted = BTreeMap::<RunStatus, u64>::new();
        for row in expected {
            *counted.entry(row.status).or_default() += 1;
        }
        prop_assert_eq!(by_status, counted);
    }

    #[test]
    fn cursor_survives_its_token(time: i64, uid: u128) {
        let cursor = RunCursor { started_at: Timestamp(time), uid: RunUid(uid) };
        prop_assert_eq!(RunCursor::from_token(&cursor.to_token()), Some(cursor));
    }
}

#[test]
fn a_token_that_is_not_one_is_refused() {
    for token in ["", ".", "zz.1", "1.zz", "12"] {
        assert_eq!(RunCursor::from_token(token), None, "{token}");
    }
}

#[test]
fn a_filter_that_matches_little_ends_its_page_early_and_goes_on() {
    let runs: Vec<_> = (0..LIST_SCANNED_MAX as u128 + 5).map(|uid| run(0, uid)).collect();
    let disk = disk_with(
        runs.iter().map(|RunSummary { info, head }| (Source::List.key(1, "ns", head.started_at, info.uid), encode(&row_of(info, head)))),
    );
    let filter = filter().and(Condition::RunId { negated: false, any: vec![Pattern::Exact("nothing".into())] });
    let first = page(&*disk, 1, &filter, None, 10).unwrap();
    let last_seen = RunCursor { started_at: Timestamp(0), uid: RunUid(LIST_SCANNED_MAX as u128 - 1) };
    assert_eq!(first, RunPage { runs: vec![], next: Some(last_seen) });
    assert_eq!(page(&*disk, 1, &filter, first.next, 10).unwrap(), RunPage::default());
}

#[test]
fn an_entry_of_an_older_version_is_completed_from_the_state() {
    let RunSummary { info, head } = run(7, 15);
    let entry = log::RunListEntry { workflow: info.workflow.clone(), status: 1, ..log::RunListEntry::default() };
    let disk = disk_with([
        (info::key(1, info.uid), codec::encode_info_without_input(&info)),
        (head::key(1, info.uid), codec::encode_head(&head, false)),
        (Source::List.key(1, "ns", head.started_at, info.uid), entry.encode_to_vec().into()),
    ]);
    let with_label = |value: &str| Condition::Label { name: "third".into(), negated: false, any: vec![Pattern::Exact(value.into())] };
    assert_eq!(all(&*disk, &filter().and(with_label("true")), 5), [15]);
    assert_eq!(all(&*disk, &filter().and(with_label("false")), 5), [0u128; 0]);
}
