//! How far a replica is, read from a view of the disk: for those who look at a replica from outside, also when its group does not run.

use bytes::Bytes;

use crate::{
    Error, GroupId, Index, ReplicaId, Term, codec,
    disk::{Table, View},
    keys::{self, Meta},
};

/// How far a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedState {
    /// Which replica.
    pub replica: ReplicaId,
    /// Term of the last applied entry; 0 before the first.
    pub term: Term,
    /// Index of the last applied entry; 0 before the first.
    pub index: Index,
    /// All that the group itself derived from the log, encoded: that entry, and the membership at it. Replicas with the same index have the same.
    pub derived: Bytes,
}

/// How far the replica of a group is, as of the moment of the view; `None` if there is none on this disk.
///
/// # Errors
/// [`Error::Installing`] while the state is being replaced, so that nobody takes a half of it for the whole; others if the disk can't be read.
pub fn applied_state(view: &dyn View, group: GroupId) -> Result<Option<AppliedState>, Error> {
    let meta = |kind| view.get(Table::Meta, &keys::meta(group, kind)).map_err(|source| Error::Disk { group, source });
    let Some(replica) = meta(Meta::Replica)? else { return Ok(None) };
    let replica = codec::decode_replica(&replica).map_err(|error| Error::Corrupt { group, replica: 0, reason: error.to_string() })?;
    if meta(Meta::Installing)?.is_some() {
        return Err(Error::Installing { group });
    }
    let derived = meta(Meta::Applied)?.unwrap_or_default();
    let last = if derived.is_empty() {
        None
    } else {
        codec::decode_applied(&derived).map_err(|error| Error::Corrupt { group, replica, reason: error.to_string() })?.0
    };
    let (term, index) = last.map_or((0, 0), |last| (last.leader_id.term, last.index));
    Ok(Some(AppliedState { replica, term, index, derived }))
}
