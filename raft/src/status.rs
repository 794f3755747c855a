//! What can be seen of a group from outside.

use crate::{Index, NodeId, ReplicaId, Term};

/// Who leads, as far as this replica knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The latest term that this replica has seen.
    pub term: Term,
    /// The node that leads in it, if known.
    pub leader: Option<NodeId>,
    /// This replica leads in `term`. Others may believe the same of an older term; only proposals that commit decide.
    pub here: bool,
}

/// A group, seen from one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStatus {
    /// The latest term.
    pub term: Term,
    /// The node that leads, if known.
    pub leader: Option<NodeId>,
    /// The state is that of this entry, if any was applied.
    pub applied: Option<Index>,
    /// Last entry in the log, if any.
    pub last_log: Option<Index>,
    /// Who votes.
    pub voters: Vec<(ReplicaId, NodeId)>,
    /// Who only follows.
    pub learners: Vec<(ReplicaId, NodeId)>,
    /// The group runs here, and knows a leader; if it is this replica, a quorum answered it lately.
    pub healthy: bool,
    /// How far each other replica is; only on the leader.
    pub replicas: Vec<ReplicaStatus>,
}

/// A replica, seen from the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The replica.
    pub replica: ReplicaId,
    /// Where it lives.
    pub node: NodeId,
    /// Its log matches the leader's up to here, if anywhere.
    pub matched: Option<Index>,
    /// Entries that it lacks.
    pub lag: u64,
}
