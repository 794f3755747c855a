//! Sending and receiving snapshots: a stream of its own each, a few at a time.
//!
//! The end of a stream proves nothing. When a caller is gone or gives up, its stream is reset; the HTTP library tells the other side that it *ended*
//! (hyper, `body/incoming.rs`: a reset with CANCEL stops the reading and is no error). So the last message is a seal that says how much there
//! was, and only what is sealed is installed.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::Stream;
use quorus_proto::peer::{
    InstallSnapshotRequest, InstallSnapshotResponse, RaftSnapshotEnd, RaftSnapshotHeader, install_snapshot_request::Part,
    raft_service_client::RaftServiceClient,
};
use tonic::{Status, Streaming};

use super::{
    MESSAGE_BYTES_MAX,
    client::ClientFactory,
    link::{CallError, Target},
};
use crate::{
    NodeId, codec,
    group::GroupInner,
    peers::Lane,
    store::SnapshotData,
    types::{Snapshot, SnapshotMeta, Vote},
};

/// Sends a snapshot, and returns the vote of the replica that installed it.
pub(super) async fn send(factory: &ClientFactory, node: NodeId, target: Target, vote: Vote, snapshot: Snapshot) -> Result<Vote, CallError> {
    let unreachable = |reason: &dyn std::fmt::Display| CallError::Unreachable(reason.to_string());
    let _permit = factory.sending.acquire().await.map_err(|error| unreachable(&error))?;
    let header = RaftSnapshotHeader {
        hello: Some(factory.links.hello(node)),
        group: target.group,
        replica: target.replica,
        vote: Some(codec::vote_to_proto(&vote)),
        last: snapshot.meta.last_log_id.as_ref().map(codec::log_id_to_proto),
        membership: Some(codec::stored_membership_to_proto(&snapshot.meta.last_membership)),
    };
    tracing::info!(group = target.group, replica = target.replica, node, meta = %snapshot.meta, "sending a snapshot");
    let channel = factory.links.peers().lane(node, Lane::Snapshot).map_err(|error| unreachable(&error))?;
    let mut client = RaftServiceClient::new(channel).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let parts = Parts { next: Next::Header(header), data: snapshot.snapshot, sent: RaftSnapshotEnd::default() };
    let response = tokio::time::timeout(factory.options.snapshot_timeout, client.install_snapshot(parts))
        .await
        .map_err(|_| CallError::TimedOut)?
        .map_err(|status| unreachable(&status))?
        .into_inner();
    codec::vote_from_proto(response.vote.as_ref()).map_err(|error| CallError::Refused(error.to_string()))
}

/// The header, the chunks, made while they are sent, and the seal.
struct Parts {
    next: Next,
    data: SnapshotData,
    sent: RaftSnapshotEnd,
}

enum Next {
    Header(RaftSnapshotHeader),
    Chunk,
    Nothing,
}

impl Parts {
    fn chunk(&mut self) -> Option<Part> {
        let SnapshotData::View(view) = &mut self.data else {
            tracing::error!("a snapshot that arrived was to be sent");
            return None;
        };
        match view.next_chunk() {
            Ok(Some(chunk)) => {
                count(&mut self.sent, &chunk);
                self.next = Next::Chunk;
                Some(Part::Chunk(chunk))
            }
            Ok(None) => Some(Part::End(self.sent)),
            Err(error) => {
                tracing::error!(%error, "cannot read the state for a snapshot");
                None
            }
        }
    }
}

impl Stream for Parts {
    type Item = InstallSnapshotRequest;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<InstallSnapshotRequest>> {
        let part = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Header(header) => {
                self.next = Next::Chunk;
                Some(Part::Header(header))
            }
            Next::Chunk => self.chunk(),
            Next::Nothing => None,
        };
        Poll::Ready(part.map(|part| InstallSnapshotRequest { part: Some(part) }))
    }
}

fn count(total: &mut RaftSnapshotEnd, chunk: &Bytes) {
    total.chunks += 1;
    total.bytes += chunk.len() as u64;
}

/// Takes the chunks after the header, and installs them if they are sealed.
pub(super) async fn receive(
    group: &Arc<GroupInner>,
    header: RaftSnapshotHeader,
    mut parts: Streaming<InstallSnapshotRequest>,
) -> Result<InstallSnapshotResponse, Status> {
    let malformed = |error: codec::Malformed| Status::invalid_argument(error.to_string());
    let vote = codec::vote_from_proto(header.vote.as_ref()).map_err(malformed)?;
    let last_membership = match &header.membership {
        Some(membership) => codec::stored_membership_from_proto(membership).map_err(malformed)?,
        None => return Err(Status::invalid_argument("no membership")),
    };
    let meta = SnapshotMeta { last_log_id: header.last.as_ref().map(codec::log_id_from_proto), last_membership };

    let busy = || Status::resource_exhausted("too many snapshots arrive");
    let _permit = Arc::clone(&group.host().receiving).try_acquire_owned().map_err(|_| busy())?;
    let guard = Arc::clone(group.staging()).try_lock_owned().map_err(|_| busy())?;
    let failed = |error: crate::store::StoreError| Status::internal(error.to_string());
    group.state().clear_staging().map_err(failed)?;
    let mut arrived = RaftSnapshotEnd::default();
    loop {
        match parts.message().await?.map(|message| message.part) {
            Some(Some(Part::Chunk(chunk))) => {
                count(&mut arrived, &chunk);
                group.state().stage(chunk).map_err(failed)?;
            }
            Some(Some(Part::End(sent))) if sent == arrived => break,
            Some(Some(Part::End(sent))) => return Err(Status::data_loss(format!("{sent:?} was sent, {arrived:?} arrived"))),
            Some(_) => return Err(Status::invalid_argument("not a chunk")),
            None => return Err(Status::aborted("the snapshot was cut off")),
        }
    }
    let raft = group.raft().ok_or_else(|| Status::unavailable("the group is not running"))?;
    tracing::info!(group = group.id(), %meta, "installing a snapshot");
    let snapshot = openraft::Snapshot { meta, snapshot: SnapshotData::Staged(guard) };
    let response = raft.install_full_snapshot(vote, snapshot).await.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(InstallSnapshotResponse { vote: Some(codec::vote_to_proto(&response.vote)) })
}
