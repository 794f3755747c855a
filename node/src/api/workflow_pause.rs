//! Pausing and resuming a workflow: group 0 decides, then the leaders of all shards are asked to know of it.

use std::time::Duration;

use futures::{StreamExt, stream};
use quorus_proto::{peer, v1};
use quorus_raft::GroupId;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{
    ApiContext, courier_service, errors, forward::Journey, from_proto, queue_service::switched, start, workflow_service::namespaced,
};
use crate::system::{FlowAnswer, FlowCommand, SystemAnswer, SystemCommand};

/// Leaders that take longer are reported as unconfirmed.
const LEARNT_WITHIN: Duration = Duration::from_secs(5);
/// Pause before one is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Leaders asked at a time.
const ASKED_AT_ONCE: usize = 64;
/// Parked runs are counted up to this number.
const PARKED_COUNTED: usize = 10_000;

/// Carries [`v1::PauseWorkflowRequest`] out.
pub(super) async fn pause(
    context: &ApiContext,
    request: Request<v1::PauseWorkflowRequest>,
) -> Result<Response<v1::PauseWorkflowResponse>, Status> {
    let journey = Journey::of(&request);
    let v1::PauseWorkflowRequest { mut namespace, name, reason, principal } = request.into_inner();
    namespaced(&mut namespace)?;
    let _permit = context.admission.change()?;
    start::version_of(context, &namespace, &name, 0).await?;
    let principal = from_proto::principal(principal);
    let command = FlowCommand::SetWorkflowPaused { namespace, workflow: name, on: true, principal, reason };
    let Set { changed, revision, .. } = set(context, &journey, command).await?;
    let unconfirmed_shards = not_learnt(context, &journey, revision).await?;
    Ok(Response::new(v1::PauseWorkflowResponse { changed, revision, unconfirmed_shards }))
}

/// Carries [`v1::ResumeWorkflowRequest`] out. Leaders that learn of it later have their runs ask in vain, and nothing worse.
pub(super) async fn resume(
    context: &ApiContext,
    request: Request<v1::ResumeWorkflowRequest>,
) -> Result<Response<v1::ResumeWorkflowResponse>, Status> {
    let journey = Journey::of(&request);
    let v1::ResumeWorkflowRequest { mut namespace, name, principal } = request.into_inner();
    namespaced(&mut namespace)?;
    let _permit = context.admission.change()?;
    let principal = from_proto::principal(principal);
    let command = FlowCommand::SetWorkflowPaused { namespace, workflow: name, on: false, principal, reason: String::new() };
    let mut first = set(context, &journey, command.clone()).await?;
    // Should this stop half-way, those who are parked ask by themselves before long.
    while first.more && Instant::now() < journey.deadline {
        first.more = set(context, &journey, command.clone()).await?.more;
    }
    Ok(Response::new(v1::ResumeWorkflowResponse { changed: first.changed }))
}

/// Tells who paused the workflow of a version that is shown.
pub(super) fn show(context: &ApiContext, shown: &mut v1::WorkflowVersion) {
    let (namespace, name) = super::workflow_service::names(shown.workflow.as_ref());
    shown.paused = context.system.flow().paused_workflow(&namespace, &name).map(switched);
}

/// The same, and how many runs that holds back.
pub(super) fn show_all(context: &ApiContext, shown: &mut v1::WorkflowVersion) -> Result<(), Status> {
    show(context, shown);
    let (namespace, name) = super::workflow_service::names(shown.workflow.as_ref());
    let parked = context.system.parked_runs(&namespace, &name, PARKED_COUNTED).map_err(|error| errors::internal(&error))?;
    shown.parked_runs = u32::try_from(parked).unwrap_or(u32::MAX);
    Ok(())
}

/// What group 0 answered.
struct Set {
    changed: bool,
    revision: u64,
    more: bool,
}

async fn set(context: &ApiContext, journey: &Journey, command: FlowCommand) -> Result<Set, Status> {
    match context.port.propose_for(journey, &SystemCommand::Flow(command)).await? {
        SystemAnswer::Flow(FlowAnswer::Changed { changed, revision, more }) => Ok(Set { changed, revision, more }),
        _ => Err(errors::outcome_unknown()),
    }
}

/// The shards whose leaders did not confirm in time that they know what group 0 decided up to a revision.
async fn not_learnt(context: &ApiContext, journey: &Journey, revision: u64) -> Result<Vec<GroupId>, Status> {
    let until = journey.deadline.min(Instant::now() + LEARNT_WITHIN);
    let asked = stream::iter(1..=context.shards()?)
        .map(|shard| async move { (shard, learns(context, journey, peer::LearnRevisionRequest { shard, revision }, until).await) });
    let mut missing: Vec<_> =
        asked.buffer_unordered(ASKED_AT_ONCE).filter_map(|(shard, learnt)| async move { (!learnt).then_some(shard) }).collect().await;
    missing.sort_unstable();
    Ok(missing)
}

/// Asks until there is an answer: in a cluster that was just made, a node that was to answer may not have its replica yet.
async fn learns(context: &ApiContext, journey: &Journey, message: peer::LearnRevisionRequest, until: Instant) -> bool {
    loop {
        match tokio::time::timeout_at(until, courier_service::learn_revision(context, journey, message)).await {
            Ok(Ok(_)) => return true,
            Ok(Err(_)) if Instant::now() + ASK_AGAIN < until => tokio::time::sleep(ASK_AGAIN).await,
            Ok(Err(error)) => {
                tracing::debug!(shard = message.shard, %error, "the leader of a shard did not confirm that it knows of a pause");
                return false;
            }
            Err(_) => return false,
        }
    }
}
