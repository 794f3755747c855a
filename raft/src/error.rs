//! Errors of hosts and groups.

use crate::{GroupId, NodeId, ReplicaId, disk::DiskError};

/// A group could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed.
    #[error("group {group}: the disk failed")]
    Disk {
        /// The group.
        group: GroupId,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// What is stored contradicts itself; this replica must not take part again under its id.
    #[error("group {group}: replica {replica} is corrupt: {reason}")]
    Corrupt {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
        /// What is wrong.
        reason: String,
    },
    /// The disk holds another replica of the group.
    #[error("group {group}: replica {found} is stored here, not {wanted}")]
    OtherReplica {
        /// The group.
        group: GroupId,
        /// What was asked for.
        wanted: ReplicaId,
        /// What is stored.
        found: ReplicaId,
    },
    /// A snapshot is replacing the state; for a moment there is no whole one.
    #[error("group {group}: a snapshot is being installed")]
    Installing {
        /// The group.
        group: GroupId,
    },
    /// It is open already.
    #[error("group {group} is open already")]
    AlreadyOpen {
        /// The group.
        group: GroupId,
    },
    /// The configuration makes no sense.
    #[error("group {group}: {reason}")]
    Config {
        /// The group, 0 for options of the host.
        group: GroupId,
        /// What is wrong.
        reason: String,
    },
    /// The group stopped while it was opened.
    #[error("group {group} stopped: {reason}")]
    Stopped {
        /// The group.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

/// The process can't go on: a write or an fsync failed. It must exit, and not write again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fatal {
    /// What failed.
    pub reason: String,
}

/// A proposal was not applied here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Surely not in the log: this replica does not lead in the term, or gives its leadership up.
    #[error("not the leader of the term")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// It may commit later, or never.
    #[error("the outcome is unknown: leadership was lost while it was replicated")]
    OutcomeUnknown,
    /// The group stopped; if the proposal was under way, its outcome is unknown.
    #[error("the group stopped")]
    Stopped,
}

/// A read can't be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader could confirm in time that it leads.
    #[error("no leader was confirmed by a quorum in time")]
    Unavailable {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// The group stopped.
    #[error("the group stopped")]
    Stopped,
}

/// A leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This replica does not lead.
    #[error("not the leader")]
    NotLeader,
    /// The node holds no voter of the group.
    #[error("node {node} holds no voter of the group")]
    NotAVoter {
        /// The node.
        node: NodeId,
    },
    /// The other replica did not take over in time.
    #[error("the other replica did not take over in time")]
    TimedOut,
    /// The group stopped.
    #[error("the group stopped")]
    Stopped,
}

/// A node's address is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address of node {node} is not known, or not valid")]
pub struct NoAddress {
    /// The node.
    pub node: NodeId,
}
