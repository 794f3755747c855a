//! The answering end: hands calls to the replicas that live here.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use quorus_proto::peer::{
    ExchangeRequest, ExchangeResponse, InstallSnapshotRequest, InstallSnapshotResponse, RaftAppend, RaftCall, RaftHello, RaftRefused,
    RaftReply, RaftTransferred, ReadIndexRequest, ReadIndexResponse, install_snapshot_request::Part, raft_call::Call, raft_reply::Reply,
    raft_service_server::RaftService,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{convert, link::poll_frame, snapshot};
use crate::{
    GroupId,
    group::GroupInner,
    host::HostInner,
    types::{AppendRequest, Raft},
};

/// Answers the Raft messages of other nodes.
#[derive(Clone)]
pub struct Endpoint {
    host: Arc<HostInner>,
}

impl Endpoint {
    pub(crate) fn new(host: Arc<HostInner>) -> Self {
        Self { host }
    }

    fn check(&self, hello: Option<&RaftHello>) -> Result<(), Status> {
        let Some(hello) = hello else { return Err(Status::invalid_argument("a lane begins with hello")) };
        let options = self.host.shared().options();
        if hello.cluster_id != options.cluster_id {
            return Err(Status::failed_precondition("another cluster"));
        }
        if hello.to_node != options.node_id {
            return Err(Status::failed_precondition(format!("this is node {}, not {}", options.node_id, hello.to_node)));
        }
        Ok(())
    }

    fn group(&self, group: GroupId) -> Result<Arc<GroupInner>, Status> {
        self.host.find(group).ok_or_else(|| Status::not_found(format!("group {group} is not here")))
    }
}

#[tonic::async_trait]
impl RaftService for Endpoint {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

    async fn exchange(&self, request: Request<Streaming<ExchangeRequest>>) -> Result<Response<Self::ExchangeStream>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.ok_or_else(|| Status::invalid_argument("an empty lane"))?;
        self.check(first.hello.as_ref())?;
        let (replies, queue) = mpsc::unbounded_channel();
        let mut lane = AnsweringLane { host: Arc::clone(&self.host), replies, sessions: BTreeMap::new() };
        let stop = self.host.shared().stopping();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    frame = frames.message() => match frame {
                        Ok(Some(frame)) => frame.calls.into_iter().for_each(|call| lane.take(call)),
                        // The caller opens another lane when it needs one.
                        Ok(None) | Err(_) => break,
                    },
                }
            }
        });
        let end = self.host.shared().stopping().cancelled_owned();
        Ok(Response::new(Box::pin(Replies { queue }.take_until(end))))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<InstallSnapshotRequest>>,
    ) -> Result<Response<InstallSnapshotResponse>, Status> {
        let mut parts = request.into_inner();
        let Some(InstallSnapshotRequest { part: Some(Part::Header(header)) }) = parts.message().await? else {
            return Err(Status::invalid_argument("a snapshot begins with a header"));
        };
        self.check(header.hello.as_ref())?;
        let group = self.group(header.group)?;
        if group.replica() != header.replica {
            return Err(Status::failed_precondition(format!("this is replica {}, not {}", group.replica(), header.replica)));
        }
        snapshot::receive(&group, header, parts).await.map(Response::new)
    }

    async fn read_index(&self, request: Request<ReadIndexRequest>) -> Result<Response<ReadIndexResponse>, Status> {
        let request = request.into_inner();
        if request.cluster_id != self.host.shared().options().cluster_id {
            return Err(Status::failed_precondition("another cluster"));
        }
        let group = self.group(request.group)?;
        let (index, term) = group.read_index().await.ok_or_else(|| Status::unavailable("not a leader that a quorum confirms"))?;
        Ok(Response::new(ReadIndexResponse { index, term }))
    }
}

/// The replies that wait, as frames.
struct Replies {
    queue: mpsc::UnboundedReceiver<RaftReply>,
}

impl Stream for Replies {
    type Item = Result<ExchangeResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        poll_frame(&mut self.queue, context).map(|replies| replies.map(|replies| Ok(ExchangeResponse { replies })))
    }
}

/// One lane, from the side that answers.
struct AnsweringLane {
    host: Arc<HostInner>,
    replies: mpsc::UnboundedSender<RaftReply>,
    /// The latest session of each group. A caller begins a new one after any failure, and does not wait for answers of the old one.
    sessions: BTreeMap<GroupId, Session>,
}

struct Session {
    id: u64,
    requests: mpsc::UnboundedSender<(u64, AppendRequest)>,
}

impl AnsweringLane {
    fn take(&mut self, call: RaftCall) {
        let id = call.id;
        let Some(group) = self.host.find(call.group) else { return refuse(&self.replies, id, "no such group here") };
        if group.replica() != call.replica {
            return refuse(&self.replies, id, "another replica lives here");
        }
        match call.call {
            Some(Call::Append(append)) if append.session != 0 => self.append_in_session(id, &group, append),
            Some(call) => {
                let replies = self.replies.clone();
                tokio::spawn(async move {
                    match answer(&group, call).await {
                        // The lane may be gone.
                        Ok(reply) => drop(replies.send(RaftReply { id, reply: Some(reply) })),
                        Err(reason) => refuse(&replies, id, &reason),
                    }
                });
            }
            None => refuse(&self.replies, id, "an unknown call"),
        }
    }

    fn append_in_session(&mut self, id: u64, group: &Arc<GroupInner>, append: RaftAppend) {
        let session = append.session;
        let request = match convert::append_from_proto(append) {
            Ok(request) => request,
            Err(error) => return refuse(&self.replies, id, &error.to_string()),
        };
        let current = self.sessions.get(&group.id()).is_some_and(|current| current.id == session);
        if !current {
            let Some(raft) = group.raft() else { return refuse(&self.replies, id, "the group is not running") };
            let (requests, receiver) = mpsc::unbounded_channel();
            tokio::spawn(run_session(raft, receiver, self.replies.clone()));
            self.sessions.insert(group.id(), Session { id: session, requests });
        }
        if let Some(session) = self.sessions.get(&group.id())
            && session.requests.send((id, request)).is_err()
        {
            // The session ended with a refusal that the caller has seen or will see.
            refuse(&self.replies, id, "the session ended");
        }
    }
}

/// Hands the appends of a session to the replica, many at a time, and answers them in order until the first refusal.
async fn run_session(raft: Raft, requests: mpsc::UnboundedReceiver<(u64, AppendRequest)>, replies: mpsc::UnboundedSender<RaftReply>) {
    let ids = Arc::new(Mutex::new(VecDeque::new()));
    let queued = Arc::clone(&ids);
    let requests = UnboundedReceiverStream::new(requests).map(move |(id, request)| {
        queued.lock().push_back(id);
        request
    });
    let mut results = std::pin::pin!(raft.stream_append(requests));
    while let Some(result) = results.next().await {
        let Some(id) = ids.lock().pop_front() else { return };
        match result {
            Ok(result) => drop(replies.send(RaftReply { id, reply: Some(Reply::Appended(convert::appended_to_proto(&result))) })),
            Err(fatal) => refuse(&replies, id, &fatal.to_string()),
        }
    }
    for id in ids.lock().drain(..) {
        refuse(&replies, id, "the session ended");
    }
}

async fn answer(group: &GroupInner, call: Call) -> Result<Reply, String> {
    let raft = group.raft().ok_or("the group is not running")?;
    let malformed = |error: crate::codec::Malformed| error.to_string();
    match call {
        Call::Append(append) => {
            let request = convert::append_from_proto(append).map_err(malformed)?;
            let (previous, last) = (request.prev_log_id, request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id));
            let response = raft.append_entries(request).await.map_err(|error| error.to_string())?;
            Ok(Reply::Appended(convert::appended_to_proto(&response.into_stream_result(previous, last))))
        }
        Call::Vote(ask) => {
            group.may_vote()?;
            let response = raft.vote(convert::ask_vote_from_proto(&ask).map_err(malformed)?).await.map_err(|error| error.to_string())?;
            Ok(Reply::Voted(convert::voted_to_proto(&response)))
        }
        Call::PreVote(ask) => {
            group.may_vote()?;
            let response =
                raft.pre_vote(convert::ask_vote_from_proto(&ask).map_err(malformed)?).await.map_err(|error| error.to_string())?;
            Ok(Reply::Voted(convert::voted_to_proto(&response)))
        }
        Call::Transfer(transfer) => {
            let request = convert::transfer_from_proto(&transfer).map_err(malformed)?;
            let response = raft.handle_transfer_leader(request).await.map_err(|error| error.to_string())?;
            let refused = response.err().map(|error| error.to_string()).unwrap_or_default();
            Ok(Reply::Transferred(RaftTransferred { refused }))
        }
    }
}

fn refuse(replies: &mpsc::UnboundedSender<RaftReply>, id: u64, reason: &str) {
    // The lane may be gone.
    drop(replies.send(RaftReply { id, reply: Some(Reply::Refused(RaftRefused { reason: reason.to_owned() })) }));
}
