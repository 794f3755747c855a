//! The gateway of a node: the book behind a lock, and one link to each node that may lead.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use quorus_proto::{
    peer::{LinkHello, LinkRequest, LinkResponse, dispatch_service_client::DispatchServiceClient, link_request, link_response::Message},
    v1,
};
use quorus_raft::Peers;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;

use super::{Book, SessionView, StepLogs, WorkerSender};
use crate::{
    dispatch::{Dispatcher, LeaseName, serve_link},
    observe::names,
};

/// Pause before a link is opened again, doubled up to the maximum.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// How often outcomes that nobody acknowledged, and demand that nobody met, are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The gateway. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    node_id: u64,
    book: Arc<Mutex<Book>>,
    logs: StepLogs,
}

impl Gateway {
    /// Starts the links: to this node's own dispatcher in memory, to other nodes by gRPC.
    pub fn start(
        node_id: u64,
        nodes: &BTreeSet<u64>,
        dispatcher: Dispatcher,
        peers: &Arc<Peers>,
        logs: StepLogs,
        stop: &CancellationToken,
    ) -> Self {
        let gateway = Self { node_id, book: Arc::default(), logs };
        for node in nodes.iter().copied() {
            let (gateway, stop) = (gateway.clone(), stop.clone());
            if node == node_id {
                let dispatcher = dispatcher.clone();
                tokio::spawn(async move { stop.run_until_cancelled(gateway.link_to_self(dispatcher)).await });
            } else {
                let peers = peers.clone();
                tokio::spawn(async move { stop.run_until_cancelled(gateway.link_to(node, peers)).await });
            }
        }
        let (reporter, stop) = (gateway.clone(), stop.clone());
        tokio::spawn(async move {
            stop.run_until_cancelled(async {
                loop {
                    tokio::time::sleep(LOOK_EVERY).await;
                    let mut book = reporter.book.lock();
                    book.report_again();
                    book.meet_demand();
                }
            })
            .await
        });
        gateway
    }

    /// A worker's stream began.
    pub fn open(&self, register: v1::RegisterWorker, worker: WorkerSender) -> u64 {
        let mut book = self.book.lock();
        let session = book.open(register, worker);
        metrics::gauge!(names::WORKERS).set(book.view().len() as f64);
        session
    }

    /// A worker's stream ended.
    pub fn close(&self, session: u64) {
        let mut book = self.book.lock();
        book.close(session);
        metrics::gauge!(names::WORKERS).set(book.view().len() as f64);
    }

    /// A worker sent something.
    pub fn received(&self, session: u64, message: v1::work_request::Message) {
        use v1::work_request::Message;
        let mut book = self.book.lock();
        match message {
            // The stream's reader takes the first one; another one is refused there.
            Message::Register(_) => {}
            Message::Heartbeat(mut heartbeat) => {
                for progress in &mut heartbeat.progress {
                    // Lines stay here; that there are some is a sign of progress all the same.
                    let lines = std::mem::take(&mut progress.logs);
                    let name = (!lines.is_empty() && book.holds(session, &progress.lease)).then(|| LeaseName::decode(&progress.lease));
                    if let Some(name) = name.flatten() {
                        self.logs.append(name.uid, name.attempt.step, name.attempt.attempt, lines);
                    }
                }
                book.heartbeat(session, heartbeat);
            }
            Message::Outcome(outcome) => book.outcome(session, outcome),
            // As bounded as at registration; 0 stays 0.
            Message::Capacity(capacity) => book.set_capacity(session, capacity.capacity.min(crate::api::CAPACITY_MAX)),
        }
    }

    /// Tells every worker to go to another node.
    pub fn drain(&self) {
        self.book.lock().drain();
    }

    /// The workers, by name, that operators have stopped.
    pub fn set_drained(&self, names: BTreeSet<String>) {
        self.book.lock().set_drained(names);
    }

    /// Lines that steps wrote.
    pub fn logs(&self) -> &StepLogs {
        &self.logs
    }

    /// Sessions, for operators.
    pub fn view(&self) -> Vec<SessionView> {
        self.book.lock().view()
    }

    async fn link_to_self(&self, dispatcher: Dispatcher) {
        let (requests, from_gateway) = mpsc::unbounded_channel();
        let (to_gateway, mut responses) = mpsc::unbounded_channel();
        let served = tokio::spawn(serve_link(dispatcher, UnboundedReceiverStream::new(from_gateway), to_gateway));
        self.book.lock().link_up(self.node_id, requests);
        while let Some(response) = responses.recv().await {
            self.handle(self.node_id, response);
        }
        served.abort();
    }

    async fn link_to(&self, node: u64, peers: Arc<Peers>) {
        let mut pause = RETRY_MIN;
        loop {
            if let Err(error) = self.link_once(node, &peers, &mut pause).await {
                tracing::debug!(node, %error, "no link to the node's dispatcher");
            }
            self.book.lock().link_down(node);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    async fn link_once(&self, node: u64, peers: &Peers, pause: &mut Duration) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut client = DispatchServiceClient::new(peers.channel(node)?)
            .max_decoding_message_size(crate::api::LINK_BYTES_MAX)
            .max_encoding_message_size(crate::api::LINK_BYTES_MAX);
        let (requests, receiver) = mpsc::unbounded_channel();
        let hello = link_request::Message::Hello(LinkHello { node_id: self.node_id });
        requests.send(LinkRequest { message: Some(hello) })?;
        let mut responses = client.link(UnboundedReceiverStream::new(receiver)).await?.into_inner();
        *pause = RETRY_MIN;
        self.book.lock().link_up(node, requests);
        while let Some(response) = responses.message().await? {
            self.handle(node, response);
        }
        Ok(())
    }

    fn handle(&self, node: u64, response: LinkResponse) {
        let Some(message) = response.message else { return };
        let mut book = self.book.lock();
        match message {
            Message::Push(push) => book.push(node, push),
            Message::Renewed(renewed) => book.renewed(renewed),
            Message::Outcome(reported) => book.reported(reported),
            Message::Cancel(cancel) => book.cancel(cancel),
            Message::Returned(returned) => book.returned(node, returned),
            Message::Demand(demand) => book.demanded(node, demand),
            Message::Leading(leading) => book.leading(node, leading),
        }
    }
}
