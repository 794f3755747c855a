use std::sync::Arc;

use proptest::prelude::*;
use quorus_raft::disk::Disk;

use super::*;
use crate::store::testing::disk_with;

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
            (key(1, &info.namespace, head.started_at, info.uid), encode(&info.workflow, head.status)),
        ]
    }))
}

fn filter() -> RunFilter {
    RunFilter { namespace: "ns".into(), ..RunFilter::default() }
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
    fn cursor_survives_its_token(time: i64, uid: u128) {
        let cursor = RunCursor { started_at: Timestamp(time), uid: RunUid(uid) };
        prop_assert_eq!(RunCursor::from_token(&cursor.to_token()), Some(cursor));
    }
}

#[test]
fn each_filter_narrows_the_list() {
    let runs: Vec<_> = (0..30).map(|uid| run(uid as i64, uid)).collect();
    let disk = disk(&runs);
    let expect = |filter: RunFilter, keep: &dyn Fn(u128) -> bool| {
        let expected: Vec<u128> = (0..30).rev().filter(|uid| keep(*uid)).collect();
        assert_eq!(all(&*disk, &filter, 4), expected, "{filter:?}");
    };
    expect(RunFilter { workflow: "odd".into(), ..filter() }, &|uid| uid % 2 == 1);
    expect(RunFilter { statuses: vec![RunStatus::Failed], ..filter() }, &|uid| uid.is_multiple_of(5));
    expect(RunFilter { labels: [("third".to_owned(), "true".to_owned())].into(), ..filter() }, &|uid| uid.is_multiple_of(3));
    expect(RunFilter { started_after: Some(Timestamp(10)), ..filter() }, &|uid| uid >= 10);
    expect(RunFilter { started_before: Some(Timestamp(10)), ..filter() }, &|uid| uid < 10);
    expect(RunFilter { namespace: "other".into(), ..filter() }, &|_| false);
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
        runs.iter()
            .map(|RunSummary { info, head }| (key(1, &info.namespace, head.started_at, info.uid), encode(&info.workflow, head.status))),
    );
    let filter = RunFilter { workflow: "nothing".into(), ..filter() };
    let first = page(&*disk, 1, &filter, None, 10).unwrap();
    let last_seen = RunCursor { started_at: Timestamp(0), uid: RunUid(LIST_SCANNED_MAX as u128 - 1) };
    assert_eq!(first, RunPage { runs: vec![], next: Some(last_seen) });
    assert_eq!(page(&*disk, 1, &filter, first.next, 10).unwrap(), RunPage::default());
}
