//! Signals of `emit` steps go through the node's own API, which brings them to the leader of the run's shard.

use std::{sync::Arc, time::Duration};

use quorus_proto::v1::{self, lifecycle_service_client::LifecycleServiceClient};
use quorus_raft::{NodeId, Peers};
use serde_json::Value;
use tonic::{Code, Request, Status};

use super::{
    attempt::payload,
    emit::{SignalAsk, SignalError, Signals},
};
use crate::api::{MESSAGE_BYTES_MAX, errors};

/// How long the API may take: it waits for leaders.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Signals by a node's own API.
pub struct ApiSignals {
    node: NodeId,
    peers: Arc<Peers>,
}

impl ApiSignals {
    /// Signals by the API of this node.
    pub fn new(node: NodeId, peers: Arc<Peers>) -> Self {
        Self { node, peers }
    }

    async fn call(&self, ask: SignalAsk) -> Result<(), Status> {
        let channel = self.peers.channel(self.node).map_err(|error| Status::unavailable(error.to_string()))?;
        let mut client = LifecycleServiceClient::new(channel).max_encoding_message_size(MESSAGE_BYTES_MAX);
        let SignalAsk { namespace, run_id, name, id, payload: data, start, traceparent } = ask;
        let payload = |value: Option<Value>| value.map(|value| payload(&value));
        match start {
            None => {
                let principal = Some(principal());
                let request = v1::SignalRunRequest { namespace, run_id, name, signal_id: id, payload: payload(data), principal };
                client.signal_run(timed(request)).await?;
            }
            Some((workflow, input)) => {
                let start = v1::StartRunRequest {
                    namespace,
                    workflow,
                    run_id,
                    request_id: id.clone(),
                    input: payload(input),
                    on_conflict: v1::ConflictPolicy::UseExisting.into(),
                    traceparent,
                    principal: Some(principal()),
                    ..Default::default()
                };
                let request = v1::SignalWithStartRunRequest { start: Some(start), name, signal_id: id, payload: payload(data) };
                client.signal_with_start_run(timed(request)).await?;
            }
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Signals for ApiSignals {
    async fn signal(&self, ask: SignalAsk) -> Result<(), SignalError> {
        self.call(ask).await.map_err(|status| {
            let reason = errors::reason_of(&status).unwrap_or_default();
            // Only what a node says for good is a refusal; everything else may be different in a moment.
            let for_good =
                matches!(status.code(), Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::PermissionDenied);
            SignalError { message: format!("{} ({reason})", status.message()), refused: for_good && !reason.is_empty(), reason }
        })
    }
}

/// Who signals, as the run's history shows it.
fn principal() -> v1::Principal {
    v1::Principal { subject: "quorus/emit".to_owned(), ..Default::default() }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_WITHIN);
    request
}
