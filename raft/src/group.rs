//! One replica of a group, as the node sees it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{ReadPolicy, errors::ClientWriteError, raft::ClientWriteResult, type_config::async_runtime::watch::WatchReceiver};
use parking_lot::RwLock;
use quorus_mutants::{Mutant, active};
use quorus_proto::peer::{ReadIndexRequest, raft_service_client::RaftServiceClient};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    GroupConfig, GroupId, GroupStatus, Index, Leadership, NodeId, ProposeError, ReadError, ReplicaId, ReplicaStatus, Term, TransferError,
    shared::Shared,
    store::{Staging, StateShared},
    types::{Answer, CommittedLeader, Raft, Record, Types},
};

/// How long a read waits before it asks again, if nothing is heard of a change.
const READ_RETRY: Duration = Duration::from_millis(20);

/// One replica of a group. Cheap to clone.
#[derive(Clone)]
pub struct Group {
    inner: Arc<GroupInner>,
}

/// A record that was applied here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Its place in the log.
    pub index: Index,
    /// What the state machine answered.
    pub answer: Bytes,
}

/// A proposal that is under way. Dropping it changes nothing.
pub struct Pending {
    answer: oneshot::Receiver<ClientWriteResult<Types>>,
}

impl Pending {
    /// Waits until the record is applied here.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn applied(self) -> Result<Proposed, ProposeError> {
        match self.answer.await {
            Ok(Ok(response)) => Ok(Proposed { index: response.log_id.index, answer: response.data }),
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_node.map(|home| home.node) })
            }
            Ok(Err(ClientWriteError::LogEntryDiscarded(_))) => Err(ProposeError::OutcomeUnknown),
            // Only of changes of the membership.
            Ok(Err(ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_))) => {
                Err(ProposeError::OutcomeUnknown)
            }
            Err(_) => Err(ProposeError::Stopped),
        }
    }
}

impl Group {
    pub(crate) fn new(inner: Arc<GroupInner>) -> Self {
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<GroupInner> {
        &self.inner
    }

    /// Which group this is.
    pub fn id(&self) -> GroupId {
        self.inner.id()
    }

    /// Which replica of it lives here.
    pub fn replica(&self) -> ReplicaId {
        self.inner.replica()
    }

    /// Puts a record into the log of this term, and waits until it is applied here.
    ///
    /// The entry gets exactly this term, or is refused. Dropping the future does not take the record back.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose(&self, term: Term, record: Bytes) -> Result<Proposed, ProposeError> {
        self.propose_pipelined(term, record).await?.applied().await
    }

    /// Like [`Group::propose`], but returns as soon as the record is queued, so that one task can have many under way.
    ///
    /// Records that are queued one after the other keep that order in the log.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`] if the group stopped.
    pub async fn propose_pipelined(&self, term: Term, record: Bytes) -> Result<Pending, ProposeError> {
        let raft = self.inner.raft().ok_or(ProposeError::Stopped)?;
        let (responder, answer) = Answer::channel();
        let write = raft.write(Record::new(term, &record)).with_leader(CommittedLeader::new(term)).responder(responder);
        write.await.map_err(|_| ProposeError::Stopped)?;
        Ok(Pending { answer })
    }

    /// Makes a read on this replica linearizable: when it returns, everything that had committed before the call is applied here.
    ///
    /// Works on every replica: a follower asks the leader. Costs one round of heartbeats, which concurrent reads share.
    ///
    /// # Errors
    /// If no leader confirms in time, or the group stopped.
    pub async fn read_barrier(&self) -> Result<Index, ReadError> {
        if active(Mutant::ReadWithoutQuorumCheck) {
            return Ok(*self.applied().borrow());
        }
        let deadline = Instant::now() + self.inner.host().options().read_timeout;
        let mut leadership = self.leadership();
        loop {
            let now = *leadership.borrow_and_update();
            let index = match now.leader {
                _ if now.here => self.inner.read_index().await.map(|(index, _)| index),
                Some(leader) => self.inner.ask_read_index(leader).await,
                None => None,
            };
            if let Some(index) = index {
                return match timeout_at(deadline, self.wait_applied(index)).await {
                    Ok(result) => result.map(|()| index),
                    Err(_) => Err(ReadError::Unavailable { leader: now.leader }),
                };
            }
            if self.inner.stop.is_cancelled() {
                return Err(ReadError::Stopped);
            }
            if Instant::now() >= deadline {
                return Err(ReadError::Unavailable { leader: now.leader });
            }
            // Whichever comes first: a new leadership, or another try with the old one.
            let _changed = timeout_at(deadline.min(Instant::now() + READ_RETRY), leadership.changed()).await;
        }
    }

    /// Who leads. The first value is what is known now.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.subscribe()
    }

    /// Index that the state on this replica includes; 0 before the first record.
    pub fn applied(&self) -> watch::Receiver<Index> {
        self.inner.state.applied()
    }

    /// Waits until the state on this replica includes an index.
    ///
    /// # Errors
    /// If the group stopped.
    pub async fn wait_applied(&self, index: Index) -> Result<(), ReadError> {
        let mut applied = self.applied();
        tokio::select! {
            biased;
            reached = applied.wait_for(|applied| *applied >= index) => reached.map(|_| ()).map_err(|_| ReadError::Stopped),
            () = self.inner.stop.cancelled() => Err(ReadError::Stopped),
        }
    }

    /// This replica leads, and a quorum answered a message that it sent within this time.
    pub fn quorum_acked_within(&self, age: Duration) -> bool {
        let Some(raft) = self.inner.raft() else { return false };
        if !self.inner.leadership.borrow().here {
            return false;
        }
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        // A single voter is its own quorum, and sends no heartbeats that it could answer.
        let alone = metrics.membership_config.membership().voter_ids().count() == 1;
        let acked = metrics.last_quorum_acked.map(openraft::metrics::SerdeInstant::into_inner);
        alone || acked.is_some_and(|acked| openraft::Instant::elapsed(&acked) <= age)
    }

    /// Hands the leadership to the voter on a node; returns when that one leads, as seen from here.
    ///
    /// # Errors
    /// If this replica does not lead, the node has no voter, or it did not take over in time.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), TransferError> {
        let raft = self.inner.raft().ok_or(TransferError::Stopped)?;
        let mut leadership = self.leadership();
        if !leadership.borrow_and_update().here {
            return Err(TransferError::NotLeader);
        }
        let status = self.status();
        let Some((replica, _)) = status.voters.iter().find(|(_, node)| *node == to) else {
            return Err(TransferError::NotAVoter { node: to });
        };
        if *replica == self.replica() {
            return Ok(());
        }
        raft.trigger().transfer_leader(*replica).await.map_err(|_| TransferError::Stopped)?;
        let deadline = Instant::now() + 2 * self.inner.host().options().election_max;
        let led = leadership.wait_for(|leadership| leadership.leader == Some(to));
        match timeout_at(deadline, led).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(TransferError::Stopped),
            Err(_) => Err(TransferError::TimedOut),
        }
    }

    /// Asks for a snapshot now; what it makes superfluous in the log is purged afterwards.
    pub async fn snapshot(&self) {
        if let Some(raft) = self.inner.raft() {
            // A group that stops needs none.
            let _stopped = raft.trigger().snapshot().await;
        }
    }

    /// What can be seen of the group from here.
    pub fn status(&self) -> GroupStatus {
        let leadership = *self.inner.leadership.borrow();
        let Some(raft) = self.inner.raft() else {
            return GroupStatus { term: leadership.term, ..GroupStatus::default() };
        };
        let metrics = raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let homes = |replica: ReplicaId| (replica, membership.get_node(&replica).map_or(0, |home| home.node));
        let next = metrics.last_log_index.map_or(0, |last| last + 1);
        let replicas = metrics.replication.iter().flatten().filter(|(replica, _)| **replica != self.replica()).map(|(replica, matched)| {
            let matched = matched.as_ref().map(|matched| matched.index);
            let lag = next.saturating_sub(matched.map_or(0, |matched| matched + 1));
            ReplicaStatus { replica: *replica, node: homes(*replica).1, matched, lag }
        });
        let lease = self.inner.host().options().election_max;
        GroupStatus {
            term: leadership.term,
            leader: leadership.leader,
            applied: metrics.last_applied.map(|id| id.index),
            last_log: metrics.last_log_index,
            voters: membership.voter_ids().map(homes).collect(),
            learners: membership.learner_ids().map(homes).collect(),
            healthy: leadership.leader.is_some() && (!leadership.here || self.quorum_acked_within(lease)),
            replicas: replicas.collect(),
        }
    }
}

/// What a group is made of; shared by its handles, its supervisor and the service.
pub(crate) struct GroupInner {
    config: GroupConfig,
    host: Arc<Shared>,
    state: Arc<StateShared>,
    staging: Arc<tokio::sync::Mutex<Staging>>,
    raft: RwLock<Option<Raft>>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) stop: CancellationToken,
    /// Before that, a replica that existed before this process keeps the promise that it may have given to a leader.
    votes_from: Instant,
}

impl GroupInner {
    pub(crate) fn new(config: GroupConfig, host: Arc<Shared>, state: Arc<StateShared>, votes_from: Instant) -> Self {
        let stop = host.stopping().child_token();
        let (staging, raft, leadership) = (Arc::default(), RwLock::new(None), watch::Sender::new(Leadership::default()));
        Self { config, host, state, staging, raft, leadership, stop, votes_from }
    }

    pub(crate) fn id(&self) -> GroupId {
        self.config.group
    }

    pub(crate) fn replica(&self) -> ReplicaId {
        self.config.replica
    }

    pub(crate) fn config(&self) -> &GroupConfig {
        &self.config
    }

    pub(crate) fn host(&self) -> &Arc<Shared> {
        &self.host
    }

    pub(crate) fn state(&self) -> &Arc<StateShared> {
        &self.state
    }

    pub(crate) fn staging(&self) -> &Arc<tokio::sync::Mutex<Staging>> {
        &self.staging
    }

    /// The core that runs now, if one does.
    pub(crate) fn raft(&self) -> Option<Raft> {
        self.raft.read().clone()
    }

    pub(crate) fn set_raft(&self, raft: Option<Raft>) {
        *self.raft.write() = raft;
    }

    pub(crate) fn votes_from(&self) -> Instant {
        self.votes_from
    }

    /// openraft forgets at a restart that it promised a lease to the leader; so it must not vote before any such lease has ended.
    pub(crate) fn may_vote(&self) -> Result<(), String> {
        if Instant::now() < self.votes_from { Err("a lease may still hold".to_owned()) } else { Ok(()) }
    }

    /// An index to read at and the term, if this replica leads and a quorum confirms it.
    pub(crate) async fn read_index(&self) -> Option<(Index, Term)> {
        let raft = self.raft()?;
        let deadline = Instant::now() + 2 * self.host.options().election_max;
        let linearizer = timeout_at(deadline, raft.get_read_linearizer(ReadPolicy::ReadIndex)).await.ok()?.ok()?;
        let read = linearizer.read_log_id();
        Some((read.index(), read.committed_leader_id().term))
    }

    /// The same, from another node.
    async fn ask_read_index(&self, leader: NodeId) -> Option<Index> {
        let channel = self.host.peers().channel(leader).ok()?;
        let deadline = Instant::now() + 3 * self.host.options().election_max;
        let request = ReadIndexRequest { cluster_id: self.host.options().cluster_id.clone(), group: self.id() };
        let response = timeout_at(deadline, RaftServiceClient::new(channel).read_index(request)).await.ok()?;
        Some(response.ok()?.into_inner().index)
    }
}
