//! Texts and conditions against what a person would say they mean.

use std::collections::BTreeSet;

use proptest::prelude::*;
use quorus_engine::{RunStatus, RunUid, Timestamp};

use super::*;
use crate::codec::arbitrary;

const NOW: Timestamp = Timestamp(1_764_014_400_000);

fn words() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "ab", "b", "é", "two words", "quo\"te", "back\\slash", "st*ar", "c,d", "1=2"])
        .prop_map(str::to_owned)
}

fn patterns(least: usize) -> impl Strategy<Value = Vec<Pattern>> {
    let pattern = (words(), any::<bool>()).prop_map(|(text, whole)| if whole { Pattern::Exact(text) } else { Pattern::Prefix(text) });
    proptest::collection::vec(pattern, least..3)
}

fn comparison() -> impl Strategy<Value = Comparison> {
    use Comparison::*;
    prop::sample::select(vec![Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual])
}

fn order() -> impl Strategy<Value = Comparison> {
    comparison().prop_filter("times are before or after", |comparison| !matches!(comparison, Comparison::Equal | Comparison::NotEqual))
}

pub(crate) fn condition() -> impl Strategy<Value = Condition> {
    let time = || (-5i64..15).prop_map(Timestamp);
    let statuses = proptest::collection::btree_set(arbitrary::run_status(), 1..3);
    prop_oneof![
        (any::<bool>(), patterns(1)).prop_map(|(negated, any)| Condition::RunId { negated, any }),
        (any::<bool>(), patterns(1)).prop_map(|(negated, any)| Condition::Workflow { negated, any }),
        (any::<bool>(), patterns(1)).prop_map(|(negated, any)| Condition::Parent { negated, any }),
        (any::<bool>(), patterns(1)).prop_map(|(negated, any)| Condition::ErrorType { negated, any }),
        (words().prop_filter("has a name", |name| !name.is_empty()), any::<bool>(), patterns(0))
            .prop_map(|(name, negated, any)| Condition::Label { name, negated, any }),
        (any::<bool>(), statuses).prop_map(|(negated, any)| Condition::Status { negated, any }),
        (comparison(), 0u64..4).prop_map(|(comparison, version)| Condition::Version(comparison, version)),
        (order(), time()).prop_map(|(comparison, time)| Condition::Started(comparison, time)),
        (order(), time()).prop_map(|(comparison, time)| Condition::Ended(comparison, time)),
    ]
}

pub(crate) fn row() -> impl Strategy<Value = RunRow> {
    let time = || (-5i64..15).prop_map(Timestamp);
    let labels = proptest::collection::btree_map(words(), words(), 0..3);
    let texts = (words(), words(), words(), words());
    (any::<u128>(), texts, 0u64..4, arbitrary::run_status(), labels, time(), proptest::option::of(time())).prop_map(
        |(uid, (run_id, workflow, error_type, parent), version, status, labels, started_at, ended_at)| RunRow {
            uid: RunUid(uid),
            run_id,
            workflow,
            version,
            status,
            labels,
            started_at,
            ended_at,
            error_type,
            parent,
        },
    )
}

pub(crate) fn filter() -> impl Strategy<Value = RunFilter> {
    proptest::collection::vec(condition(), 0..4).prop_map(|conditions| RunFilter { namespace: "ns".into(), conditions })
}

proptest! {
    #[test]
    fn a_filter_survives_its_text(filter in filter()) {
        // "Has no such label with any value" and "does not have the label" are one thing, with one text.
        let text = filter.to_text();
        prop_assert_eq!(parse("ns", &text, NOW).map_err(|error| format!("{text}: {error}")), Ok(filter));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z=!<>,*\"\\\\@ é0-9.]{0,30}") {
        drop(parse("ns", &text, NOW));
    }

    #[test]
    fn what_a_filter_says_of_itself_is_true(filter in filter(), row in row()) {
        if filter.matches(&row) {
            let (youngest, oldest) = filter.started_between();
            prop_assert!(youngest.is_none_or(|youngest| row.started_at <= youngest));
            prop_assert!(oldest.is_none_or(|oldest| row.started_at >= oldest));
            prop_assert!(filter.only_workflow().is_none_or(|workflow| workflow == row.workflow));
            prop_assert!(filter.only_run_id().is_none_or(|run_id| run_id == row.run_id));
            prop_assert!(!filter.only_open() || !row.status.is_final());
        }
    }
}

#[test]
fn a_text_means_what_it_reads_like() {
    let exact = |text: &str| vec![Pattern::Exact(text.into())];
    let hours_ago = |hours: i64| Timestamp(NOW.0 - hours * 3_600_000);
    let filter =
        parse("ns", " workflow=release  status=failed,terminated label.team=payments started>2h error=SchemaConflict !label.dry ", NOW);
    let expected = RunFilter::all("ns")
        .and(Condition::Workflow { negated: false, any: exact("release") })
        .and(Condition::Status { negated: false, any: BTreeSet::from([RunStatus::Failed, RunStatus::Terminated]) })
        .and(Condition::Label { name: "team".into(), negated: false, any: exact("payments") })
        .and(Condition::Started(Comparison::Greater, hours_ago(2)))
        .and(Condition::ErrorType { negated: false, any: exact("SchemaConflict") })
        .and(Condition::Label { name: "dry".into(), negated: true, any: vec![] });
    assert_eq!(filter, Ok(expected));
    let one = |text| parse("ns", text, NOW).unwrap().conditions.remove(0);
    assert_eq!(one("ended<=2025-11-24"), Condition::Ended(Comparison::LessOrEqual, Timestamp(1_763_942_400_000)));
    assert_eq!(one("ended<2025-11-24T20:00:01Z"), Condition::Ended(Comparison::Less, Timestamp(1_764_014_401_000)));
    assert_eq!(one("id=rel-*"), Condition::RunId { negated: false, any: vec![Pattern::Prefix("rel-".into())] });
    assert_eq!(one("parent=\"\""), Condition::Parent { negated: false, any: exact("") });
    assert_eq!(one("status=ended"), one("status=succeeded,failed,cancelled,terminated"));
    assert!(RunFilter::all("ns").and(one("status=open")).only_open());
    assert!(!RunFilter::all("ns").and(one("status=open,failed")).only_open());
    assert_eq!(one("version>=3"), Condition::Version(Comparison::GreaterOrEqual, 3));
}

#[test]
fn mistakes_are_told_with_their_column() {
    let told = [
        ("workflw=a", "column 1: there is no field `workflw`, did you mean `workflow`?; there are id, workflow"),
        ("workflow=a status=faild", "column 19: `faild` is not a status, did you mean `failed`?; there are running"),
        ("started=2h", "column 8: `started` takes <, <=, > or >=; write for example started>2h"),
        ("started>yesterday", "column 9: not a time"),
        ("version=x", "column 9: a version is a whole number"),
        ("workflow", "column 9: `workflow` needs a comparison and a value; write for example workflow=release"),
        ("workflow=", "column 10: a value is missing"),
        ("workflow>a", "column 9: workflow takes = or !="),
        ("id=\"a", "column 4: the quote is not closed"),
        ("id=a=b", "column 5: `=` is not expected here"),
        ("label.=a", "column 1: a label needs a name"),
        ("!status=failed", "column 1: `!` stands before"),
        ("=a", "column 1: a condition begins with a field"),
    ];
    for (text, expected) in told {
        let error = parse("ns", text, NOW).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}
