//! What runs owe to runs on other shards, where it arrives: brought to the leader of the shard that it is for, and carried out there.
//!
//! Each method is safe to repeat. A child is known by its uid, which its parent chose, and which is the request id of its start: a second start
//! finds the first one's run.

use std::sync::Arc;

use quorus_engine::{Command, Failure, Parent, Principal, Rejection, RunInfo, RunUid, failure_type};
use quorus_proto::{
    peer::{self, courier_service_client::CourierServiceClient, courier_service_server::CourierService},
    v1,
};
use quorus_raft::GroupId;
use tokio::sync::oneshot;
use tonic::{Code, Request, Response, Status, transport::Channel};

use super::{
    ApiContext, MESSAGE_BYTES_MAX, errors,
    forward::{self, Journey},
    from_proto, run_service, schemas, start, to_proto,
};
use crate::codec;
use crate::leader::{Answer, Ask, LedShard, OnConflict, OnReuse, Refusal, Reply, Request as RunRequest, RunKey, StartAsk};

/// Takes what runs on other shards owe to runs.
pub struct Deliveries {
    /// What every service works with.
    pub context: Arc<ApiContext>,
}

fn client(channel: Channel) -> CourierServiceClient<Channel> {
    CourierServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Brings a request to the leader of a run's shard: `$here` answers it there, `$method` sends it on.
macro_rules! by_leader {
    ($self:ident, $request:ident, $namespace:expr, $run_id:expr, $method:ident, $here:expr) => {{
        let journey = Journey::of(&$request);
        let message = $request.into_inner();
        let (namespace, run_id) = ($namespace(&message), $run_id(&message));
        let (shard, group) = $self.context.shard_of(&namespace, &run_id)?;
        let Some(group) = group else {
            let channel = run_service::holder(&$self.context, shard, &journey)?;
            return client(channel).$method(journey.relay(message)).await;
        };
        let here = || async {
            let led = $self.context.led.get(shard)?;
            Some($here($self, led, RunKey::new(&namespace, &run_id), message.clone()).await)
        };
        let there = |channel| async { Ok(client(channel).$method(journey.onward(message.clone())).await?.into_inner()) };
        // The node that delivers has so many under way at most.
        forward::by_leader($self.context.way_with_room(&group), &journey, true, here, there).await.map(Response::new)
    }};
}

#[tonic::async_trait]
impl CourierService for Deliveries {
    async fn start_child(&self, request: Request<peer::StartChildRequest>) -> Result<Response<peer::StartChildResponse>, Status> {
        fn child(message: &peer::StartChildRequest) -> peer::ChildRun {
            message.child.clone().unwrap_or_default()
        }
        by_leader!(self, request, |m| child(m).namespace, |m| child(m).run_id, start_child, Self::start_here)
    }

    async fn cancel_child(&self, request: Request<peer::CancelChildRequest>) -> Result<Response<peer::CancelChildResponse>, Status> {
        fn child(message: &peer::CancelChildRequest) -> peer::ChildRun {
            message.child.clone().unwrap_or_default()
        }
        by_leader!(self, request, |m| child(m).namespace, |m| child(m).run_id, cancel_child, Self::cancel_here)
    }

    async fn compensate_child(
        &self,
        request: Request<peer::CompensateChildRequest>,
    ) -> Result<Response<peer::CompensateChildResponse>, Status> {
        type Message = peer::CompensateChildRequest;
        by_leader!(
            self,
            request,
            |m: &Message| m.namespace.clone(),
            |m: &Message| m.run_id.clone(),
            compensate_child,
            Self::compensate_here
        )
    }

    async fn child_ended(&self, request: Request<peer::ChildEndedRequest>) -> Result<Response<peer::ChildEndedResponse>, Status> {
        fn parent(message: &peer::ChildEndedRequest) -> v1::RunParent {
            message.parent.clone().unwrap_or_default()
        }
        by_leader!(self, request, |m| parent(m).namespace, |m| parent(m).run_id, child_ended, Self::note_end_here)
    }

    async fn learn_revision(&self, request: Request<peer::LearnRevisionRequest>) -> Result<Response<peer::LearnRevisionResponse>, Status> {
        let journey = Journey::of(&request);
        learn_revision(&self.context, &journey, request.into_inner()).await.map(Response::new)
    }
}

impl Deliveries {
    async fn start_here(&self, led: LedShard, key: RunKey, message: peer::StartChildRequest) -> Result<peer::StartChildResponse, Status> {
        let child = message.child.unwrap_or_default();
        let uid = uid(&child.run_uid)?;
        let ask = match self.start_of(&child, uid).await? {
            Ok(start) => Ask::Start(Box::new(start)),
            Err(failure) => return Ok(peer::StartChildResponse { refused: Some(to_proto::failure(&failure)) }),
        };
        let refused = match self.ask(&led, &key, None, ask).await {
            Ok(answer) if answer.uid == uid => None,
            Ok(_) | Err(Refusal::Rejected(Rejection::RunExists)) => {
                confirm(&led).await?;
                Some(refusal(failure_type::CHILD_REFUSED, format!("a run {:?} exists already", child.run_id)))
            }
            Err(Refusal::Rejected(rejection)) => {
                confirm(&led).await?;
                Some(refusal(failure_type::CHILD_REFUSED, rejection.to_string()))
            }
            Err(other) => return Err(errors::refused(&child.namespace, &child.run_id, &other)),
        };
        Ok(peer::StartChildResponse { refused: refused.as_ref().map(to_proto::failure) })
    }

    async fn cancel_here(
        &self,
        led: LedShard,
        key: RunKey,
        message: peer::CancelChildRequest,
    ) -> Result<peer::CancelChildResponse, Status> {
        let (child, reason) = (message.child.unwrap_or_default(), message.reason);
        let uid = uid(&child.run_uid)?;
        let principal = principal(child.principal.clone());
        let command = Command::Cancel { principal, reason, compensate: true };
        let refusal = match self.ask(&led, &key, Some(uid), Ask::Command(command)).await {
            Ok(_) => None,
            Err(Refusal::Rejected(rejection)) => Some(rejection),
            Err(other) => return Err(errors::refused(&child.namespace, &child.run_id, &other)),
        };
        if let Some(end) = self.end_of(led.shard, uid)? {
            return Ok(peer::CancelChildResponse { ended: Some(end) });
        }
        if refusal == Some(Rejection::UnknownRun) {
            // It is not there yet: it is recorded as one that began and ended at once, which a late start will find. A workflow that is not there
            // can't be started late either.
            if !child.workflow.is_empty()
                && let Ok(start) = self.start_of(&child, uid).await?
            {
                let buried = self.ask(&led, &key, None, Ask::Bury(Box::new(start))).await;
                if let Err(other @ (Refusal::NotLeader { .. } | Refusal::OutcomeUnknown | Refusal::Broken(_))) = buried {
                    return Err(errors::refused(&child.namespace, &child.run_id, &other));
                }
            }
            confirm(&led).await?;
            let never = peer::ChildEnd { status: v1::RunStatus::Terminated.into(), output: None, failure: None };
            return Ok(peer::CancelChildResponse { ended: Some(self.end_of(led.shard, uid)?.unwrap_or(never)) });
        }
        Ok(peer::CancelChildResponse { ended: None })
    }

    async fn compensate_here(
        &self,
        led: LedShard,
        key: RunKey,
        message: peer::CompensateChildRequest,
    ) -> Result<peer::CompensateChildResponse, Status> {
        let uid = uid(&message.run_uid)?;
        let notify = Some(message.notify.as_str().into());
        let principal = principal(message.principal.clone());
        let command = Command::Compensate { principal, reason: message.reason.clone(), notify };
        let rejection = match self.ask(&led, &key, Some(uid), Ask::Command(command)).await {
            Ok(_) => return Ok(peer::CompensateChildResponse::default()),
            Err(Refusal::Rejected(rejection)) => rejection,
            Err(other) => return Err(errors::refused(&message.namespace, &message.run_id, &other)),
        };
        confirm(&led).await?;
        match rejection {
            // An earlier delivery of the same: it tells its parent when it is done.
            Rejection::RunActive(_) => Ok(peer::CompensateChildResponse::default()),
            Rejection::NothingToCompensate(_) => Ok(peer::CompensateChildResponse { refused: None, ended: self.end_of(led.shard, uid)? }),
            other => {
                let failure = refusal(failure_type::CHILD_REFUSED, format!("run {:?} can't undo what it did: {other}", message.run_id));
                Ok(peer::CompensateChildResponse { refused: Some(to_proto::failure(&failure)), ended: None })
            }
        }
    }

    async fn note_end_here(
        &self,
        led: LedShard,
        key: RunKey,
        message: peer::ChildEndedRequest,
    ) -> Result<peer::ChildEndedResponse, Status> {
        let parent = message.parent.unwrap_or_default();
        let malformed = || errors::invalid(vec![("end".to_owned(), "is missing or can't be read".to_owned())]);
        let (status, output, failure) = message.end.and_then(from_proto::child_end).ok_or_else(malformed)?;
        let (child, step) = (uid(&message.child_uid)?, parent.step.as_str().into());
        let parent_uid = uid_of_text(&parent.run_uid)?;
        let command = Command::ChildEnded { step, child, status, output, failure };
        match self.ask(&led, &key, Some(parent_uid), Ask::Command(command)).await {
            Ok(_) => {}
            // It does not wait for that child, or is gone.
            Err(Refusal::Rejected(_)) => confirm(&led).await?,
            Err(other) => return Err(errors::refused(&parent.namespace, &parent.run_id, &other)),
        }
        Ok(peer::ChildEndedResponse {})
    }

    /// All that a child is started with; a failure if its workflow can't be started.
    async fn start_of(&self, child: &peer::ChildRun, uid: RunUid) -> Result<Result<StartAsk, Box<Failure>>, Status> {
        let found = start::version_of(&self.context, &child.namespace, &child.workflow, child.version).await;
        let version = match found {
            Ok(version) => version,
            Err(status) if status.code() == Code::NotFound => {
                return Ok(Err(Box::new(refusal(failure_type::CHILD_REFUSED, status.message().to_owned()))));
            }
            Err(status) => return Err(status),
        };
        let plan = self.context.plans.compile(&version.digest, version.workflow.clone()).map_err(|error| errors::internal(&error))?;
        if let Err(status) = schemas::check_input(&plan, child.input.as_ref()) {
            return Ok(Err(Box::new(refusal(failure_type::CHILD_REFUSED, status.message().to_owned()))));
        }
        let now = self.context.clock.now();
        let parent = child.parent.clone().unwrap_or_default();
        let parent_uid = uid_of_text(&parent.run_uid)?;
        let info = RunInfo {
            namespace: child.namespace.clone(),
            run_id: child.run_id.clone(),
            uid,
            workflow: child.workflow.clone(),
            version: version.version,
            digest: version.digest,
            input: child.input.clone().map(from_proto::payload).unwrap_or_default(),
            labels: plan.labels.clone(),
            principal: principal(child.principal.clone()),
            request_id: uid.to_string(),
            traceparent: child.traceparent.clone(),
            tracestate: child.tracestate.clone(),
            steps_total: u32::try_from(plan.steps.len()).unwrap_or(u32::MAX),
            deadline: plan.timeout.map(|timeout| now.plus(timeout)),
            retention: plan.retention,
            parent: Some(Parent { namespace: parent.namespace, run_id: parent.run_id, uid: parent_uid, step: parent.step }),
            root_principal: child.root_principal.clone().map(codec::principal_from_proto),
            pinned: start::pinned(&self.context, &plan)?,
        };
        Ok(Ok(StartAsk { info, definition: version.workflow, on_conflict: OnConflict::Reject, on_reuse: OnReuse::Allow }))
    }

    /// How a run ended, if it has.
    fn end_of(&self, shard: GroupId, uid: RunUid) -> Result<Option<peer::ChildEnd>, Status> {
        let head = self.context.store(shard).run_head(uid).map_err(|error| errors::internal(&error))?;
        Ok(head.filter(|head| head.status.is_final()).map(|head| to_proto::child_end(&head)))
    }

    async fn ask(&self, led: &LedShard, key: &RunKey, uid: Option<RunUid>, ask: Ask) -> Result<Answer, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let reply = Reply::new(move |answer| drop(sender.send(answer)));
        led.deliver(key, RunRequest { uid, ask, credit: None, reply, permit: None });
        receiver.await.unwrap_or(Err(Refusal::OutcomeUnknown))
    }
}

/// Answers once the leader of a shard knows what group 0 has decided up to a revision, and a quorum has confirmed after that that it still leads.
pub(super) async fn learn_revision(
    context: &ApiContext,
    journey: &Journey,
    message: peer::LearnRevisionRequest,
) -> Result<peer::LearnRevisionResponse, Status> {
    let peer::LearnRevisionRequest { shard, revision } = message;
    let Some(group) = context.host.group(shard) else {
        let channel = run_service::holder(context, shard, journey)?;
        return Ok(client(channel).learn_revision(journey.relay(message)).await?.into_inner());
    };
    let here = || async {
        let led = context.led.get(shard)?;
        context.system.subscribe().wait_for(|view| view.revision >= revision).await.ok()?;
        led.confirmed().await.then(|| Ok(peer::LearnRevisionResponse {}))
    };
    let there = |channel| async { Ok(client(channel).learn_revision(journey.onward(message)).await?.into_inner()) };
    forward::by_leader(context.way_with_room(&group), journey, true, here, there).await
}

/// Who asks, as another node knows it.
fn principal(principal: Option<v1::Principal>) -> Principal {
    principal.map(codec::principal_from_proto).unwrap_or_default()
}

/// A refusal is a read: it is said only if a quorum confirms that this leader still knows the truth.
async fn confirm(led: &LedShard) -> Result<(), Status> {
    if led.confirmed().await { Ok(()) } else { Err(errors::no_leader(led.shard)) }
}

fn refusal(kind: &str, message: String) -> Failure {
    Failure { kind: kind.to_owned(), message, non_retryable: true, nothing_done: true, ..Failure::default() }
}

fn uid(bytes: &[u8]) -> Result<RunUid, Status> {
    RunUid::from_bytes(bytes).ok_or_else(|| errors::invalid(vec![("run_uid".to_owned(), "has 16 bytes".to_owned())]))
}

/// A uid as the API writes it.
fn uid_of_text(text: &str) -> Result<RunUid, Status> {
    let malformed = |_| errors::invalid(vec![("parent.run_uid".to_owned(), "has 32 hexadecimal digits".to_owned())]);
    u128::from_str_radix(text, 16).map(RunUid).map_err(malformed)
}
