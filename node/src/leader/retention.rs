//! How long runs are kept after their end, and how they go; beside it, what needs a person is counted for operators.
//!
//! Each look finds the runs whose time has come in one ordered index, writes the history of each to a file of its own if the node was told a folder,
//! and proposes a small record that removes them: every replica then removes the same. A run that changed meanwhile, or that owes something to
//! another one, stays; so does one whose file can't be written, and that is counted.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use quorus_engine::{Millis, RunUid};
use quorus_proto::log;
use quorus_raft::ProposeError;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{LedShard, PlanCache, dead_letter, export::Exporter};
use crate::{
    clock::Clock,
    observe::names,
    replica::{BatchAnswer, RecordAnswer},
    store::{ShardStore, StoreError},
};

/// How often a leader looks for runs whose time has come.
const LOOK: Duration = Duration::from_secs(1);
/// Looks from one count of dead letters to the next.
const MEASURED_EVERY: u64 = 10;
/// Runs removed by one record: a few thousand keys, written in some milliseconds.
const REMOVED_AT_ONCE: usize = 100;
/// Pause between two records, so that a backlog leaves room for other work.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause after a file could not be written: whatever is wrong with the folder is seldom over in a second.
const EXPORT_AGAIN: Duration = Duration::from_secs(10);

/// Files of one look that may fail before it ends: one bad name keeps one run, a full disk all of them.
const FAILURES_MAX: usize = 10;

/// How long runs are kept, and where their histories go.
#[derive(Clone)]
pub struct Retention {
    /// For runs whose definition says nothing.
    pub default: Millis,
    /// Writes histories before they go.
    pub export: Option<Arc<Exporter>>,
}

/// Why runs could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// They can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A history can't be written.
    #[error("the history can't be exported: {0}")]
    Export(#[from] std::io::Error),
    /// The record was not accepted, or may not have been.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

impl Retention {
    /// Writes a run's history, if the node was told where to; what has to be said to remove the run.
    pub(crate) async fn prepare(&self, store: &ShardStore, uid: RunUid) -> Result<Option<log::PurgeRun>, RemoveError> {
        // Before the history, so that one which grows meanwhile is not removed.
        let Some(head) = store.run_head(uid)? else { return Ok(None) };
        if let Some(exporter) = self.export.clone() {
            let store = store.clone();
            let written = tokio::task::spawn_blocking(move || exporter.export(&store, uid)).await;
            if let Err(error) = written.unwrap_or_else(|error| Ok(Err(std::io::Error::other(error))))? {
                metrics::counter!(names::EXPORT_FAILURES).increment(1);
                return Err(error.into());
            }
        }
        Ok(Some(log::PurgeRun { run_uid: Bytes::copy_from_slice(&uid.to_bytes()), expected_seq: head.seq }))
    }

    /// Proposes to remove ended runs, and waits for the apply. One answer per run.
    pub(crate) async fn remove(&self, led: &LedShard, purges: Vec<log::PurgeRun>) -> Result<Vec<BatchAnswer>, RemoveError> {
        if purges.is_empty() {
            return Ok(Vec::new());
        }
        let record = log::Record { term: led.term, purges, ..log::Record::default() };
        let proposed = led.group.propose(led.term, record.encode_to_vec().into()).await?;
        match RecordAnswer::decode(&proposed.answer) {
            Some(RecordAnswer::Batches(answers)) => {
                let removed = answers.iter().filter(|answer| **answer == BatchAnswer::Applied).count();
                metrics::counter!(names::RUNS_PURGED).increment(removed as u64);
                Ok(answers)
            }
            Some(RecordAnswer::Epoch { .. }) | None => Err(ProposeError::OutcomeUnknown.into()),
        }
    }
}

/// The actor.
pub(crate) struct Purger;

/// Look for runs whose time has come.
pub(crate) struct LookForExpired;

/// What the actor works with.
pub(crate) struct PurgerState {
    pub led: LedShard,
    pub store: ShardStore,
    pub clock: Arc<dyn Clock>,
    pub retention: Retention,
    pub plans: PlanCache,
    /// Looks so far.
    pub looks: u64,
}

impl Drop for PurgerState {
    fn drop(&mut self) {
        // Another node tells them from now on.
        dead_letter::tell(self.led.shard, 0, Duration::ZERO);
    }
}

impl Actor for Purger {
    type Msg = LookForExpired;
    type State = PurgerState;
    type Arguments = PurgerState;

    async fn pre_start(&self, myself: ActorRef<LookForExpired>, with: PurgerState) -> Result<PurgerState, ActorProcessingErr> {
        myself.send_after(LOOK, || LookForExpired);
        Ok(with)
    }

    async fn handle(
        &self,
        myself: ActorRef<LookForExpired>,
        _look: LookForExpired,
        state: &mut PurgerState,
    ) -> Result<(), ActorProcessingErr> {
        if state.looks.is_multiple_of(MEASURED_EVERY) {
            dead_letter::measure(&state.store, &state.plans, state.clock.now())?;
        }
        state.looks += 1;
        let again = match state.purge().await {
            Ok(0) => LOOK,
            Ok(_) => EXPORT_AGAIN,
            Err(RemoveError::Store(error)) => return Err(error.into()),
            Err(error @ RemoveError::Export(_)) => {
                tracing::error!(shard = state.led.shard, %error, "runs whose time has come are kept");
                EXPORT_AGAIN
            }
            Err(RemoveError::Propose(error)) => {
                tracing::debug!(shard = state.led.shard, %error, "runs whose time has come could not be removed yet");
                LOOK
            }
        };
        myself.send_after(again, || LookForExpired);
        Ok(())
    }
}

impl PurgerState {
    /// Removes everything whose time has come, some at a time. Returns how many are kept since their histories could not be written.
    async fn purge(&self) -> Result<usize, RemoveError> {
        let now = self.clock.now();
        let (mut after, mut failed) = (None, 0);
        loop {
            let page = self.store.expired_runs(now, self.retention.default, after.as_ref(), REMOVED_AT_ONCE)?;
            let mut purges = Vec::with_capacity(page.runs.len());
            for run in &page.runs {
                match self.retention.prepare(&self.store, run.uid).await {
                    Ok(purge) => purges.extend(purge),
                    Err(RemoveError::Export(error)) if failed < FAILURES_MAX => {
                        failed += 1;
                        tracing::error!(shard = self.led.shard, uid = %run.uid, %error, "a run is kept, since its history can't be written");
                    }
                    Err(error) => return Err(error),
                }
            }
            self.retention.remove(&self.led, purges).await?;
            let Some(last) = page.runs.into_iter().next_back().filter(|_| page.more) else { return Ok(failed) };
            // What had to stay is behind.
            after = Some(last);
            tokio::time::sleep(PAUSE).await;
        }
    }
}
