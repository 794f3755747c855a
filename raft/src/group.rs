//! One replica of a group, as the node sees it.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::{GroupId, GroupStatus, Index, Leadership, NodeId, ProposeError, ReadError, ReplicaId, Term, TransferError};

/// One replica of a group. Cheap to clone.
#[derive(Clone)]
pub struct Group {}

/// A record that was applied here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Its place in the log.
    pub index: Index,
    /// What the state machine answered.
    pub answer: Bytes,
}

/// A proposal that is under way. Dropping it changes nothing.
pub struct Pending {}

impl Pending {
    /// Waits until the record is applied here.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn applied(self) -> Result<Proposed, ProposeError> {
        unimplemented!()
    }
}

impl Group {
    /// Which group this is.
    pub fn id(&self) -> GroupId {
        unimplemented!()
    }

    /// Which replica of it lives here.
    pub fn replica(&self) -> ReplicaId {
        unimplemented!()
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
        let _ = (term, record);
        unimplemented!()
    }

    /// Makes a read on this replica linearizable: when it returns, everything that had committed before the call is applied here.
    ///
    /// Works on every replica: a follower asks the leader. Costs one round of heartbeats, which concurrent reads share.
    ///
    /// # Errors
    /// If no leader confirms in time, or the group stopped.
    pub async fn read_barrier(&self) -> Result<Index, ReadError> {
        unimplemented!()
    }

    /// Who leads. The first value is what is known now.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        unimplemented!()
    }

    /// Index that the state on this replica includes.
    pub fn applied(&self) -> watch::Receiver<Index> {
        unimplemented!()
    }

    /// Waits until the state on this replica includes an index.
    ///
    /// # Errors
    /// If the group stopped.
    pub async fn wait_applied(&self, index: Index) -> Result<(), ReadError> {
        let _ = index;
        unimplemented!()
    }

    /// This replica leads, and a quorum answered a message that it sent within this time.
    pub fn quorum_acked_within(&self, age: Duration) -> bool {
        let _ = age;
        unimplemented!()
    }

    /// Hands the leadership to the voter on a node; returns when that one leads, as seen from here.
    ///
    /// # Errors
    /// If this replica does not lead, the node has no voter, or it did not take over in time.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), TransferError> {
        let _ = to;
        unimplemented!()
    }

    /// Asks for a snapshot now; what it makes superfluous in the log is purged afterwards.
    pub async fn snapshot(&self) {
        unimplemented!()
    }

    /// What can be seen of the group from here.
    pub fn status(&self) -> GroupStatus {
        unimplemented!()
    }
}
