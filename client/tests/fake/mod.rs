//! A node whose behaviour a test writes down: real gRPC over a real socket, nothing behind it.
//!
//! Each node has a runtime of its own, so that killing it breaks its connections like the death of a process does.

// Each test file uses a part of it.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use quorus_client::v1::{
    self,
    cluster_service_server::{ClusterService, ClusterServiceServer},
    run_service_server::{RunService, RunServiceServer},
    work_request, work_response,
    worker_service_server::{WorkerService, WorkerServiceServer},
    workflow_service_server::{WorkflowService, WorkflowServiceServer},
};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

type Answer<M, R> = Arc<dyn Fn(M, &MetadataMap) -> Result<R, Status> + Send + Sync>;
/// What a watch sends, one after the other, before the stream ends.
pub type WatchItems = Vec<Result<v1::WatchRunResponse, Status>>;

/// What a node answers. Whatever is not written down is UNIMPLEMENTED.
#[derive(Clone, Default)]
pub struct Script {
    start: Option<Answer<v1::StartRunRequest, v1::StartRunResponse>>,
    get: Option<Answer<v1::GetRunRequest, v1::GetRunResponse>>,
    watch: Option<Answer<v1::WatchRunRequest, WatchItems>>,
    apply: Option<Answer<v1::ApplyWorkflowRequest, v1::ApplyWorkflowResponse>>,
    delete: Option<Answer<v1::DeleteWorkflowRequest, v1::DeleteWorkflowResponse>>,
    pause_workflow: Option<Answer<v1::PauseWorkflowRequest, v1::PauseWorkflowResponse>>,
    resume_workflow: Option<Answer<v1::ResumeWorkflowRequest, v1::ResumeWorkflowResponse>>,
    get_workflow: Option<Answer<v1::GetWorkflowRequest, v1::GetWorkflowResponse>>,
    list_workflows: Option<Answer<v1::ListWorkflowsRequest, v1::ListWorkflowsResponse>>,
    versions: Option<Answer<v1::ListWorkflowVersionsRequest, v1::ListWorkflowVersionsResponse>>,
    list: Option<Answer<v1::ListRunsRequest, v1::ListRunsResponse>>,
    sessions: Option<UnboundedSender<Session>>,
}

macro_rules! on {
    ($name:ident, $field:ident, $request:ty, $response:ty) => {
        pub fn $name(mut self, answer: impl Fn($request, &MetadataMap) -> Result<$response, Status> + Send + Sync + 'static) -> Self {
            self.$field = Some(Arc::new(answer));
            self
        }
    };
}

impl Script {
    on!(on_start, start, v1::StartRunRequest, v1::StartRunResponse);
    on!(on_get, get, v1::GetRunRequest, v1::GetRunResponse);
    on!(on_watch, watch, v1::WatchRunRequest, WatchItems);
    on!(on_apply, apply, v1::ApplyWorkflowRequest, v1::ApplyWorkflowResponse);
    on!(on_delete, delete, v1::DeleteWorkflowRequest, v1::DeleteWorkflowResponse);
    on!(on_pause_workflow, pause_workflow, v1::PauseWorkflowRequest, v1::PauseWorkflowResponse);
    on!(on_resume_workflow, resume_workflow, v1::ResumeWorkflowRequest, v1::ResumeWorkflowResponse);
    on!(on_get_workflow, get_workflow, v1::GetWorkflowRequest, v1::GetWorkflowResponse);
    on!(on_list_workflows, list_workflows, v1::ListWorkflowsRequest, v1::ListWorkflowsResponse);
    on!(on_versions, versions, v1::ListWorkflowVersionsRequest, v1::ListWorkflowVersionsResponse);
    on!(on_list, list, v1::ListRunsRequest, v1::ListRunsResponse);
}

/// A node on a port of its own.
pub struct FakeNode {
    pub endpoint: String,
    runtime: Option<Runtime>,
    sessions: tokio::sync::Mutex<UnboundedReceiver<Session>>,
}

impl FakeNode {
    pub fn start(mut script: Script) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, sessions) = unbounded_channel();
        script.sessions = Some(sender);
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            tonic::transport::Server::builder()
                .add_service(RunServiceServer::new(script.clone()))
                .add_service(WorkflowServiceServer::new(script.clone()))
                .add_service(ClusterServiceServer::new(script.clone()))
                .add_service(WorkerServiceServer::new(script))
                .serve_with_incoming(incoming)
                .await
        });
        Self { endpoint, runtime: Some(runtime), sessions: tokio::sync::Mutex::new(sessions) }
    }

    /// The next stream that a worker opens.
    pub async fn session(&self) -> Session {
        self.sessions.lock().await.recv().await.unwrap()
    }

    /// Dies: port closed, connections broken.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An endpoint where nobody listens.
pub fn dead_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A worker's stream, seen by the node.
pub struct Session {
    pub register: v1::RegisterWorker,
    requests: Streaming<v1::WorkRequest>,
    responses: UnboundedSender<Result<v1::WorkResponse, Status>>,
}

impl Session {
    pub fn send(&self, message: work_response::Message) {
        self.responses.send(Ok(v1::WorkResponse { message: Some(message) })).unwrap();
    }

    pub fn registered(&self, lease_ms: u64) {
        self.send(work_response::Message::Registered(v1::WorkerRegistered {
            node: "fake".to_owned(),
            lease_ms,
            heartbeat_interval_ms: lease_ms / 3,
        }));
    }

    pub fn task(&self, task: v1::Task) {
        self.send(work_response::Message::Task(task));
    }

    pub fn ack(&self, lease: &[u8]) {
        self.send(work_response::Message::OutcomeAck(v1::OutcomeAck {
            lease: lease.to_vec().into(),
            accepted: true,
            reason: String::new(),
        }));
    }

    /// Refuses the worker.
    pub fn refuse(self, status: Status) {
        self.responses.send(Err(status)).unwrap();
    }

    /// The worker's next message; `None` when it closed the stream.
    pub async fn next(&mut self) -> Option<work_request::Message> {
        self.requests.next().await?.ok()?.message
    }

    /// The worker's next outcome; heartbeats on the way are acknowledged.
    pub async fn outcome(&mut self) -> v1::TaskOutcome {
        loop {
            match self.next().await.expect("an outcome before the end of the stream") {
                work_request::Message::Outcome(outcome) => return outcome,
                work_request::Message::Heartbeat(beat) => self.renew(beat),
                _ => {}
            }
        }
    }

    /// The worker's next heartbeat.
    pub async fn heartbeat(&mut self) -> v1::Heartbeat {
        loop {
            if let work_request::Message::Heartbeat(beat) = self.next().await.expect("a heartbeat before the end of the stream") {
                return beat;
            }
        }
    }

    pub fn renew(&self, beat: v1::Heartbeat) {
        self.send(work_response::Message::HeartbeatAck(v1::HeartbeatAck { id: beat.id, renewed: beat.leases, lost: Vec::new() }));
    }
}

fn answer<M, R>(answer: &Option<Answer<M, R>>, request: Request<M>) -> Result<Response<R>, Status> {
    let Some(answer) = answer else { return Err(Status::unimplemented("not in the script")) };
    let (metadata, _, message) = request.into_parts();
    answer(message, &metadata).map(Response::new)
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl RunService for Script {
    type WatchRunStream = Boxed<v1::WatchRunResponse>;

    async fn start_run(&self, request: Request<v1::StartRunRequest>) -> Result<Response<v1::StartRunResponse>, Status> {
        answer(&self.start, request)
    }
    async fn get_run(&self, request: Request<v1::GetRunRequest>) -> Result<Response<v1::GetRunResponse>, Status> {
        answer(&self.get, request)
    }
    async fn list_runs(&self, request: Request<v1::ListRunsRequest>) -> Result<Response<v1::ListRunsResponse>, Status> {
        answer(&self.list, request)
    }
    async fn watch_run(&self, request: Request<v1::WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let items = answer(&self.watch, request)?.into_inner();
        Ok(Response::new(Box::pin(futures::stream::iter(items))))
    }
    async fn get_run_history(&self, _: Request<v1::GetRunHistoryRequest>) -> Result<Response<v1::GetRunHistoryResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }
    async fn cancel_run(&self, _: Request<v1::CancelRunRequest>) -> Result<Response<v1::CancelRunResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }
    async fn terminate_run(&self, _: Request<v1::TerminateRunRequest>) -> Result<Response<v1::TerminateRunResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }
}

#[tonic::async_trait]
impl WorkflowService for Script {
    async fn apply_workflow(&self, request: Request<v1::ApplyWorkflowRequest>) -> Result<Response<v1::ApplyWorkflowResponse>, Status> {
        answer(&self.apply, request)
    }
    async fn get_workflow(&self, request: Request<v1::GetWorkflowRequest>) -> Result<Response<v1::GetWorkflowResponse>, Status> {
        answer(&self.get_workflow, request)
    }
    async fn list_workflows(&self, request: Request<v1::ListWorkflowsRequest>) -> Result<Response<v1::ListWorkflowsResponse>, Status> {
        answer(&self.list_workflows, request)
    }
    async fn list_workflow_versions(
        &self,
        request: Request<v1::ListWorkflowVersionsRequest>,
    ) -> Result<Response<v1::ListWorkflowVersionsResponse>, Status> {
        answer(&self.versions, request)
    }
    async fn delete_workflow(&self, request: Request<v1::DeleteWorkflowRequest>) -> Result<Response<v1::DeleteWorkflowResponse>, Status> {
        answer(&self.delete, request)
    }
    async fn pause_workflow(&self, request: Request<v1::PauseWorkflowRequest>) -> Result<Response<v1::PauseWorkflowResponse>, Status> {
        answer(&self.pause_workflow, request)
    }
    async fn resume_workflow(&self, request: Request<v1::ResumeWorkflowRequest>) -> Result<Response<v1::ResumeWorkflowResponse>, Status> {
        answer(&self.resume_workflow, request)
    }
    async fn plan_workflow(&self, _: Request<v1::PlanWorkflowRequest>) -> Result<Response<v1::PlanWorkflowResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }
}

#[tonic::async_trait]
impl ClusterService for Script {
    async fn get_cluster_status(&self, _: Request<v1::GetClusterStatusRequest>) -> Result<Response<v1::GetClusterStatusResponse>, Status> {
        let node = v1::NodeStatus { node_id: 1, address: "http://127.0.0.1:7401".to_owned(), reachable: true, ..Default::default() };
        Ok(Response::new(v1::GetClusterStatusResponse {
            cluster_id: "c1".to_owned(),
            answered_by: 1,
            nodes: vec![node],
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl WorkerService for Script {
    type WorkStream = Boxed<v1::WorkResponse>;

    async fn work(&self, request: Request<Streaming<v1::WorkRequest>>) -> Result<Response<Self::WorkStream>, Status> {
        let mut requests = request.into_inner();
        let Some(Ok(v1::WorkRequest { message: Some(work_request::Message::Register(register)) })) = requests.next().await else {
            return Err(Status::invalid_argument("the first message must be `register`"));
        };
        let (responses, receiver) = unbounded_channel();
        let session = Session { register, requests, responses };
        self.sessions.as_ref().unwrap().send(session).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }
}
