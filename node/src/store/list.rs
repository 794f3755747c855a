//! The list of runs, newest first.
//!
//! `[group]'I'[namespace 0][reversed start time][uid]` -> `log.RunListEntry`: workflow and status, so that those filters read nothing else. Written by
//! the start and by each change of the run's status, lives as long as the run is kept.
//!
//! Runs are ordered by (start time descending, uid ascending) in every shard, so one [`RunCursor`] is a position in all of them, and the pages of
//! many shards are merged by [`RunPage::merge`].

use std::{collections::BTreeMap, ops::ControlFlow};

use bytes::Bytes;
use prost::Message;
use quorus_engine::{RunHead, RunInfo, RunStatus, RunUid, Timestamp};
use quorus_proto::log;
use quorus_raft::GroupId;

use super::{
    StoreError, head, info,
    key::{Family, KeyReader, KeyWriter},
    reader::Reader,
};
use crate::codec;

/// A filter that matches little must not read a whole shard in one call: after so many keys the page ends, perhaps empty, with a cursor.
pub const LIST_SCANNED_MAX: usize = 10_000;

/// Which runs to list. Empty fields match every run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFilter {
    /// Namespace; always compared.
    pub namespace: String,
    /// Workflow.
    pub workflow: String,
    /// Any of these.
    pub statuses: Vec<RunStatus>,
    /// All of these.
    pub labels: BTreeMap<String, String>,
    /// Started then or later.
    pub started_after: Option<Timestamp>,
    /// Started before.
    pub started_before: Option<Timestamp>,
}

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

pub(crate) fn key(group: GroupId, namespace: &str, started_at: Timestamp, uid: RunUid) -> Bytes {
    KeyWriter::new(group, Family::List, namespace.len() + 1 + 24).text(namespace).time_reversed(started_at).uid(uid).finish()
}

pub(crate) fn encode(workflow: &str, status: RunStatus) -> Bytes {
    log::RunListEntry { workflow: workflow.to_owned(), status: codec::run_status_to_proto(status).into() }.encode_to_vec().into()
}

/// At most `limit` runs that match and come after `after`.
pub(crate) fn page(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    filter: &RunFilter,
    after: Option<RunCursor>,
    limit: usize,
) -> Result<RunPage, StoreError> {
    let (first, end) = KeyWriter::new(group, Family::List, filter.namespace.len() + 1).text(&filter.namespace).range();
    let mut from = first;
    if let Some(before) = filter.started_before {
        // The next older millisecond is the first one that matches.
        let oldest = Timestamp(before.0.saturating_sub(1));
        from = from.max(KeyWriter::new(group, Family::List, 64).text(&filter.namespace).time_reversed(oldest).finish());
    }
    if let Some(RunCursor { started_at, uid }) = after {
        let seen = key(group, &filter.namespace, started_at, uid);
        from = from.max([seen.as_ref(), &[0]].concat().into());
    }
    let mut page = RunPage::default();
    let mut scanned = 0;
    let mut last = None;
    if limit == 0 || from >= end {
        return Ok(page);
    }
    reader.visit(&(from, end), |key, value| {
        if scanned == LIST_SCANNED_MAX || page.runs.len() == limit {
            page.next = last;
            return Ok(ControlFlow::Break(()));
        }
        let cursor = parse(key)?;
        if filter.started_after.is_some_and(|after| cursor.started_at < after) {
            return Ok(ControlFlow::Break(()));
        }
        scanned += 1;
        last = Some(cursor);
        if matches_entry(filter, value)? {
            let summary = summary(reader, group, cursor.uid)?.ok_or(StoreError::Missing { what: "head or info", uid: cursor.uid })?;
            if filter.labels.iter().all(|(name, value)| summary.info.labels.get(name) == Some(value)) {
                page.runs.push(summary);
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page)
}

/// A run without its payloads and steps.
pub(crate) fn summary(reader: &(impl Reader + ?Sized), group: GroupId, uid: RunUid) -> Result<Option<RunSummary>, StoreError> {
    let Some((head, _)) = head::get(reader, group, uid)? else { return Ok(None) };
    let info = info::get(reader, group, uid)?.ok_or(StoreError::Missing { what: "info", uid })?;
    Ok(Some(RunSummary { info, head }))
}

fn matches_entry(filter: &RunFilter, value: &[u8]) -> Result<bool, StoreError> {
    if filter.workflow.is_empty() && filter.statuses.is_empty() {
        return Ok(true);
    }
    let entry: log::RunListEntry = codec::decode("run list entry", Bytes::copy_from_slice(value))?;
    let status = codec::run_status_from_proto(entry.status)?;
    Ok((filter.workflow.is_empty() || filter.workflow == entry.workflow)
        && (filter.statuses.is_empty() || filter.statuses.contains(&status)))
}

pub(crate) fn parse(key: &[u8]) -> Result<RunCursor, StoreError> {
    let mut reader = KeyReader::new(key)?;
    reader.text()?;
    let started_at = reader.time_reversed()?;
    let uid = reader.uid()?;
    reader.end()?;
    Ok(RunCursor { started_at, uid })
}

#[cfg(test)]
mod tests;
