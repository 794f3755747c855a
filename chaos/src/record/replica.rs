//! What a replica has applied, as it says itself through the audit export.
//!
//! On disk an export is the messages as they came over the wire, each with its length in front; [`Replica::from_parts`] and [`Replica::to_parts`] go
//! between the two. A broken-off export is an error: half of a replica must not look like a replica that lost something.

use anyhow::{Context as _, bail, ensure};
use quorus_proto::v1::{
    ExportReplicaResponse, HistoryEvent, ReplicaEvents, ReplicaHead, Run, RunParent, RunStatus, export_replica_response::Part,
};

/// Events of a message when a replica is written.
const EVENTS_MAX: usize = 500;

/// One replica of one shard at one applied index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replica {
    /// On which node.
    pub node: u64,
    /// Of which shard; 0 is the system group.
    pub shard: u32,
    /// Term of the last applied entry.
    pub term: u64,
    /// Index of the last applied entry.
    pub index: u64,
    /// SHA-256 in hex over everything that the replica derived from its log. Replicas with the same index must have the same.
    pub digest: String,
    /// Its runs, by uid.
    pub runs: Vec<RecordedRun>,
}

/// A run with its whole history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordedRun {
    /// Where it is.
    pub namespace: String,
    /// Its id.
    pub run_id: String,
    /// Never reused.
    pub run_uid: String,
    /// The workflow's name.
    pub workflow: String,
    /// Uid of the parent, if it is a child.
    pub parent_uid: String,
    /// `RUN_STATUS_…`.
    pub status: String,
    /// In order, from sequence 1.
    pub events: Vec<HistoryEvent>,
}

impl Replica {
    /// Puts an export together.
    ///
    /// # Errors
    /// If it is not whole, or not an export.
    pub fn from_parts(parts: impl IntoIterator<Item = anyhow::Result<ExportReplicaResponse>>) -> anyhow::Result<Self> {
        let mut parts = parts.into_iter();
        let first = parts.next().transpose()?.and_then(|part| part.part);
        let Some(Part::Head(head)) = first else { bail!("the export does not begin with its head") };
        let ReplicaHead { node_id: node, shard, term, index, digest, runs: runs_expected, .. } = head;
        let mut replica = Self { node, shard, term, index, digest, runs: Vec::new() };
        // Events that the last run still lacks.
        let mut missing = 0;
        for part in parts {
            match part?.part.context("a part of the export is of an unknown kind")? {
                Part::Head(_) => bail!("the export has two heads"),
                Part::Run(run) => {
                    ensure!(missing == 0, "run {}: {missing} events are missing", replica.last_uid());
                    missing = run.sequence;
                    replica.runs.push(RecordedRun::of(run));
                }
                Part::Events(ReplicaEvents { run_uid, events }) => {
                    let run = replica.runs.last_mut().filter(|run| run.run_uid == run_uid);
                    let run = run.with_context(|| format!("events of run {run_uid} are out of place"))?;
                    for event in events {
                        ensure!(event.sequence == run.events.len() as u64 + 1, "run {run_uid}: event {} is out of place", event.sequence);
                        missing = missing.checked_sub(1).with_context(|| format!("run {run_uid} has more events than it says"))?;
                        run.events.push(event);
                    }
                }
            }
        }
        ensure!(missing == 0, "run {}: {missing} events are missing", replica.last_uid());
        ensure!(replica.runs.len() as u64 == runs_expected, "{} of {runs_expected} runs are there", replica.runs.len());
        Ok(replica)
    }

    /// The messages of an export with this content.
    pub fn to_parts(&self) -> impl Iterator<Item = ExportReplicaResponse> + use<'_> {
        let Self { node, shard, term, index, digest, runs } = self;
        let head = ReplicaHead {
            node_id: *node,
            shard: *shard,
            term: *term,
            index: *index,
            digest: digest.clone(),
            runs: runs.len() as u64,
            ..ReplicaHead::default()
        };
        let runs = runs.iter().flat_map(|run| {
            let pages = run.events.chunks(EVENTS_MAX).map(|page| ReplicaEvents { run_uid: run.run_uid.clone(), events: page.to_vec() });
            std::iter::once(Part::Run(run.to_wire(*shard))).chain(pages.map(Part::Events))
        });
        std::iter::once(Part::Head(head)).chain(runs).map(|part| ExportReplicaResponse { part: Some(part) })
    }

    fn last_uid(&self) -> &str {
        self.runs.last().map_or("", |run| &run.run_uid)
    }
}

impl RecordedRun {
    fn of(run: Run) -> Self {
        Self {
            status: run.status().as_str_name().to_owned(),
            namespace: run.namespace,
            run_id: run.run_id,
            run_uid: run.run_uid,
            workflow: run.workflow,
            parent_uid: run.parent.map(|parent| parent.run_uid).unwrap_or_default(),
            events: Vec::new(),
        }
    }

    fn to_wire(&self, shard: u32) -> Run {
        let parent = RunParent { run_uid: self.parent_uid.clone(), ..RunParent::default() };
        Run {
            namespace: self.namespace.clone(),
            run_id: self.run_id.clone(),
            run_uid: self.run_uid.clone(),
            workflow: self.workflow.clone(),
            status: RunStatus::from_str_name(&self.status).unwrap_or_default().into(),
            parent: (!self.parent_uid.is_empty()).then_some(parent),
            sequence: self.events.len() as u64,
            shard,
            ..Run::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica() -> Replica {
        let run = |uid: &str, events: u64| RecordedRun {
            namespace: "default".to_owned(),
            run_id: format!("run-{uid}"),
            run_uid: uid.to_owned(),
            workflow: "w".to_owned(),
            parent_uid: "p".to_owned(),
            status: "RUN_STATUS_SUCCEEDED".to_owned(),
            events: (1..=events).map(|sequence| HistoryEvent { sequence, ..HistoryEvent::default() }).collect(),
        };
        Replica { node: 2, shard: 3, term: 4, index: 5, digest: "abc".to_owned(), runs: vec![run("a", 1), run("b", 1_201)] }
    }

    #[test]
    fn an_export_comes_back() {
        let replica = replica();
        assert_eq!(Replica::from_parts(replica.to_parts().map(Ok)).unwrap(), replica);
    }

    #[test]
    fn an_export_that_broke_off_anywhere_is_no_replica() {
        let parts: Vec<_> = replica().to_parts().collect();
        assert_eq!(parts.len(), 1 + 2 + 2 + 3 - 1);
        for length in 0..parts.len() {
            assert!(Replica::from_parts(parts[..length].iter().cloned().map(Ok)).is_err(), "{length} parts");
        }
        for left_out in 0..parts.len() {
            let rest = parts.iter().enumerate().filter(|(place, _)| *place != left_out).map(|(_, part)| Ok(part.clone()));
            assert!(Replica::from_parts(rest).is_err(), "without part {left_out}");
        }
    }
}
