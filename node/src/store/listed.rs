//! Runs in the order of the list, but only some of them: so that what is rare is found without reading what is not.
//!
//! `[group]'a'[namespace 0][reversed start time][uid]` -> nothing, while the run has not ended.
//! `[group]'J'[namespace 0][workflow 0][reversed start time][uid]` -> nothing, as long as the run is kept.
//!
//! What filters ask about is in the list's own entry, which these keys lead to. They pay for themselves: a start writes two keys of about 60 bytes
//! more and an end deletes one, in batches that are written anyway; without them, whoever looks for the few runs that are going on, or for those of
//! a seldom workflow, reads the entries of all runs that are kept (measured: see docs/operations.md, "Finding runs").

use bytes::Bytes;
use quorus_engine::{RunUid, Timestamp};
use quorus_raft::GroupId;

use super::key::{Family, KeyWriter};
use crate::query::RunFilter;

/// Which keys to follow for a filter: each kind has the same end, so that a cursor is a place in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    /// All runs.
    List,
    /// Those that have not ended.
    Open,
    /// Those of a workflow.
    Workflow(&'a str),
}

impl<'a> Source<'a> {
    /// The smallest that holds all runs that can match. Those that go on are few beside those that are kept.
    pub(crate) fn of(filter: &'a RunFilter) -> Self {
        if filter.only_open() {
            Self::Open
        } else if let Some(workflow) = filter.only_workflow() {
            Self::Workflow(workflow)
        } else {
            Self::List
        }
    }

    /// The beginning of its keys for a namespace.
    pub(crate) fn prefix(self, group: GroupId, namespace: &str) -> KeyWriter {
        let begin = |family, more: usize| KeyWriter::new(group, family, namespace.len() + 1 + more + 24).text(namespace);
        match self {
            Self::List => begin(Family::List, 0),
            Self::Open => begin(Family::OpenRun, 0),
            Self::Workflow(workflow) => begin(Family::WorkflowRun, workflow.len() + 1).text(workflow),
        }
    }

    /// The key of a run.
    pub(crate) fn key(self, group: GroupId, namespace: &str, started_at: Timestamp, uid: RunUid) -> Bytes {
        self.prefix(group, namespace).time_reversed(started_at).uid(uid).finish()
    }
}
