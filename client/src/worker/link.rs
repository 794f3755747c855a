//! One stream to one node at a time, and the way to the next node.
//!
//! A link is waiting, opening or open; [`Link::next`] drives it and says what happened. It never gives up: a worker without a cluster tries
//! again at most once a second per round over all nodes, so that leases survive a change of node and an idle worker costs nothing.

use std::{future::Future, pin::Pin, time::Duration};

use quorus_proto::v1::{
    RegisterWorker, WorkRequest, WorkResponse, WorkerRegistered, work_request, work_response::Message,
    worker_service_client::WorkerServiceClient,
};
use std::sync::Arc;
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

use crate::{
    ApiError, MESSAGE_BYTES_MAX,
    backoff::{Backoff, Rotation},
    endpoint::Node,
};

const BACKOFF_INITIAL: Duration = Duration::from_millis(50);
/// Leases live 30 s by default, so even several rounds fit into one.
const BACKOFF_CAP: Duration = Duration::from_secs(1);
/// How long a node may take to accept a stream and answer `register`.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// A stream that breaks sooner than this counts as one that never opened, so that a node which hangs up at once is not asked in a tight loop.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// What happened on the link.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// It is time for the next node: call [`Link::open`].
    Due,
    /// A node accepted the worker.
    Opened(WorkerRegistered),
    /// A node sent something.
    Message(Box<Message>),
    /// The stream broke or could not be opened.
    Closed(Box<ApiError>),
}

struct Opened {
    requests: UnboundedSender<WorkRequest>,
    responses: Streaming<WorkResponse>,
    registered: WorkerRegistered,
    at: Instant,
}

enum State {
    Waiting(Instant),
    Opening(Pin<Box<dyn Future<Output = Result<Opened, Status>> + Send>>),
    Open(Box<Opened>),
}

/// See the module.
pub(super) struct Link {
    nodes: Arc<Vec<Node>>,
    rotation: Rotation,
    state: State,
}

impl Link {
    /// Begins with the node at `first`.
    pub(super) fn new(nodes: Arc<Vec<Node>>, first: usize) -> Self {
        let rotation = Rotation::new(nodes.len(), first, Backoff::new(BACKOFF_INITIAL, BACKOFF_CAP));
        Self { nodes, rotation, state: State::Waiting(Instant::now()) }
    }

    /// The node that the link is about.
    pub(super) fn address(&self) -> &str {
        &self.nodes[self.rotation.index()].address
    }

    /// Begins to open a stream to the current node.
    pub(super) fn open(&mut self, register: RegisterWorker) {
        let (nodes, index) = (self.nodes.clone(), self.rotation.index());
        self.state = State::Opening(Box::pin(async move {
            match timeout(OPEN_TIMEOUT, open(&nodes[index], register)).await {
                Ok(result) => result,
                Err(_) => Err(Status::unavailable("the node does not answer `register`")),
            }
        }));
    }

    /// Sends, or drops the message if there is no stream: what matters is sent again on the next one.
    pub(super) fn send(&self, request: WorkRequest) {
        if let State::Open(open) = &self.state {
            let _ = open.requests.send(request);
        }
    }

    /// Leaves the node for the next one.
    pub(super) fn leave(&mut self) {
        let settled = matches!(&self.state, State::Open(open) if open.at.elapsed() >= SETTLED_AFTER);
        if settled {
            self.rotation.succeeded();
        }
        let delay = self.rotation.failed(rand::random());
        self.state = State::Waiting(Instant::now() + delay);
    }

    /// Half-closes the stream and waits until the node has seen that.
    pub(super) async fn close(self) {
        if let State::Open(open) = self.state {
            let Opened { requests, mut responses, .. } = *open;
            drop(requests);
            while let Ok(Some(_)) = responses.message().await {}
        }
    }

    /// What happens next. Cancel-safe.
    pub(super) async fn next(&mut self) -> LinkEvent {
        loop {
            match &mut self.state {
                State::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    return LinkEvent::Due;
                }
                State::Opening(opening) => match opening.as_mut().await {
                    Ok(open) => {
                        let registered = open.registered.clone();
                        self.state = State::Open(Box::new(open));
                        return LinkEvent::Opened(registered);
                    }
                    Err(status) => return self.closed(status),
                },
                State::Open(open) => match open.responses.message().await {
                    Ok(Some(WorkResponse { message: Some(message) })) => return LinkEvent::Message(Box::new(message)),
                    // A message that this version does not know.
                    Ok(Some(WorkResponse { message: None })) => {}
                    Ok(None) => return self.closed(Status::unavailable("the node closed the stream")),
                    Err(status) => return self.closed(status),
                },
            }
        }
    }

    fn closed(&mut self, status: Status) -> LinkEvent {
        self.leave();
        LinkEvent::Closed(Box::new(status.into()))
    }
}

async fn open(node: &Node, register: RegisterWorker) -> Result<Opened, Status> {
    let channel = node.connect().await.map_err(|error| Status::from_error(Box::new(error)))?;
    let mut service =
        WorkerServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    // Unbounded, but bounded by its use: at most one outcome for each lease and one heartbeat for each interval.
    let (requests, receiver) = unbounded_channel();
    let first = WorkRequest { message: Some(work_request::Message::Register(register)) };
    // The receiver is alive, it is right here.
    let _ = requests.send(first);
    let mut responses = service.work(UnboundedReceiverStream::new(receiver)).await?.into_inner();
    match responses.message().await? {
        Some(WorkResponse { message: Some(Message::Registered(registered)) }) => {
            Ok(Opened { requests, responses, registered, at: Instant::now() })
        }
        Some(_) => Err(Status::internal("the node answered `register` with something else")),
        None => Err(Status::unavailable("the node closed the stream")),
    }
}
