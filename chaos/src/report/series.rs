//! A few numbers from any number of operations: what the timeline shows.
//!
//! Invariants: every operation is counted in exactly one bucket, that of its end (of its invocation if it has none). Points are a sample; the slowest of
//! each bucket are always among them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::record::{Ending, Evidence, FaultPhase, Operation};

/// About how many buckets there are.
const BUCKETS: u64 = 120;
/// How many points are drawn at most.
const POINTS_MAX: usize = 2_400;
/// How many gaps are told.
const GAPS_MAX: usize = 5;

/// How a call ended, as it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// Done.
    Ok,
    /// Refused.
    Fail,
    /// Nobody knows.
    Info,
}

/// Calls that ended in a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// When it begins.
    pub from_us: u64,
    /// Done.
    pub ok: u64,
    /// Refused.
    pub fail: u64,
    /// Unknown.
    pub info: u64,
    /// Half of those that were done took no longer.
    pub p50_us: u64,
    /// 99 of 100 of those that were done took no longer.
    pub p99_us: u64,
    /// The slowest that was done.
    pub max_us: u64,
    /// Attempts that workers began.
    pub begun: u64,
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// When it ended.
    pub at_us: u64,
    /// How long it took.
    pub took_us: u64,
    /// How it ended.
    pub end: End,
}

/// A time in which no call was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The last call before was done then.
    pub from_us: u64,
    /// The next one was done then.
    pub to_us: u64,
    /// Faults that were in force then, or just before.
    pub during: Vec<String>,
}

/// A fault from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Band {
    /// The fault.
    pub id: u64,
    /// What.
    pub kind: String,
    /// On whom.
    pub targets: Vec<String>,
    /// When it began.
    pub from_us: u64,
    /// When it was over; none if nobody wrote that down.
    pub to_us: Option<u64>,
    /// `in force`, `skipped`, `indeterminate`.
    pub state: String,
    /// Shards that its targets led.
    pub led_shards: Vec<u32>,
    /// What was seen.
    pub note: String,
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Series {
    /// The first moment.
    pub from_us: u64,
    /// The last moment.
    pub to_us: u64,
    /// How long a bucket is.
    pub bucket_us: u64,
    /// In the order of time, without holes.
    pub buckets: Vec<Bucket>,
    /// A sample, in the order of time.
    pub points: Vec<Point>,
    /// The longest first.
    pub gaps: Vec<Gap>,
    /// By beginning.
    pub bands: Vec<Band>,
    /// How many calls are behind the points.
    pub operations: usize,
}

impl Series {
    /// Counts everything.
    pub fn of(evidence: &Evidence) -> Self {
        let bands = bands(evidence);
        let times = evidence.operations.iter().flat_map(|operation| [Some(operation.invoked_us), operation.ended_us]).flatten();
        let times = times.chain(evidence.ledger.iter().map(|entry| entry.mono_us).filter(|at| *at > 0));
        let times = times.chain(bands.iter().flat_map(|band| [Some(band.from_us), band.to_us]).flatten());
        let (from_us, to_us) = times.fold((u64::MAX, 0), |(from, to), at| (from.min(at), to.max(at)));
        if from_us > to_us {
            return Self::default();
        }
        let bucket_us = nice((to_us - from_us) / BUCKETS);
        let count = usize::try_from((to_us - from_us) / bucket_us).unwrap_or(0) + 1;
        let mut buckets: Vec<Bucket> =
            (0..count).map(|at| Bucket { from_us: from_us + at as u64 * bucket_us, ..Bucket::default() }).collect();
        let index = |at: u64| usize::try_from(at.saturating_sub(from_us) / bucket_us).unwrap_or(0).min(count - 1);
        let mut points: BTreeMap<usize, Vec<Point>> = BTreeMap::new();
        for operation in &evidence.operations {
            let end = end_of(operation);
            let at = operation.ended_us.unwrap_or(operation.invoked_us);
            let bucket = &mut buckets[index(at)];
            match end {
                End::Ok => bucket.ok += 1,
                End::Fail => bucket.fail += 1,
                End::Info => bucket.info += 1,
            }
            points.entry(index(at)).or_default().push(Point { at_us: at, took_us: at.saturating_sub(operation.invoked_us), end });
        }
        for entry in evidence.ledger.iter().filter(|entry| entry.event == quorus_client::LedgerEvent::Begin && entry.mono_us > 0) {
            buckets[index(entry.mono_us)].begun += 1;
        }
        for (at, points) in &mut points {
            points.sort_by_key(|point| point.took_us);
            let done: Vec<u64> = points.iter().filter(|point| point.end == End::Ok).map(|point| point.took_us).collect();
            let bucket = &mut buckets[*at];
            (bucket.p50_us, bucket.p99_us) = (quantile(&done, 50), quantile(&done, 99));
            bucket.max_us = done.last().copied().unwrap_or(0);
        }
        Self {
            from_us,
            to_us,
            bucket_us,
            buckets,
            points: sample(points.into_values().collect()),
            gaps: gaps(evidence, &bands),
            bands,
            operations: evidence.operations.len(),
        }
    }
}

fn end_of(operation: &Operation) -> End {
    match operation.ending {
        Some(Ending::Ok(_)) => End::Ok,
        Some(Ending::Fail { .. }) => End::Fail,
        Some(Ending::Info { .. }) | None => End::Info,
    }
}

/// 1, 2 or 5 times a power of ten, not less than `us` and a tenth of a second.
fn nice(us: u64) -> u64 {
    let mut step = 100_000;
    loop {
        for factor in [1, 2, 5] {
            if step * factor >= us {
                return step * factor;
            }
        }
        step *= 10;
    }
}

/// By rank; 0 of nothing.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or(0)
}

/// As many of each bucket as there is room for: the slowest always, of the others every n-th.
fn sample(buckets: Vec<Vec<Point>>) -> Vec<Point> {
    let room = POINTS_MAX / buckets.len().max(1);
    let mut points: Vec<Point> = Vec::new();
    for bucket in buckets {
        let keep_slowest = room.div_ceil(4);
        let split = bucket.len().saturating_sub(keep_slowest);
        let (others, slowest) = bucket.split_at(split);
        let every = others.len().div_ceil(room.saturating_sub(keep_slowest).max(1)).max(1);
        points.extend(others.iter().step_by(every).chain(slowest));
    }
    points.sort_by_key(|point| (point.at_us, point.took_us));
    points
}

fn gaps(evidence: &Evidence, bands: &[Band]) -> Vec<Gap> {
    let done = evidence.operations.iter().filter(|operation| end_of(operation) == End::Ok);
    let mut ends: Vec<u64> = done.filter_map(|operation| operation.ended_us).collect();
    ends.sort_unstable();
    let mut gaps: Vec<(u64, u64)> = ends.windows(2).filter_map(|pair| Some((*pair.first()?, *pair.get(1)?))).collect();
    gaps.sort_by_key(|(from, to)| std::cmp::Reverse(to - from));
    gaps.truncate(GAPS_MAX);
    let during = |from: u64, to: u64| {
        let near = |band: &&Band| band.from_us <= to && band.to_us.unwrap_or(band.from_us) + 1_000_000 >= from;
        bands.iter().filter(near).map(|band| format!("{} of {}", band.kind, band.targets.join(", "))).collect()
    };
    gaps.into_iter().map(|(from_us, to_us)| Gap { from_us, to_us, during: during(from_us, to_us) }).collect()
}

fn bands(evidence: &Evidence) -> Vec<Band> {
    let mut bands: BTreeMap<u64, Band> = BTreeMap::new();
    for fault in &evidence.faults {
        let state = match fault.phase {
            FaultPhase::Installed | FaultPhase::Healed => "in force",
            FaultPhase::Skipped => "skipped",
            FaultPhase::Indeterminate => "indeterminate",
        };
        let band = bands.entry(fault.id).or_insert_with(|| Band {
            id: fault.id,
            kind: fault.kind.clone(),
            targets: fault.targets.clone(),
            from_us: fault.at_us,
            to_us: None,
            state: state.to_owned(),
            led_shards: fault.led_shards.clone(),
            note: fault.note.clone(),
        });
        if fault.phase == FaultPhase::Healed {
            band.to_us = Some(fault.at_us);
            if !fault.note.is_empty() && !band.note.contains(&fault.note) {
                band.note =
                    [band.note.as_str(), fault.note.as_str()].into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join("; ");
            }
        } else if fault.phase == FaultPhase::Indeterminate {
            state.clone_into(&mut band.state);
        }
    }
    let mut bands: Vec<Band> = bands.into_values().collect();
    bands.sort_by_key(|band| (band.from_us, band.id));
    bands
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Answer, Call, Fault};

    fn operation(id: u64, invoked_us: u64, took_us: Option<u64>, end: End) -> Operation {
        let ending = match end {
            End::Ok => Ending::Ok(Answer::default()),
            End::Fail => Ending::Fail { reason: "NO".into() },
            End::Info => Ending::Info { what: "timeout".into() },
        };
        let call = Call::Get { run_id: "r".into(), stale: false };
        Operation {
            id,
            client: "c".into(),
            call,
            invoked_us,
            ended_us: took_us.map(|took| invoked_us + took),
            ending: took_us.map(|_| ending),
        }
    }

    fn fault(id: u64, phase: FaultPhase, at_us: u64) -> Fault {
        Fault { id, kind: "kill".into(), targets: vec!["node-1".into()], phase, at_us, led_shards: vec![2], note: String::new() }
    }

    #[test]
    fn every_call_is_in_one_bucket_and_an_open_call_is_unknown() {
        let operations = vec![
            operation(1, 1_000_000, Some(10), End::Ok),
            operation(2, 1_000_000, Some(30), End::Ok),
            operation(3, 1_000_000, Some(20), End::Fail),
            operation(4, 13_000_000, None, End::Info),
        ];
        let series = Series::of(&Evidence { operations, ..Evidence::default() });
        assert_eq!((series.from_us, series.to_us, series.bucket_us), (1_000_000, 13_000_000, 100_000));
        let sum = series.buckets.iter().fold((0, 0, 0), |sum, bucket| (sum.0 + bucket.ok, sum.1 + bucket.fail, sum.2 + bucket.info));
        assert_eq!(sum, (2, 1, 1));
        let first = &series.buckets[0];
        assert_eq!((first.p50_us, first.p99_us, first.max_us), (10, 30, 30));
        assert_eq!(series.buckets.len(), 121);
    }

    #[test]
    fn a_large_history_becomes_a_small_sample_that_holds_the_slowest() {
        let operations =
            (0..100_000).map(|id| operation(id, id * 1_000, Some(if id == 77_777 { 9_000_000 } else { 2_000 }), End::Ok)).collect();
        let series = Series::of(&Evidence { operations, ..Evidence::default() });
        assert!(series.points.len() <= POINTS_MAX + BUCKETS as usize, "{}", series.points.len());
        assert!(series.buckets.len() <= 200);
        assert!(series.points.iter().any(|point| point.took_us == 9_000_000));
        assert_eq!(series.operations, 100_000);
    }

    #[test]
    fn gaps_are_between_calls_that_were_done_and_name_the_faults() {
        let operations = vec![
            operation(1, 0, Some(10), End::Ok),
            operation(2, 500_000, Some(10), End::Fail),
            operation(3, 3_000_000, Some(10), End::Ok),
        ];
        let faults = vec![
            fault(1, FaultPhase::Installed, 100_000),
            fault(1, FaultPhase::Healed, 900_000),
            fault(2, FaultPhase::Installed, 9_000_000),
        ];
        let series = Series::of(&Evidence { operations, faults, ..Evidence::default() });
        assert_eq!(series.gaps, [Gap { from_us: 10, to_us: 3_000_010, during: vec!["kill of node-1".into()] }]);
        assert_eq!(
            series.bands.iter().map(|band| (band.from_us, band.to_us)).collect::<Vec<_>>(),
            [(100_000, Some(900_000)), (9_000_000, None)]
        );
    }

    #[test]
    fn of_nothing_there_is_nothing() {
        let series = Series::of(&Evidence::default());
        assert!(series.buckets.is_empty() && series.points.is_empty() && series.gaps.is_empty());
    }
}
