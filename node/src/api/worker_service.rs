//! The face for workers: checks how a worker introduces itself, then hands its stream to a session actor.

use std::pin::Pin;

use futures::Stream;
use quorus_proto::v1::{
    RegisterWorker, WorkRequest, WorkResponse, WorkerRegistered, work_request, work_response, worker_service_server::WorkerService,
};
use ractor::Actor;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    Admission,
    errors::{self, reason},
    limits,
};
use crate::{
    dispatch::Times,
    gateway::{Gateway, SessionArguments, WorkerSession},
};

/// Serves workers.
pub struct Workers {
    /// Name of the node, for the worker's log.
    pub node: String,
    /// Where sessions live.
    pub gateway: Gateway,
    /// Room for streams.
    pub admission: Admission,
    /// How long leases live.
    pub times: Times,
    /// Ends when the node is about to stop.
    pub draining: tokio_util::sync::CancellationToken,
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type WorkStream = Pin<Box<dyn Stream<Item = Result<WorkResponse, Status>> + Send>>;

    async fn work(&self, request: Request<Streaming<WorkRequest>>) -> Result<Response<Self::WorkStream>, Status> {
        if self.draining.is_cancelled() {
            let message = "this node is about to stop: open a stream to another one";
            return Err(errors::retry_later(Code::Unavailable, reason::DRAINING, message, std::time::Duration::from_millis(50)));
        }
        let permit = self.admission.worker()?;
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|request| request.message);
        let Some(work_request::Message::Register(register)) = first else {
            return Err(errors::invalid(vec![("register".into(), "must be the first message of the stream".into())]));
        };
        check(&register)?;

        let (worker, responses) = mpsc::unbounded_channel();
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (lease_ms, heartbeat_interval_ms) = (millis(self.times.lease), millis(self.times.heartbeat));
        let registered = WorkerRegistered { node: self.node.clone(), lease_ms, heartbeat_interval_ms };
        // The receiver is here: this can't fail.
        worker.send(Ok(WorkResponse { message: Some(work_response::Message::Registered(registered)) })).ok();
        let refusals = worker.clone();
        let with = SessionArguments { gateway: self.gateway.clone(), register, worker };
        let (session, _) = Actor::spawn(None, WorkerSession, with).await.map_err(|error| errors::internal(&error))?;
        tokio::spawn(async move {
            let _permit = permit;
            while let Ok(Some(request)) = requests.message().await {
                match request.message {
                    Some(work_request::Message::Register(_)) | None => {
                        let violation = ("message".into(), "is missing, or registers a second time".into());
                        refusals.send(Err(errors::invalid(vec![violation]))).ok();
                        break;
                    }
                    Some(message) => {
                        if session.cast(message).is_err() {
                            break;
                        }
                    }
                }
            }
            // What the worker said before it left still counts: drain, do not stop.
            session.drain().ok();
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(responses).map(|item| item))))
    }
}

fn check(register: &RegisterWorker) -> Result<(), Status> {
    let mut violations = Vec::new();
    let mut must = |ok: bool, field: &str, what: &str| {
        if !ok {
            violations.push((format!("register.{field}"), what.to_owned()));
        }
    };
    must(!register.name.is_empty() && register.name.len() <= limits::NAME_CHARS_MAX, "name", "is required, at most 200 characters");
    must(
        !register.incarnation.is_empty() && register.incarnation.len() <= limits::NAME_CHARS_MAX,
        "incarnation",
        "is required, at most 200 characters",
    );
    must(register.session > 0, "session", "counts from 1");
    must(!register.queues.is_empty() && register.queues.len() <= limits::QUEUES_MAX, "queues", "between 1 and 100 are needed");
    must(
        register.queues.iter().all(|queue| limits::is_name(queue)),
        "queues",
        "a queue's name has letters, digits, `.`, `_`, `-`, at most 200",
    );
    must(
        !register.queues.iter().any(|queue| queue.starts_with(crate::executors::RESERVED_PREFIX)),
        "queues",
        "queues that begin with `quorus.` are for nodes themselves",
    );
    must((1..=limits::CAPACITY_MAX).contains(&register.capacity), "capacity", "between 1 and 100,000");
    must(register.held.len() <= limits::HELD_MAX, "held", "at most 100,000");
    if violations.is_empty() { Ok(()) } else { Err(errors::invalid(violations)) }
}
