//! Puts the decisions of many runs into one record, and one record after another into the log.
//!
//! No timer and no linger: while a few records are on their way, the decisions that come meanwhile make up the next one.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use prost::Message;
use quorus_proto::log;
use quorus_raft::{Group, ProposeError};
use tokio::sync::{mpsc, oneshot};

use crate::{
    observe::names,
    replica::{BatchAnswer, RecordAnswer},
};

/// Records on their way at a time. More would make smaller records, not faster ones.
const RECORDS_MAX: usize = 4;
/// Decisions of one record.
const BATCHES_MAX: usize = 512;
/// Bytes of one record, beyond its last decision.
const BYTES_MAX: usize = 1024 * 1024;

/// Decisions of one run that belong together.
pub(crate) struct Proposal {
    /// In order; usually one, two when a start replaces a run.
    pub batches: Vec<log::RunBatch>,
    /// A definition that the shard may not have yet.
    pub definition: Option<log::StoredDefinition>,
    /// True if all batches were applied, false if one was stale.
    pub done: oneshot::Sender<Result<bool, ProposeError>>,
}

/// The way to a shard's proposer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Proposer {
    proposals: mpsc::UnboundedSender<Proposal>,
}

impl Proposer {
    /// Starts proposing for a leadership; ends when the last handle is dropped.
    pub(crate) fn start(group: Group, term: u64) -> Self {
        let (proposals, receiver) = mpsc::unbounded_channel();
        tokio::spawn(run(group, term, receiver));
        Self { proposals }
    }

    /// Proposes decisions; resolves when they are applied on this node.
    pub(crate) async fn propose(
        &self,
        batches: Vec<log::RunBatch>,
        definition: Option<log::StoredDefinition>,
    ) -> Result<bool, ProposeError> {
        let (done, answer) = oneshot::channel();
        // What flows here is bounded: each run has at most one proposal on its way.
        self.proposals.send(Proposal { batches, definition, done }).map_err(|_| ProposeError::Stopped)?;
        answer.await.unwrap_or(Err(ProposeError::OutcomeUnknown))
    }
}

async fn run(group: Group, term: u64, mut proposals: mpsc::UnboundedReceiver<Proposal>) {
    let mut in_flight = FuturesUnordered::new();
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            received = proposals.recv_many(&mut waiting, BATCHES_MAX), if in_flight.len() < RECORDS_MAX => {
                if received == 0 {
                    break;
                }
                // Whoever does not wait any more was killed with its leadership: what it decided must not follow a new epoch.
                let mut rest = waiting.drain(..).filter(|proposal| !proposal.done.is_closed()).peekable();
                while rest.peek().is_some() {
                    in_flight.push(send(&group, term, next_record(&mut rest)).await);
                }
            }
        }
    }
    while in_flight.next().await.is_some() {}
}

/// Takes proposals until the record is large enough.
fn next_record(rest: &mut impl Iterator<Item = Proposal>) -> Vec<Proposal> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    for proposal in rest {
        bytes += proposal.batches.iter().flat_map(|batch| &batch.events).map(Bytes::len).sum::<usize>();
        taken.push(proposal);
        if bytes >= BYTES_MAX {
            break;
        }
    }
    taken
}

/// Puts a record into the log; the future that it returns resolves when the record is applied.
async fn send(group: &Group, term: u64, proposals: Vec<Proposal>) -> impl Future<Output = ()> + use<> {
    let mut record = log::Record { term, ..log::Record::default() };
    let mut digests = BTreeSet::new();
    let mut waiters = Vec::with_capacity(proposals.len());
    for proposal in proposals {
        waiters.push((proposal.batches.len(), proposal.done));
        record.batches.extend(proposal.batches);
        record.definitions.extend(proposal.definition.filter(|definition| digests.insert(definition.digest.clone())));
    }
    metrics::histogram!(names::RECORD_BATCHES).record(record.batches.len() as f64);
    let encoded = Bytes::from(record.encode_to_vec());
    let pending = group.propose_pipelined(term, encoded).await;
    async move {
        let applied = match pending {
            Ok(pending) => pending.applied().await,
            Err(error) => Err(error),
        };
        let answer = match applied.map(|proposed| RecordAnswer::decode(&proposed.answer)) {
            Ok(Some(RecordAnswer::Batches(answers))) => Ok(answers),
            Ok(Some(RecordAnswer::Epoch { .. }) | None) => Err(ProposeError::OutcomeUnknown),
            Err(error) => Err(error),
        };
        let mut place = 0;
        for (batches, done) in waiters {
            let result = match &answer {
                Ok(answers) => match answers.get(place..place + batches) {
                    Some(answers) => judge(answers),
                    None => Err(ProposeError::OutcomeUnknown),
                },
                Err(error) => Err(error.clone()),
            };
            place += batches;
            // The actor may be gone; then nobody waits for the answer.
            done.send(result).ok();
        }
    }
}

/// True if all batches of a proposal were applied, false if they have to be decided again.
fn judge(answers: &[BatchAnswer]) -> Result<bool, ProposeError> {
    if answers.contains(&BatchAnswer::StaleTerm) {
        return Err(ProposeError::NotLeader { leader: None });
    }
    if answers.contains(&BatchAnswer::Malformed) {
        tracing::error!("a decision was refused as malformed: a fault of this version");
    }
    Ok(answers.iter().all(|answer| *answer == BatchAnswer::Applied))
}
