//! The way to group 0 from every node: a command goes to the leader, wherever that is, and its answer comes back.
//!
//! Only for commands that may be carried out twice with the same result, since a try whose outcome is unknown is repeated.

use std::sync::Arc;

use quorus_proto::peer::{
    ProposeRequest, ProposeResponse,
    system_service_client::SystemServiceClient,
    system_service_server::{SystemService, SystemServiceServer},
};
use quorus_raft::{Group, Host, NodeId, Peers, ProposeError};
use tonic::{Request, Response, Status};

use super::{
    MESSAGE_BYTES_MAX, errors,
    forward::{self, Journey, Way},
};
use crate::{
    clock::Clock,
    system::{SYSTEM_GROUP, SystemAnswer, SystemCommand},
};

/// Proposes commands to group 0. Cheap to clone.
#[derive(Clone)]
pub struct SystemPort {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: NodeId,
    host: Host,
    peers: Arc<Peers>,
    clock: Arc<dyn Clock>,
}

impl SystemPort {
    /// The port of a node.
    pub fn new(node_id: NodeId, host: Host, peers: Arc<Peers>, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { node_id, host, peers, clock }) }
    }

    /// The gRPC side, for other nodes.
    pub fn service(&self) -> SystemServiceServer<Self> {
        SystemServiceServer::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Waits until this node's copy has everything that was decided before this was called, as a quorum confirms.
    ///
    /// # Errors
    /// NO_LEADER: ask again.
    pub async fn read_barrier(&self) -> Result<(), Status> {
        let group = self.inner.host.group(SYSTEM_GROUP).ok_or_else(|| errors::no_leader(SYSTEM_GROUP))?;
        group.read_barrier().await.map(drop).map_err(|_| errors::no_leader(SYSTEM_GROUP))
    }

    /// Has a command applied; tries on for ten seconds, through elections.
    ///
    /// # Errors
    /// NO_LEADER or OUTCOME_UNKNOWN: ask again.
    pub async fn propose(&self, command: &SystemCommand) -> Result<SystemAnswer, Status> {
        self.propose_for(&Journey::of(&Request::new(())), command).await
    }

    /// The same, until the deadline of a request.
    pub(super) async fn propose_for(&self, journey: &Journey, command: &SystemCommand) -> Result<SystemAnswer, Status> {
        let Inner { node_id, host, peers, clock } = &*self.inner;
        let group = host.group(SYSTEM_GROUP).ok_or_else(|| errors::no_leader(SYSTEM_GROUP))?;
        let here = || propose_here(&group, &**clock, command);
        let there = |channel| async {
            let mut client =
                SystemServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
            let answer = client.propose(journey.onward(ProposeRequest { record: command.encode(clock.now()) })).await?;
            SystemAnswer::decode(answer.into_inner().answer).map_err(|error| errors::internal(&error))
        };
        let way = Way { group: &group, me: *node_id, peers, room: None };
        forward::by_leader(way, journey, true, here, there).await
    }
}

/// `None` if this node does not lead the group.
async fn propose_here(group: &Group, clock: &dyn Clock, command: &SystemCommand) -> Option<Result<SystemAnswer, Status>> {
    let leadership = *group.leadership().borrow();
    if !leadership.here {
        return None;
    }
    Some(match group.propose(leadership.term, command.encode(clock.now())).await {
        Ok(proposed) => SystemAnswer::decode(proposed.answer).map_err(|error| errors::internal(&error)),
        Err(ProposeError::NotLeader { .. }) => return None,
        Err(_) => Err(errors::outcome_unknown()),
    })
}

#[tonic::async_trait]
impl SystemService for SystemPort {
    async fn propose(&self, request: Request<ProposeRequest>) -> Result<Response<ProposeResponse>, Status> {
        let journey = Journey::of(&request);
        let (_, command) = SystemCommand::decode(request.into_inner().record)
            .map_err(|error| errors::invalid(vec![("record".into(), error.to_string())]))?;
        let answer = self.propose_for(&journey, &command).await?;
        Ok(Response::new(ProposeResponse { answer: answer.encode() }))
    }
}
