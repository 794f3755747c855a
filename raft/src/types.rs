//! The types that openraft is used with, and short names for them. Nothing of this is public.

use std::fmt;

use bytes::Bytes;
use openraft::{impls::leader_id_std, raft::responder::Responder, vote::RaftLeaderId};

use crate::{
    NodeId, ReplicaId, Term, codec,
    runtime::Runtime,
    store::{SnapshotData, StateStore},
};

/// Opaque records in, opaque answers out; a term has at most one leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Record;
    type R = Bytes;
    type NodeId = ReplicaId;
    type Node = Home;
    type Term = Term;
    type LeaderId = leader_id_std::LeaderId<Term, ReplicaId>;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = RaftEntry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Answer<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type Raft = openraft::Raft<Types, StateStore>;
pub(crate) type CommittedLeader = <<Types as openraft::RaftTypeConfig>::LeaderId as RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<CommittedLeader>;
pub(crate) type Vote = openraft::Vote<leader_id_std::LeaderId<Term, ReplicaId>>;
pub(crate) type Payload = openraft::EntryPayload<Record, ReplicaId, Home>;
pub(crate) type RaftEntry = openraft::Entry<CommittedLeader, Payload>;
pub(crate) type Membership = openraft::Membership<ReplicaId, Home>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeader, ReplicaId, Home>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeader, ReplicaId, Home>;
pub(crate) type Snapshot = openraft::Snapshot<CommittedLeader, ReplicaId, Home, SnapshotData>;
pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<Types>;

pub(crate) fn log_id(term: Term, index: u64) -> LogId {
    LogId::new(CommittedLeader::new(term), index)
}

/// Where a replica lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) node: NodeId,
}

/// A record, already in the form in which it is stored and sent: see [`codec`]. Made by the proposer, who knows the term.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Record {
    encoded: Bytes,
}

impl Record {
    pub(crate) fn new(term: Term, record: &[u8]) -> Self {
        Self { encoded: codec::encode_record(term, record) }
    }

    /// `encoded` is a whole entry of the kind record.
    pub(crate) fn from_encoded(encoded: Bytes) -> Self {
        Self { encoded }
    }

    pub(crate) fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// What was proposed.
    pub(crate) fn record(&self) -> Bytes {
        self.encoded.slice(codec::ENTRY_HEADER..)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.encoded.len())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Takes the answer to a proposal to whoever waits; not waiting for it is fine.
pub(crate) struct Answer<T>(tokio::sync::oneshot::Sender<T>);

impl<T> Answer<T> {
    pub(crate) fn channel() -> (Self, tokio::sync::oneshot::Receiver<T>) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (Self(sender), receiver)
    }
}

impl<T: Send + 'static> Responder<Types, T> for Answer<T> {
    fn on_complete(self, result: T) {
        // The proposer may have gone away; the record is applied all the same.
        let _gone = self.0.send(result);
    }
}
