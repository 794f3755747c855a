//! How what openraft gives us is written down: on disk, and (entries) on the wire.
//!
//! An entry is `[kind u8][term u64 BE][rest]`; its index is in the key, or follows from its place in an append. Kinds and layouts never change; a new one
//! gets a new number. The golden test pins the bytes.

use bytes::{BufMut, Bytes, BytesMut};
use openraft::EntryPayload;
use prost::Message;
use quorus_proto::peer;

use crate::{
    ReplicaId, Term,
    types::{Home, LogId, Membership, RaftEntry, Record, StoredMembership, Vote, log_id},
};

/// Bytes before the record in an encoded entry.
pub(crate) const ENTRY_HEADER: usize = 9;

const KIND_BLANK: u8 = 1;
const KIND_RECORD: u8 = 2;
const KIND_MEMBERSHIP: u8 = 3;

/// Layout of votes, log ids and applied states.
const FORMAT: u8 = 1;

/// What was read is not what we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub(crate) struct Malformed {
    what: &'static str,
}

fn malformed(what: &'static str) -> Malformed {
    Malformed { what }
}

pub(crate) fn encode_record(term: Term, record: &[u8]) -> Bytes {
    let mut bytes = header(KIND_RECORD, term, record.len());
    bytes.put_slice(record);
    bytes.freeze()
}

fn header(kind: u8, term: Term, rest: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(ENTRY_HEADER + rest);
    bytes.put_u8(kind);
    bytes.put_u64(term);
    bytes
}

pub(crate) fn encode_entry(entry: &RaftEntry) -> Bytes {
    let term = entry.log_id.leader_id.term;
    match &entry.payload {
        EntryPayload::Blank => header(KIND_BLANK, term, 0).freeze(),
        EntryPayload::Normal(record) => record.encoded().clone(),
        EntryPayload::Membership(membership) => {
            let membership = membership_to_proto(None, membership);
            let mut bytes = header(KIND_MEMBERSHIP, term, membership.encoded_len());
            bytes.put_slice(&membership.encode_to_vec());
            bytes.freeze()
        }
    }
}

pub(crate) fn decode_entry(index: u64, encoded: Bytes) -> Result<RaftEntry, Malformed> {
    let (kind, term) = match encoded.first_chunk::<ENTRY_HEADER>() {
        Some([kind, term @ ..]) => (*kind, u64::from_be_bytes(*term)),
        None => return Err(malformed("entry")),
    };
    let payload = match kind {
        KIND_BLANK if encoded.len() == ENTRY_HEADER => EntryPayload::Blank,
        KIND_RECORD => EntryPayload::Normal(Record::from_encoded(encoded)),
        KIND_MEMBERSHIP => {
            let membership = peer::RaftMembership::decode(encoded.slice(ENTRY_HEADER..)).map_err(|_| malformed("membership"))?;
            EntryPayload::Membership(membership_from_proto(&membership)?)
        }
        _ => return Err(malformed("entry")),
    };
    Ok(RaftEntry { log_id: log_id(term, index), payload })
}

pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    let mut bytes = BytesMut::with_capacity(18);
    bytes.put_u8(FORMAT);
    bytes.put_u64(vote.leader_id.term);
    bytes.put_u64(vote.leader_id.voted_for);
    bytes.put_u8(u8::from(vote.committed));
    bytes.freeze()
}

pub(crate) fn decode_vote(encoded: &[u8]) -> Result<Vote, Malformed> {
    match encoded {
        [FORMAT, rest @ .., committed @ (0 | 1)] if rest.len() == 16 => {
            let (term, replica) = (number(&rest[..8]), number(&rest[8..]));
            Ok(if *committed == 1 { Vote::new_committed(term, replica) } else { Vote::new(term, replica) })
        }
        _ => Err(malformed("vote")),
    }
}

pub(crate) fn encode_log_id(id: LogId) -> Bytes {
    let mut bytes = BytesMut::with_capacity(17);
    bytes.put_u8(FORMAT);
    bytes.put_u64(id.leader_id.term);
    bytes.put_u64(id.index);
    bytes.freeze()
}

pub(crate) fn decode_log_id(encoded: &[u8]) -> Result<LogId, Malformed> {
    match encoded {
        [FORMAT, rest @ ..] if rest.len() == 16 => Ok(log_id(number(&rest[..8]), number(&rest[8..]))),
        _ => Err(malformed("log id")),
    }
}

/// What a group's state includes: the last entry, and the membership at it.
pub(crate) fn encode_applied(last: Option<LogId>, membership: &StoredMembership) -> Bytes {
    let membership = stored_membership_to_proto(membership);
    let mut bytes = BytesMut::with_capacity(18 + membership.encoded_len());
    match last {
        None => bytes.put_u8(0),
        Some(last) => bytes.put_slice(&encode_log_id(last)),
    }
    bytes.put_slice(&membership.encode_to_vec());
    bytes.freeze()
}

pub(crate) fn decode_applied(encoded: &[u8]) -> Result<(Option<LogId>, StoredMembership), Malformed> {
    let (last, rest) = match encoded {
        [0, rest @ ..] => (None, rest),
        [FORMAT, ..] if encoded.len() >= 17 => (Some(decode_log_id(&encoded[..17])?), &encoded[17..]),
        _ => return Err(malformed("applied state")),
    };
    let membership = peer::RaftMembership::decode(rest).map_err(|_| malformed("applied state"))?;
    Ok((last, stored_membership_from_proto(&membership)?))
}

pub(crate) fn decode_replica(encoded: &[u8]) -> Result<ReplicaId, Malformed> {
    encoded.try_into().map(ReplicaId::from_be_bytes).map_err(|_| malformed("replica id"))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub(crate) fn vote_to_proto(vote: &Vote) -> peer::RaftVote {
    peer::RaftVote { term: vote.leader_id.term, replica: vote.leader_id.voted_for, committed: vote.committed }
}

pub(crate) fn vote_from_proto(vote: Option<&peer::RaftVote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(malformed("vote"))?;
    Ok(if vote.committed { Vote::new_committed(vote.term, vote.replica) } else { Vote::new(vote.term, vote.replica) })
}

pub(crate) fn log_id_to_proto(id: &LogId) -> peer::RaftLogId {
    peer::RaftLogId { term: id.leader_id.term, index: id.index }
}

pub(crate) fn log_id_from_proto(id: &peer::RaftLogId) -> LogId {
    log_id(id.term, id.index)
}

pub(crate) fn stored_membership_to_proto(stored: &StoredMembership) -> peer::RaftMembership {
    membership_to_proto(stored.log_id().as_ref(), stored.membership())
}

pub(crate) fn stored_membership_from_proto(stored: &peer::RaftMembership) -> Result<StoredMembership, Malformed> {
    if stored.configs.is_empty() && stored.log_id.is_none() {
        return Ok(StoredMembership::default());
    }
    Ok(StoredMembership::new(stored.log_id.as_ref().map(log_id_from_proto), membership_from_proto(stored)?))
}

fn membership_to_proto(id: Option<&LogId>, membership: &Membership) -> peer::RaftMembership {
    peer::RaftMembership {
        log_id: id.map(log_id_to_proto),
        configs: membership
            .get_joint_config()
            .iter()
            .map(|voters| peer::RaftVoters { replicas: voters.iter().copied().collect() })
            .collect(),
        replicas: membership.nodes().map(|(replica, home)| peer::RaftReplica { replica: *replica, node: home.node }).collect(),
    }
}

fn membership_from_proto(membership: &peer::RaftMembership) -> Result<Membership, Malformed> {
    let configs = membership.configs.iter().map(|voters| voters.replicas.iter().copied().collect()).collect();
    let homes: std::collections::BTreeMap<_, _> =
        membership.replicas.iter().map(|replica| (replica.replica, Home { node: replica.node })).collect();
    Membership::new(configs, homes).map_err(|_| malformed("membership"))
}

#[cfg(test)]
mod tests;
