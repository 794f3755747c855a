//! What openraft calls to reach another replica.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
        VoteRequest, VoteResponse,
    },
};
use quorus_proto::peer::{raft_call::Call, raft_reply::Reply};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    append::AppendSession,
    convert,
    link::{CallError, Link, Links, Target},
    snapshot,
};
use crate::{
    GroupId, NodeId, Options, ReplicaId,
    peers::Lane,
    runtime,
    store::SnapshotData,
    types::{AppendRequest, Home, Snapshot, Types, Vote},
};

/// Makes clients for one group.
#[derive(Clone)]
pub(crate) struct ClientFactory {
    pub(crate) group: GroupId,
    pub(crate) links: Arc<Links>,
    pub(crate) options: Arc<Options>,
    /// Permits to send a snapshot.
    pub(crate) sending: Arc<Semaphore>,
}

/// Reaches one replica, for one kind of traffic.
pub(crate) struct Client {
    factory: ClientFactory,
    node: NodeId,
    target: Target,
    lane: Lane,
}

impl ClientFactory {
    fn client(&self, replica: ReplicaId, home: &Home, lane: Lane) -> Client {
        Client { factory: self.clone(), node: home.node, target: Target { group: self.group, replica }, lane }
    }
}

impl RaftNetworkFactory<Types> for ClientFactory {
    type Network = Client;

    async fn new_client(&mut self, target: ReplicaId, home: &Home) -> Client {
        self.client(target, home, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: ReplicaId, home: &Home) -> Client {
        self.client(target, home, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: ReplicaId, home: &Home) -> Client {
        self.client(target, home, Lane::Snapshot)
    }
}

/// Everything that is not an answer is a reason to back off.
pub(super) fn rpc_error(error: &CallError) -> RPCError<Types> {
    match error {
        CallError::Unreachable(_) | CallError::Refused(_) => RPCError::Unreachable(Unreachable::new(error)),
        CallError::TimedOut => RPCError::Network(NetworkError::new(error)),
    }
}

fn odd_answer() -> RPCError<Types> {
    rpc_error(&CallError::Refused("an answer to something else".to_owned()))
}

impl Client {
    fn link(&self, lane: Lane) -> Arc<Link> {
        self.factory.links.get(self.node, lane)
    }

    /// A single call. Votes and heartbeats share a lane, whatever this client was made for.
    async fn call(&self, call: Call, option: &RPCOption) -> Result<Reply, RPCError<Types>> {
        let deadline = Instant::now() + option.hard_ttl();
        self.link(Lane::Control).call(self.target, call, deadline).await.map_err(|error| rpc_error(&error))
    }

    async fn append(&self, request: &AppendRequest, option: &RPCOption) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
        match self.call(Call::Append(convert::append_to_proto(request, 0)), option).await? {
            Reply::Appended(appended) => convert::appended_from_proto(&appended).ok_or_else(odd_answer),
            _ => Err(odd_answer()),
        }
    }

    async fn ask_vote(&self, call: Call, option: &RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(call, option).await? {
            Reply::Voted(voted) => convert::voted_from_proto(&voted).map_err(|_| odd_answer()),
            _ => Err(odd_answer()),
        }
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(&mut self, request: AppendRequest, option: RPCOption) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Ok(self.append(&request, &option).await?.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
    {
        let answers: BoxStream<'s, _> = match self.lane {
            Lane::Append => {
                // A follower answers after its fsync, and may have one that takes long; the lease bounds what is useful.
                let patience = self.factory.options.election_max.max(option.hard_ttl());
                // Not 0, which means no session; no two of one lane alike.
                let session = runtime::random() | 1;
                Box::pin(AppendSession::new(requests, self.link(Lane::Append), self.target, session, patience))
            }
            Lane::Control | Lane::Snapshot | Lane::Requests => {
                let client = &*self;
                Box::pin(requests.then(move |request| {
                    let option = option.clone();
                    async move { client.append(&request, &option).await }
                }))
            }
        };
        Box::pin(std::future::ready(Ok(answers)))
    }

    async fn vote(&mut self, request: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(Call::Vote(convert::ask_vote_to_proto(&request)), &option).await
    }

    async fn pre_vote(&mut self, request: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(Call::PreVote(convert::ask_vote_to_proto(&request)), &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            result = snapshot::send(&self.factory, self.node, self.target, vote, snapshot) => {
                let vote = result.map_err(|error| StreamingError::from(rpc_error(&error)))?;
                Ok(SnapshotResponse::new(vote))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self.call(Call::Transfer(convert::transfer_to_proto(&request)), &option).await? {
            Reply::Transferred(transferred) if transferred.refused.is_empty() => Ok(Ok(())),
            // The reason is in the other node's log; what matters here is that it stays as it is.
            Reply::Transferred(_) => Ok(Err(TransferLeaderError::LogNotFlushed { expected: request.last_log_id().copied(), actual: None })),
            _ => Err(odd_answer()),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let steps = [20_u64, 40, 80, 160].into_iter().chain(std::iter::repeat(250));
        Some(Backoff::new(steps.map(Duration::from_millis)))
    }
}
