//! The list of runs, newest first.
//!
//! `[group]'I'[namespace 0][reversed start time][uid]` -> `log.RunListEntry`: all that filters ask about, so that they read nothing else. Written by
//! the start and by each change of the run's status, lives as long as the run is kept. A step writes nothing here.
//!
//! Runs are ordered by (start time descending, uid ascending) in every shard, so one [`RunCursor`] is a position in all of them, and the pages of
//! many shards are merged by [`RunPage::merge`]. A filter that names few runs follows keys of its own to the same entries: [`Source`].

use std::{collections::BTreeMap, ops::ControlFlow};

use bytes::Bytes;
use prost::Message;
use quorus_engine::{RunHead, RunInfo, RunStatus, RunUid, Timestamp};
use quorus_proto::log;
use quorus_raft::GroupId;

use super::{StoreError, head, info, key::KeyReader, listed::Source, reader::Reader};
use crate::{
    codec,
    query::{RunFilter, RunRow},
};

/// A filter that matches little must not read a whole shard in one call: after so many keys the page ends, perhaps empty, with a cursor.
pub const LIST_SCANNED_MAX: usize = 10_000;

/// A position in the list: everything up to and including this run was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunCursor {
    /// When the run started.
    pub started_at: Timestamp,
    /// Its uid.
    pub uid: RunUid,
}

/// A run without its payloads and steps.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// What never changes; without the input.
    pub info: RunInfo,
    /// Where it stands; without the output.
    pub head: RunHead,
}

/// A part of the list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunPage {
    /// Newest first.
    pub runs: Vec<RunSummary>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<RunCursor>,
}

/// How many runs of a part of the list match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunCount {
    /// By status.
    pub by_status: BTreeMap<RunStatus, u64>,
    /// Where to go on; `None` at the end.
    pub next: Option<RunCursor>,
}

impl RunCount {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_status.values().sum()
    }
}

impl PartialOrd for RunCursor {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RunCursor {
    /// In the order of the list: newest first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.started_at.cmp(&self.started_at).then(self.uid.cmp(&other.uid))
    }
}

impl RunCursor {
    /// As a page token.
    pub fn to_token(self) -> String {
        format!("{:x}.{}", self.started_at.0, self.uid)
    }

    /// From a page token; `None` if it is not one.
    pub fn from_token(token: &str) -> Option<Self> {
        let (time, uid) = token.split_once('.')?;
        let started_at = Timestamp(u64::from_str_radix(time, 16).ok()? as i64);
        Some(Self { started_at, uid: RunUid(u128::from_str_radix(uid, 16).ok()?) })
    }
}

impl RunSummary {
    /// Its place in the list.
    pub fn cursor(&self) -> RunCursor {
        RunCursor { started_at: self.head.started_at, uid: self.info.uid }
    }
}

impl RunPage {
    /// One page of at most `limit` runs from a page of each shard, all read with the same filter, cursor and limit.
    pub fn merge(pages: Vec<RunPage>, limit: usize) -> RunPage {
        // Beyond the nearest end of a page there may be runs that were not read.
        let horizon = pages.iter().filter_map(|page| page.next).min();
        let mut runs: Vec<_> = pages.into_iter().flat_map(|page| page.runs).collect();
        runs.sort_by_key(RunSummary::cursor);
        if let Some(horizon) = horizon {
            runs.retain(|run| run.cursor() <= horizon);
        }
        let more = runs.len() > limit;
        runs.truncate(limit);
        let next = if more { runs.last().map(RunSummary::cursor) } else { horizon };
        RunPage { runs, next }
    }
}

/// The entry of a run.
pub(crate) fn encode(row: &RunRow) -> Bytes {
    let entry = log::RunListEntry {
        workflow: row.workflow.clone(),
        status: codec::run_status_to_proto(row.status).into(),
        run_id: row.run_id.clone(),
        version: row.version,
        labels: row.labels.clone(),
        ended_at_ms: row.ended_at.map(|time| time.0),
        error_type: row.error_type.clone(),
        parent: row.parent.clone(),
    };
    entry.encode_to_vec().into()
}

/// What filters ask about a run.
pub(crate) fn row_of(info: &RunInfo, head: &RunHead) -> RunRow {
    RunRow {
        uid: info.uid,
        run_id: info.run_id.clone(),
        workflow: info.workflow.clone(),
        version: head.migrated.as_ref().map_or(info.version, |migrated| migrated.version),
        status: head.status,
        labels: info.labels.clone(),
        started_at: head.started_at,
        ended_at: head.ended_at,
        error_type: head.failure.as_ref().map(|failure| failure.kind.clone()).unwrap_or_default(),
        parent: info.parent.as_ref().map(|parent| parent.run_id.clone()).unwrap_or_default(),
    }
}

/// At most `limit` runs that match and come after `after`.
pub(crate) fn page(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    filter: &RunFilter,
    after: Option<RunCursor>,
    limit: usize,
) -> Result<RunPage, StoreError> {
    let mut page = RunPage::default();
    if limit == 0 {
        return Ok(page);
    }
    let runs = &mut page.runs;
    page.next = scan(reader, group, filter, after, |row| {
        let missing = StoreError::Missing { what: "head or info", uid: row.uid };
        runs.push(summary(reader, group, row.uid)?.ok_or(missing)?);
        Ok(if runs.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(page)
}

/// Counts at most `max` runs that match and come after `after`.
pub(crate) fn count(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    filter: &RunFilter,
    after: Option<RunCursor>,
    max: u64,
) -> Result<RunCount, StoreError> {
    let mut count = RunCount::default();
    let mut total = 0;
    let by_status = &mut count.by_status;
    count.next = scan(reader, group, filter, after, |row| {
        *by_status.entry(row.status).or_default() += 1;
        total += 1;
        Ok(if total < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(count)
}

/// Visits runs that match and come after `after`, newest first, until the visitor has enough or [`LIST_SCANNED_MAX`] keys were read. Returns where
/// to go on, if there is more.
fn scan(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    filter: &RunFilter,
    after: Option<RunCursor>,
    mut visit: impl FnMut(RunRow) -> Result<ControlFlow<()>, StoreError>,
) -> Result<Option<RunCursor>, StoreError> {
    let source = Source::of(filter);
    let (mut from, end) = source.prefix(group, &filter.namespace).range();
    let (youngest, oldest) = filter.started_between();
    if let Some(youngest) = youngest {
        from = from.max(source.prefix(group, &filter.namespace).time_reversed(youngest).finish());
    }
    if let Some(RunCursor { started_at, uid }) = after {
        let seen = source.key(group, &filter.namespace, started_at, uid);
        from = from.max([seen.as_ref(), &[0]].concat().into());
    }
    let (mut next, mut last, mut scanned, mut enough) = (None, None, 0, false);
    if from >= end {
        return Ok(next);
    }
    reader.visit(&(from, end), |key, value| {
        if enough || scanned == LIST_SCANNED_MAX {
            next = last;
            return Ok(ControlFlow::Break(()));
        }
        let cursor = parse(source, key)?;
        if oldest.is_some_and(|oldest| cursor.started_at < oldest) {
            return Ok(ControlFlow::Break(()));
        }
        scanned += 1;
        last = Some(cursor);
        let row = match source {
            Source::List => row(reader, group, cursor, value)?,
            Source::Open | Source::Workflow(_) => {
                let entry = reader.read(&Source::List.key(group, &filter.namespace, cursor.started_at, cursor.uid))?;
                row(reader, group, cursor, &entry.ok_or(StoreError::Missing { what: "list entry", uid: cursor.uid })?)?
            }
        };
        if filter.matches(&row) {
            enough = visit(row)?.is_break();
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(next)
}

/// A run without its payloads and steps.
pub(crate) fn summary(reader: &(impl Reader + ?Sized), group: GroupId, uid: RunUid) -> Result<Option<RunSummary>, StoreError> {
    let Some((head, _)) = head::get(reader, group, uid)? else { return Ok(None) };
    let info = info::get(reader, group, uid)?.ok_or(StoreError::Missing { what: "info", uid })?;
    Ok(Some(RunSummary { info, head }))
}

/// What an entry says. One of a version that kept less is completed from head and info.
fn row(reader: &(impl Reader + ?Sized), group: GroupId, cursor: RunCursor, value: &[u8]) -> Result<RunRow, StoreError> {
    let entry: log::RunListEntry = codec::decode("run list entry", Bytes::copy_from_slice(value))?;
    if entry.run_id.is_empty() {
        let RunSummary { info, head } =
            summary(reader, group, cursor.uid)?.ok_or(StoreError::Missing { what: "head or info", uid: cursor.uid })?;
        return Ok(row_of(&info, &head));
    }
    Ok(RunRow {
        uid: cursor.uid,
        run_id: entry.run_id,
        workflow: entry.workflow,
        version: entry.version,
        status: codec::run_status_from_proto(entry.status)?,
        labels: entry.labels,
        started_at: cursor.started_at,
        ended_at: entry.ended_at_ms.map(Timestamp),
        error_type: entry.error_type,
        parent: entry.parent,
    })
}

fn parse(source: Source<'_>, key: &[u8]) -> Result<RunCursor, StoreError> {
    let mut reader = KeyReader::new(key)?;
    reader.text()?;
    if matches!(source, Source::Workflow(_)) {
        reader.text()?;
    }
    let started_at = reader.time_reversed()?;
    let uid = reader.uid()?;
    reader.end()?;
    Ok(RunCursor { started_at, uid })
}

#[cfg(test)]
mod tests;
