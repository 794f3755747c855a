//! A worker's stream: an actor that owns its session in the book, from the first message to the end of the stream.

use quorus_proto::v1::work_request;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Gateway, WorkerSender};

/// The actor.
pub struct WorkerSession;

/// What the actor starts with.
pub struct SessionArguments {
    /// The gateway.
    pub gateway: Gateway,
    /// How the worker introduced itself.
    pub register: quorus_proto::v1::RegisterWorker,
    /// The way to the worker.
    pub worker: WorkerSender,
}

/// The actor's memory.
pub struct SessionState {
    gateway: Gateway,
    session: u64,
}

impl Drop for SessionState {
    /// However the actor ends, leaders learn that the stream closed.
    fn drop(&mut self) {
        self.gateway.close(self.session);
    }
}

impl Actor for WorkerSession {
    type Msg = work_request::Message;
    type State = SessionState;
    type Arguments = SessionArguments;

    async fn pre_start(&self, _myself: ActorRef<Self::Msg>, with: SessionArguments) -> Result<SessionState, ActorProcessingErr> {
        let SessionArguments { gateway, register, worker } = with;
        tracing::info!(worker = %register.name, queues = ?register.queues, capacity = register.capacity, held = register.held.len(), "worker came");
        let session = gateway.open(register, worker);
        Ok(SessionState { gateway, session })
    }

    async fn handle(&self, _myself: ActorRef<Self::Msg>, message: Self::Msg, state: &mut SessionState) -> Result<(), ActorProcessingErr> {
        state.gateway.received(state.session, message);
        Ok(())
    }
}
