//! Ended runs, by when they are to be removed.
//!
//! `[group]'Z'[0][end + retention of the definition][uid]` -> nothing, for runs whose definition says how long they are kept;
//! `[group]'Z'[1][end][uid]` -> nothing, for the others, whose retention is the cluster's and may change at any time.
//!
//! Written with the run's end, deleted when the run is removed or goes on again, so each run that ended has exactly one key.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorus_engine::{Millis, RunUid, Timestamp};
use quorus_raft::GroupId;

use super::{
    StoreError,
    key::{Family, KeyReader, KeyWriter, prefix_end},
    reader::Reader,
};

/// The definition says how long the run is kept. The numbers are on disk.
const OWN: u8 = 0;
/// It does not.
const DEFAULT: u8 = 1;

/// A run that is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Which run.
    pub uid: RunUid,
    place: Bytes,
}

/// Some of the runs that are to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpiryPage {
    /// Those that are due for the longest time first, of each class.
    pub runs: Vec<Expired>,
    /// True if there may be more behind the last one.
    pub more: bool,
}

pub(crate) fn key(group: GroupId, ended_at: Timestamp, retention: Option<Millis>, uid: RunUid) -> Bytes {
    let (class, time) = match retention {
        Some(retention) => (OWN, ended_at.plus(retention)),
        None => (DEFAULT, ended_at),
    };
    KeyWriter::new(group, Family::Expiry, 25).byte(class).time(time).uid(uid).finish()
}

/// At most `limit` runs whose time has come at `now`, behind `after`. Runs without a retention of their own are kept for `default`.
pub(crate) fn due(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    now: Timestamp,
    default: Millis,
    after: Option<&Expired>,
    limit: usize,
) -> Result<ExpiryPage, StoreError> {
    let mut page = ExpiryPage::default();
    let ended_until = Timestamp(now.0.saturating_sub_unsigned(default.0));
    for (class, until) in [(OWN, now), (DEFAULT, ended_until)] {
        let begin = |class| KeyWriter::new(group, Family::Expiry, 9).byte(class);
        let (mut from, _) = begin(class).range();
        if let Some(after) = after {
            // The key itself followed by a zero byte is the first key after it.
            from = from.max([after.place.as_ref(), &[0]].concat().into());
        }
        let end = prefix_end(&begin(class).time(until).finish());
        if from >= end || page.more {
            continue;
        }
        reader.visit(&(from, end), |key, _| {
            if page.runs.len() == limit {
                page.more = true;
                return Ok(ControlFlow::Break(()));
            }
            let mut parts = KeyReader::new(key)?;
            parts.byte()?;
            parts.time()?;
            let uid = parts.uid()?;
            parts.end()?;
            page.runs.push(Expired { uid, place: Bytes::copy_from_slice(key) });
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::disk_with;

    #[test]
    fn what_is_due_comes_in_pages_and_nothing_else_does() {
        let row =
            |uid: u128, ended: i64, retention: Option<u64>| (key(3, Timestamp(ended), retention.map(Millis), RunUid(uid)), Bytes::new());
        let disk = disk_with([
            row(1, 100, Some(50)),
            row(2, 90, Some(1_000)),
            row(3, 0, Some(200)),
            row(4, 0, None),
            row(5, 100, None),
            row(6, 101, None),
            (key(4, Timestamp(0), None, RunUid(7)), Bytes::new()),
        ]);
        let mut uids = Vec::new();
        let mut after = None;
        loop {
            let page = due(&*disk, 3, Timestamp(200), Millis(100), after.as_ref(), 2).unwrap();
            uids.extend(page.runs.iter().map(|run| run.uid.0));
            after = page.runs.last().cloned().or(after);
            if !page.more {
                break;
            }
        }
        assert_eq!(uids, [1, 3, 4, 5]);
    }
}
