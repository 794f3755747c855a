//! The calling end of a lane.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use parking_lot::Mutex;
use prost::Message;
use quorus_proto::peer::{
    ExchangeRequest, RaftCall, RaftHello, raft_call::Call, raft_reply::Reply, raft_service_client::RaftServiceClient,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::Instant,
};

use super::{FRAME_BYTES, MESSAGE_BYTES_MAX};
use crate::{GroupId, NodeId, Peers, ReplicaId, peers::Lane};

/// After a lane broke, calls fail at once for so long; doubled each time, up to the maximum.
const BACKOFF_MIN: Duration = Duration::from_millis(25);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// A lane that takes longer to open is given up.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// There is no connection.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The other side does not handle it.
    #[error("refused: {0}")]
    Refused(String),
    /// No answer came in time.
    #[error("no answer in time")]
    TimedOut,
}

/// What comes back, with the id of the call.
pub(super) type Answer = (u64, Result<Reply, CallError>);

enum Waiter {
    One(oneshot::Sender<Result<Reply, CallError>>),
    Session(mpsc::UnboundedSender<Answer>),
}

impl Waiter {
    fn answer(self, id: u64, result: Result<Reply, CallError>) {
        // Whoever waited may be gone.
        match self {
            Waiter::One(sender) => drop(sender.send(result)),
            Waiter::Session(sender) => drop(sender.send((id, result))),
        }
    }
}

/// Who a call is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) group: GroupId,
    pub(crate) replica: ReplicaId,
}

/// Every lane of a process, made when first needed.
pub(crate) struct Links {
    node: NodeId,
    cluster_id: String,
    patience: Duration,
    peers: Arc<Peers>,
    links: Mutex<BTreeMap<(NodeId, Lane), Arc<Link>>>,
}

impl Links {
    /// A lane on which nothing was heard for `patience` is given up when a call on it gets no answer.
    pub(crate) fn new(node: NodeId, cluster_id: String, patience: Duration, peers: Arc<Peers>) -> Self {
        Self { node, cluster_id, patience, peers, links: Mutex::default() }
    }

    pub(crate) fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    pub(crate) fn hello(&self, to: NodeId) -> RaftHello {
        RaftHello { cluster_id: self.cluster_id.clone(), from_node: self.node, to_node: to }
    }

    pub(crate) fn get(&self, to: NodeId, lane: Lane) -> Arc<Link> {
        let make = || {
            let (hello, peers) = (self.hello(to), Arc::clone(&self.peers));
            Arc::new(Link { to, lane, hello, patience: self.patience, peers, state: Mutex::default() })
        };
        Arc::clone(self.links.lock().entry((to, lane)).or_insert_with(make))
    }

    /// Closes every lane.
    pub(crate) fn close(&self) {
        for link in std::mem::take(&mut *self.links.lock()).into_values() {
            link.break_off(None, "this node stops");
        }
    }
}

/// The calling end of a lane: a stream of calls and a task that takes the answers.
pub(crate) struct Link {
    to: NodeId,
    lane: Lane,
    hello: RaftHello,
    patience: Duration,
    peers: Arc<Peers>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    last_id: u64,
    /// Counts streams, so that the end of an old one does not end its successor.
    stream: u64,
    failures: u32,
    closed_until: Option<Instant>,
}

struct Open {
    calls: mpsc::UnboundedSender<RaftCall>,
    waiting: BTreeMap<u64, Waiter>,
    /// When something came last.
    heard: Instant,
    task: AbortHandle,
}

impl Link {
    /// Sends a call and waits for the answer.
    pub(super) async fn call(self: &Arc<Self>, target: Target, call: Call, deadline: Instant) -> Result<Reply, CallError> {
        let sent = Instant::now();
        let (sender, receiver) = oneshot::channel();
        self.send(target, call, Waiter::One(sender));
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::Unreachable("the lane broke".to_owned())),
            Err(_) => {
                self.suspect(sent);
                Err(CallError::TimedOut)
            }
        }
    }

    /// Sends a call whose answer goes to a session, and returns its id.
    pub(super) fn send_in_session(self: &Arc<Self>, target: Target, call: Call, answers: &mpsc::UnboundedSender<Answer>) -> u64 {
        self.send(target, call, Waiter::Session(answers.clone()))
    }

    fn send(self: &Arc<Self>, target: Target, call: Call, waiter: Waiter) -> u64 {
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = state.last_id;
        if state.open.is_none() {
            if state.closed_until.is_some_and(|until| Instant::now() < until) {
                drop(state);
                waiter.answer(id, Err(CallError::Unreachable("the lane is closed".to_owned())));
                return id;
            }
            self.open(&mut state);
        }
        if let Some(open) = &mut state.open {
            open.waiting.insert(id, waiter);
            // If the stream has just ended, its task answers everyone who waits.
            let _ended = open.calls.send(RaftCall { id, group: target.group, replica: target.replica, call: Some(call) });
        }
        id
    }

    fn open(self: &Arc<Self>, state: &mut State) {
        let (calls, receiver) = mpsc::unbounded_channel();
        state.stream += 1;
        let stream = state.stream;
        let link = Arc::clone(self);
        let task = tokio::spawn(async move {
            let reason = link.exchange(receiver, stream).await;
            link.break_off(Some(stream), &reason);
        });
        state.open = Some(Open { calls, waiting: BTreeMap::new(), heard: Instant::now(), task: task.abort_handle() });
    }

    /// Runs one stream, and returns why it ended.
    async fn exchange(&self, calls: mpsc::UnboundedReceiver<RaftCall>, stream: u64) -> String {
        let channel = match self.peers.lane(self.to, self.lane) {
            Ok(channel) => channel,
            Err(error) => return error.to_string(),
        };
        let mut client =
            RaftServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
        let frames = Frames { hello: Some(self.hello.clone()), calls };
        let mut answers = match tokio::time::timeout(OPEN_TIMEOUT, client.exchange(frames)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return status.to_string(),
            Err(_) => return "the lane did not open in time".to_owned(),
        };
        loop {
            let frame = match answers.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return "the other side closed the lane".to_owned(),
                Err(status) => return status.to_string(),
            };
            let mut state = self.state.lock();
            if state.stream != stream {
                return "the lane was replaced".to_owned();
            }
            state.failures = 0;
            let Some(open) = &mut state.open else { return "the lane was closed".to_owned() };
            open.heard = Instant::now();
            for reply in frame.replies {
                if let (Some(waiter), Some(result)) = (open.waiting.remove(&reply.id), reply.reply) {
                    let result = match result {
                        Reply::Refused(refused) => Err(CallError::Refused(refused.reason)),
                        answer => Ok(answer),
                    };
                    waiter.answer(reply.id, result);
                }
            }
        }
    }

    /// A call that was sent then has no answer: if nothing else came either, and for long, the connection is dead. Else the other side is just slow.
    pub(super) fn suspect(&self, sent: Instant) {
        let stream = {
            let state = self.state.lock();
            match &state.open {
                Some(open) if open.heard <= sent && open.heard.elapsed() >= self.patience => state.stream,
                _ => return,
            }
        };
        self.peers.forget(self.to, self.lane);
        self.break_off(Some(stream), "nothing came back in time");
    }

    /// Ends a stream, if it is still the current one, and tells everyone who waits.
    fn break_off(&self, stream: Option<u64>, reason: &str) {
        let open = {
            let mut state = self.state.lock();
            if stream.is_some_and(|stream| stream != state.stream) {
                return;
            }
            let Some(open) = state.open.take() else { return };
            let backoff = BACKOFF_MAX.min(BACKOFF_MIN * 2_u32.saturating_pow(state.failures.min(8)));
            state.failures += 1;
            state.closed_until = Some(Instant::now() + backoff);
            open
        };
        tracing::debug!(node = self.to, lane = ?self.lane, reason, "lane closed");
        open.task.abort();
        for (id, waiter) in open.waiting {
            waiter.answer(id, Err(CallError::Unreachable(reason.to_owned())));
        }
    }
}

/// The calls that wait, as frames.
struct Frames {
    hello: Option<RaftHello>,
    calls: mpsc::UnboundedReceiver<RaftCall>,
}

impl Stream for Frames {
    type Item = ExchangeRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ExchangeRequest>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(ExchangeRequest { hello: Some(hello), calls: Vec::new() }));
        }
        poll_frame(&mut self.calls, context).map(|calls| calls.map(|calls| ExchangeRequest { hello: None, calls }))
    }
}

/// Takes what waits in a queue, until a frame is full.
pub(super) fn poll_frame<T: Message>(queue: &mut mpsc::UnboundedReceiver<T>, context: &mut Context<'_>) -> Poll<Option<Vec<T>>> {
    let mut frame = Vec::new();
    let mut bytes = 0;
    while bytes < FRAME_BYTES {
        match queue.poll_recv(context) {
            Poll::Ready(Some(item)) => {
                bytes += item.encoded_len();
                frame.push(item);
            }
            Poll::Ready(None) if frame.is_empty() => return Poll::Ready(None),
            Poll::Pending if frame.is_empty() => return Poll::Pending,
            Poll::Ready(None) | Poll::Pending => break,
        }
    }
    Poll::Ready(Some(frame))
}
