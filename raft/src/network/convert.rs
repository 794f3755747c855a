//! Between openraft's messages and the wire.

use bytes::Bytes;
use openraft::raft::{StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse};
use quorus_proto::peer::{RaftAppend, RaftAppended, RaftAskVote, RaftMatched, RaftTransfer, RaftVoted, raft_appended::Result as Appended};

use crate::{
    codec::{self, Malformed},
    types::{AppendRequest, LogId, Types},
};

pub(super) fn append_to_proto(request: &AppendRequest, session: u64) -> RaftAppend {
    RaftAppend {
        vote: Some(codec::vote_to_proto(&request.vote)),
        previous: request.prev_log_id.as_ref().map(codec::log_id_to_proto),
        committed: request.leader_commit.as_ref().map(codec::log_id_to_proto),
        entries: request.entries.iter().map(codec::encode_entry).collect(),
        session,
    }
}

pub(super) fn append_from_proto(append: RaftAppend) -> Result<AppendRequest, Malformed> {
    let previous = append.previous.as_ref().map(codec::log_id_from_proto);
    let first = previous.map_or(0, |previous| previous.index + 1);
    let decode = |(encoded, index): (Bytes, u64)| codec::decode_entry(index, encoded);
    Ok(AppendRequest {
        vote: codec::vote_from_proto(append.vote.as_ref())?,
        prev_log_id: previous,
        entries: append.entries.into_iter().zip(first..).map(decode).collect::<Result<_, _>>()?,
        leader_commit: append.committed.as_ref().map(codec::log_id_from_proto),
    })
}

pub(super) fn appended_to_proto(result: &StreamAppendResult<Types>) -> RaftAppended {
    let result = match result {
        Ok(matched) => Appended::Matched(RaftMatched { log_id: matched.as_ref().map(codec::log_id_to_proto) }),
        Err(StreamAppendError::Conflict(id)) => Appended::Conflict(codec::log_id_to_proto(id)),
        Err(StreamAppendError::HigherVote(vote)) => Appended::HigherVote(codec::vote_to_proto(vote)),
    };
    RaftAppended { result: Some(result) }
}

pub(super) fn appended_from_proto(appended: &RaftAppended) -> Option<StreamAppendResult<Types>> {
    match appended.result.as_ref()? {
        Appended::Matched(matched) => Some(Ok(matched.log_id.as_ref().map(codec::log_id_from_proto))),
        Appended::Conflict(id) => Some(Err(StreamAppendError::Conflict(codec::log_id_from_proto(id)))),
        Appended::HigherVote(vote) => Some(Err(StreamAppendError::HigherVote(codec::vote_from_proto(Some(vote)).ok()?))),
    }
}

pub(super) fn ask_vote_to_proto(request: &VoteRequest<Types>) -> RaftAskVote {
    RaftAskVote {
        vote: Some(codec::vote_to_proto(&request.vote)),
        last: request.last_log_id.as_ref().map(codec::log_id_to_proto),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn ask_vote_from_proto(ask: &RaftAskVote) -> Result<VoteRequest<Types>, Malformed> {
    let mut request = VoteRequest::new(codec::vote_from_proto(ask.vote.as_ref())?, last(ask.last.as_ref()));
    request.leadership_transfer = ask.leadership_transfer;
    Ok(request)
}

pub(super) fn voted_to_proto(response: &VoteResponse<Types>) -> RaftVoted {
    RaftVoted {
        vote: Some(codec::vote_to_proto(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(codec::log_id_to_proto),
    }
}

pub(super) fn voted_from_proto(voted: &RaftVoted) -> Result<VoteResponse<Types>, Malformed> {
    Ok(VoteResponse::new(codec::vote_from_proto(voted.vote.as_ref())?, last(voted.last.as_ref()), voted.granted))
}

pub(super) fn transfer_to_proto(request: &TransferLeaderRequest<Types>) -> RaftTransfer {
    RaftTransfer {
        from: Some(codec::vote_to_proto(request.from_leader())),
        to_replica: *request.to_node_id(),
        last: request.last_log_id().map(codec::log_id_to_proto),
    }
}

pub(super) fn transfer_from_proto(transfer: &RaftTransfer) -> Result<TransferLeaderRequest<Types>, Malformed> {
    Ok(TransferLeaderRequest::new(codec::vote_from_proto(transfer.from.as_ref())?, transfer.to_replica, last(transfer.last.as_ref())))
}

fn last(id: Option<&quorus_proto::peer::RaftLogId>) -> Option<LogId> {
    id.map(codec::log_id_from_proto)
}
