//! Runs: start, read, list, watch, stop. Each request is checked, brought to where it can be answered, and answered there.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use quorus_engine::Command;
use quorus_proto::v1::{self, run_service_client::RunServiceClient, run_service_server::RunService};
use quorus_raft::GroupId;
use tonic::{Request, Response, Status, transport::Channel};

use super::{
    ApiContext, MESSAGE_BYTES_MAX, change, errors,
    forward::{self, Journey},
    from_proto, limits, list, start, watch,
};

/// Serves runs.
pub struct Runs {
    pub(crate) context: Arc<ApiContext>,
}

pub(super) fn client(channel: Channel) -> RunServiceClient<Channel> {
    RunServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

#[tonic::async_trait]
impl RunService for Runs {
    async fn start_run(&self, request: Request<v1::StartRunRequest>) -> Result<Response<v1::StartRunResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        start::complete(&mut message, &journey)?;
        let (shard, group) = self.context.shard_of(&message.namespace, &message.run_id)?;
        let Some(group) = group else {
            let _place = self.context.admission.waiting()?;
            let channel = holder(&self.context, shard, &journey)?;
            return client(channel).start_run(journey.relay(message)).await;
        };
        let here = || self.start_here(shard, &message);
        let there = |channel| async { Ok(client(channel).start_run(journey.onward(message.clone())).await?.into_inner()) };
        forward::by_leader(self.context.way(&group), &journey, true, here, there).await.map(Response::new)
    }

    async fn get_run(&self, request: Request<v1::GetRunRequest>) -> Result<Response<v1::GetRunResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        checked(&mut message.namespace, &message.run_id)?;
        let _permit = self.context.admission.read()?;
        let (shard, group) = self.context.shard_of(&message.namespace, &message.run_id)?;
        let Some(group) = group else {
            let channel = holder(&self.context, shard, &journey)?;
            return client(channel).get_run(journey.relay(message)).await;
        };
        if message.consistency() != v1::Consistency::Stale {
            fresh(&group, &journey).await?;
        }
        let uid = list::uid_of(&self.context.store(shard), &message.namespace, &message.run_id, &message.run_uid)?;
        let run = self.context.read_uid(shard, uid)?;
        let run = run.ok_or_else(|| errors::run_not_found(&message.namespace, &message.run_id))?;
        Ok(Response::new(v1::GetRunResponse { run: Some(run) }))
    }

    async fn list_runs(&self, request: Request<v1::ListRunsRequest>) -> Result<Response<v1::ListRunsResponse>, Status> {
        let journey = Journey::of(&request);
        let _permit = self.context.admission.read()?;
        list::list_runs(&self.context, &journey, request.into_inner()).await.map(Response::new)
    }

    type WatchRunStream = Pin<Box<dyn Stream<Item = Result<v1::WatchRunResponse, Status>> + Send>>;

    async fn watch_run(&self, request: Request<v1::WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        checked(&mut message.namespace, &message.run_id)?;
        let permit = self.context.admission.watch()?;
        let (shard, group) = self.context.shard_of(&message.namespace, &message.run_id)?;
        let Some(group) = group else {
            let channel = holder(&self.context, shard, &journey)?;
            // A stream has no deadline of its own.
            let mut onward = Request::new(message);
            onward.metadata_mut().insert("quorus-forwarded", tonic::metadata::MetadataValue::from_static("1"));
            let stream = client(channel).watch_run(onward).await?.into_inner();
            return Ok(Response::new(Box::pin(stream)));
        };
        fresh(&group, &journey).await?;
        let stream = watch::watch(self.context.clone(), shard, message, permit)?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_run_history(&self, request: Request<v1::GetRunHistoryRequest>) -> Result<Response<v1::GetRunHistoryResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        checked(&mut message.namespace, &message.run_id)?;
        let _permit = self.context.admission.read()?;
        let (shard, group) = self.context.shard_of(&message.namespace, &message.run_id)?;
        let Some(group) = group else {
            let channel = holder(&self.context, shard, &journey)?;
            return client(channel).get_run_history(journey.relay(message)).await;
        };
        fresh(&group, &journey).await?;
        list::history(&self.context, shard, &message).map(Response::new)
    }

    async fn cancel_run(&self, request: Request<v1::CancelRunRequest>) -> Result<Response<v1::CancelRunResponse>, Status> {
        change::change(&self.context, request, |message| {
            Ok(Command::Cancel {
                principal: from_proto::principal(message.principal.clone()),
                reason: message.reason.clone(),
                compensate: !message.no_compensate,
            })
        })
        .await
    }

    async fn terminate_run(&self, request: Request<v1::TerminateRunRequest>) -> Result<Response<v1::TerminateRunResponse>, Status> {
        change::change(&self.context, request, |message| {
            Ok(Command::Terminate { principal: from_proto::principal(message.principal.clone()), reason: message.reason.clone() })
        })
        .await
    }
}

impl Runs {
    async fn start_here(&self, shard: GroupId, message: &v1::StartRunRequest) -> Option<Result<v1::StartRunResponse, Status>> {
        let led = self.context.led.get(shard)?;
        Some(start::start(&self.context, &led, message).await)
    }
}

/// The way to a node that has a replica of a shard that is not here.
pub(super) fn holder(context: &ApiContext, shard: GroupId, journey: &Journey) -> Result<Channel, Status> {
    let node = context.holder_of(shard).filter(|_| !journey.forwarded && !journey.relayed).ok_or_else(|| errors::no_leader(shard))?;
    context.peers.channel(node).map_err(|error| errors::internal(&error))
}

/// Fills the default namespace in and checks the names.
pub(super) fn checked(namespace: &mut String, run_id: &str) -> Result<(), Status> {
    if namespace.is_empty() {
        *namespace = quorus_spec::DEFAULT_NAMESPACE.to_owned();
    }
    let mut violations = Vec::new();
    for (field, text) in [("namespace", namespace.as_str()), ("run_id", run_id)] {
        if !limits::is_name(text) {
            violations.push((field.to_owned(), "must have 1 to 200 letters, digits, `.`, `_`, `-` or `:`".to_owned()));
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(errors::invalid(violations)) }
}

/// Waits until this node's replica knows everything that anybody was told before now.
pub(super) async fn fresh(group: &quorus_raft::Group, journey: &Journey) -> Result<(), Status> {
    loop {
        match tokio::time::timeout_at(journey.deadline, group.read_barrier()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => {
                tracing::debug!(group = group.id(), %error, "read barrier");
                tokio::time::sleep(std::time::Duration::from_millis(25)).await;
                if tokio::time::Instant::now() >= journey.deadline {
                    return Err(errors::no_leader(group.id()));
                }
            }
            Err(_) => return Err(errors::no_leader(group.id())),
        }
    }
}
