//! Who belongs to a group, and how that changes: by its leader, one change at a time.
//!
//! A replica that joins is opened on its node first (`initialize: false`), then added as a learner, and made a voter once it has caught up. Voters change in one joint
//! step, whatever the difference. Replica ids are never used again, see [`crate::ReplicaId`].

use std::collections::BTreeSet;

use openraft::{
    ChangeMembers,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
    raft::ClientWriteResponse,
};

use crate::{
    Group, NodeId, ReplicaId,
    types::{Home, Types},
};

/// A membership was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// This replica does not lead.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Another change is under way; this one may be tried again.
    #[error("another change is under way")]
    InProgress,
    /// The change makes no sense: a voter that is no learner yet, or no voter at all.
    #[error("refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// It may take effect later, or never.
    #[error("the outcome is unknown: leadership was lost on the way")]
    OutcomeUnknown,
    /// The group stopped.
    #[error("the group stopped")]
    Stopped,
}

impl Group {
    /// Adds a replica that only follows, and waits until it has caught up.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn add_learner(&self, replica: ReplicaId, node: NodeId) -> Result<(), MembershipError> {
        let raft = self.inner().raft().ok_or(MembershipError::Stopped)?;
        result(raft.add_learner(replica, Home { node }, true).await)
    }

    /// Makes these replicas the voters. Who is to vote must follow already; who votes no more leaves the group.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn set_voters(&self, voters: BTreeSet<ReplicaId>) -> Result<(), MembershipError> {
        let raft = self.inner().raft().ok_or(MembershipError::Stopped)?;
        result(raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), false).await)
    }
}

fn result(result: Result<ClientWriteResponse<Types>, RaftError<Types, ClientWriteError<Types>>>) -> Result<(), MembershipError> {
    let error = match result {
        Ok(_) => return Ok(()),
        Err(RaftError::Fatal(_)) => return Err(MembershipError::Stopped),
        Err(RaftError::APIError(error)) => error,
    };
    Err(match error {
        ClientWriteError::ForwardToLeader(forward) => MembershipError::NotLeader { leader: forward.leader_node.map(|home| home.node) },
        ClientWriteError::LogEntryDiscarded(_) => MembershipError::OutcomeUnknown,
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => MembershipError::InProgress,
        ClientWriteError::ChangeMembershipError(error) => MembershipError::Refused { reason: error.to_string() },
        ClientWriteError::PreconditionFailed(error) => MembershipError::Refused { reason: error.to_string() },
    })
}
