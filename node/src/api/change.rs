//! A change of a run: the one way of every method that changes a run which exists.
//!
//! The request is completed and checked where it arrives, brought to the leader of the run's shard, and carried out there as a command. A method
//! with a request id is carried out once, however often it is sent.

use quorus_engine::Command;
use quorus_proto::v1::{self, lifecycle_service_client::LifecycleServiceClient};
use quorus_raft::GroupId;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, transport::Channel};

use super::{
    ApiContext, MESSAGE_BYTES_MAX, errors,
    forward::{self, Journey},
    limits, run_service, schemas,
};
use crate::{
    leader::{Answer, Ask, LedShard, Refusal, Reply, Request as RunRequest, RunKey},
    store::id_of_change,
};

/// A request that changes a run.
pub(super) trait RunChange: Clone + Send + Sync + 'static {
    /// The message that answers it.
    type Answer: Send;
    /// Names the method among the requests that are remembered.
    const METHOD: &'static str;
    /// Namespace and id of the run.
    fn run(&mut self) -> (&mut String, &str);
    /// The request's id, if the method has one. The others are carried out again when repeated, and say themselves why that is the same.
    fn request_id(&mut self) -> Option<&mut String>;
    /// The answer.
    fn answer(run: Option<v1::Run>) -> Self::Answer;
    /// Calls the method on another node.
    fn call(channel: Channel, request: Request<Self>) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;
}

/// `Request => Response: client.method, once;` for a request with a request id, without `once` for one without.
macro_rules! run_changes {
    ($($request:ident => $response:ident: $client:path, $method:ident $(, $once:ident)?;)*) => { $(
        impl RunChange for v1::$request {
            type Answer = v1::$response;
            const METHOD: &'static str = stringify!($method);

            fn run(&mut self) -> (&mut String, &str) {
                (&mut self.namespace, &self.run_id)
            }

            fn request_id(&mut self) -> Option<&mut String> {
                run_changes!(@request_id self $($once)?)
            }

            #[allow(clippy::needless_update, reason = "some answers have more fields, most have not")]
            fn answer(run: Option<v1::Run>) -> Self::Answer {
                v1::$response { run, ..v1::$response::default() }
            }

            async fn call(channel: Channel, request: Request<Self>) -> Result<Response<Self::Answer>, Status> {
                $client(channel).$method(request).await
            }
        }
    )* };
    (@request_id $self:ident once) => { Some(&mut $self.request_id) };
    (@request_id $self:ident) => { None };
}

run_changes! {
    CancelRunRequest => CancelRunResponse: run_service::client, cancel_run;
    TerminateRunRequest => TerminateRunResponse: run_service::client, terminate_run;
    SignalRunRequest => SignalRunResponse: lifecycle, signal_run;
    ApproveStepRequest => ApproveStepResponse: lifecycle, approve_step, once;
    PauseRunRequest => PauseRunResponse: lifecycle, pause_run, once;
    ResumeRunRequest => ResumeRunResponse: lifecycle, resume_run, once;
    RetryRunRequest => RetryRunResponse: lifecycle, retry_run, once;
    RestartRunRequest => RestartRunResponse: lifecycle, restart_run, once;
    SkipStepRequest => SkipStepResponse: lifecycle, skip_step, once;
    CompensateRunRequest => CompensateRunResponse: lifecycle, compensate_run, once;
    MigrateRunRequest => MigrateRunResponse: lifecycle, migrate_run, once;
    AnnotateRunRequest => AnnotateRunResponse: lifecycle, annotate_run, once;
}

/// The lifecycle methods of another node.
pub(super) fn lifecycle(channel: Channel) -> LifecycleServiceClient<Channel> {
    LifecycleServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Carries a request out on the leader of its run's shard, as the command that `command` makes of it.
pub(super) async fn change<M: RunChange>(
    context: &ApiContext,
    request: Request<M>,
    command: impl FnOnce(&M) -> Result<Command, Status>,
) -> Result<Response<M::Answer>, Status> {
    let journey = Journey::of(&request);
    let mut message = request.into_inner();
    let (namespace, run_id) = message.run();
    run_service::checked(namespace, run_id)?;
    let (namespace, run_id) = (namespace.clone(), run_id.to_owned());
    let request_id = match message.request_id() {
        Some(id) if id.is_empty() => {
            *id = uuid::Uuid::new_v4().to_string();
            Some(id.clone())
        }
        Some(id) if id.len() > limits::NAME_CHARS_MAX => {
            return Err(errors::invalid(vec![("request_id".into(), "has at most 200 characters".into())]));
        }
        id => id.cloned(),
    };
    let command = command(&message)?;
    let (shard, group) = context.shard_of(&namespace, &run_id)?;
    let Some(group) = group else {
        let _place = context.admission.waiting()?;
        let channel = run_service::holder(context, shard, &journey)?;
        return M::call(channel, journey.relay(message)).await;
    };
    let here = || async {
        let ask = match &request_id {
            Some(id) => Ask::Change { request_id: id_of_change(M::METHOD, id), command: command.clone() },
            None => Ask::Command(command.clone()),
        };
        Some(here(context, shard, &namespace, &run_id, ask).await?.map(M::answer))
    };
    let there = |channel| async { Ok(M::call(channel, journey.onward(message.clone())).await?.into_inner()) };
    forward::by_leader(context.way(&group), &journey, true, here, there).await.map(Response::new)
}

/// Carries out a change, if this node leads the shard; the run as it is then.
async fn here(context: &ApiContext, shard: GroupId, namespace: &str, run_id: &str, ask: Ask) -> Option<Result<Option<v1::Run>, Status>> {
    let led = context.led.get(shard)?;
    let permit = match context.admission.change() {
        Ok(permit) => permit,
        Err(status) => return Some(Err(status)),
    };
    if let Ask::Command(Command::Signal { name, payload, .. }) = &ask
        && let Err(status) = schemas::check_signal_of_run(context, &context.store(shard), (namespace, run_id), (name, payload.as_ref()))
    {
        return Some(Err(status));
    }
    Some(match self::ask(&led, &RunKey::new(namespace, run_id), ask, Some(permit)).await {
        Ok(_) => context.read_run(shard, namespace, run_id),
        Err(refusal) => Err(refuse(&led, namespace, run_id, refusal).await),
    })
}

/// Asks a run's actor.
pub(super) async fn ask(
    led: &LedShard,
    key: &RunKey,
    ask: Ask,
    permit: Option<tokio::sync::OwnedSemaphorePermit>,
) -> Result<Answer, Refusal> {
    let (sender, receiver) = oneshot::channel();
    // The caller may have gone; then nobody hears the answer.
    let reply = Reply::new(move |answer| drop(sender.send(answer)));
    led.deliver(key, RunRequest { uid: None, ask, credit: None, reply, permit });
    receiver.await.unwrap_or(Err(Refusal::OutcomeUnknown))
}

/// A refusal is a read: it is said only if a quorum confirms that this leader still knows the truth.
pub(super) async fn refuse(led: &LedShard, namespace: &str, run_id: &str, refusal: Refusal) -> Status {
    if matches!(refusal, Refusal::Rejected(_)) && !led.confirmed().await {
        return errors::no_leader(led.shard);
    }
    errors::refused(namespace, run_id, &refusal)
}
