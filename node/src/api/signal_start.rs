//! A signal for a run that is started first unless it is going on.
//!
//! Two commands for one run, by its leader: a start that is satisfied by a run that goes on, and the signal. Both are recognised when they are
//! repeated, so a call that was cut between them is finished by its repetition.

use quorus_engine::Command;
use quorus_proto::v1;
use quorus_raft::GroupId;
use tonic::{Request, Response, Status};

use super::{
    ApiContext, change, errors,
    forward::{self, Journey},
    lifecycle_service, run_service, schemas, start,
};
use crate::leader::{Ask, RunKey};

/// Starts and signals.
pub(super) async fn signal_with_start(
    context: &ApiContext,
    request: Request<v1::SignalWithStartRunRequest>,
) -> Result<Response<v1::SignalWithStartRunResponse>, Status> {
    let journey = Journey::of(&request);
    let mut message = request.into_inner();
    let run = message.start.get_or_insert_default();
    if run.run_id.is_empty() {
        return Err(errors::invalid(vec![("start.run_id".into(), "is required".into())]));
    }
    start::complete(run, &journey)?;
    run.set_on_conflict(v1::ConflictPolicy::UseExisting);
    if message.signal_id.is_empty() {
        message.signal_id.clone_from(&run.request_id);
    }
    let run = run.clone();
    let command = lifecycle_service::signal(&message.name, &message.signal_id, message.payload.clone(), run.principal.clone())?;
    let (shard, group) = context.shard_of(&run.namespace, &run.run_id)?;
    let Some(group) = group else {
        let _place = context.admission.waiting()?;
        let channel = run_service::holder(context, shard, &journey)?;
        return change::lifecycle(channel).signal_with_start_run(journey.relay(message)).await;
    };
    let here = || async {
        let led = context.led.get(shard)?;
        if let Err(status) = fits(context, shard, &run, &command).await {
            return Some(Err(status));
        }
        let started = match start::start(context, &led, &run).await {
            Ok(started) => started,
            Err(status) => return Some(Err(status)),
        };
        let key = RunKey::new(&run.namespace, &run.run_id);
        // No room for the second half: the first one was carried out, so this is no refusal.
        let Ok(permit) = context.admission.change() else { return Some(Err(errors::outcome_unknown())) };
        Some(match change::ask(&led, &key, Ask::Command(command.clone()), Some(permit)).await {
            Ok(_) => context
                .read_run(shard, &run.namespace, &run.run_id)
                .map(|run| v1::SignalWithStartRunResponse { run, existing: started.existing }),
            Err(refusal) => Err(change::refuse(&led, &run.namespace, &run.run_id, refusal).await),
        })
    };
    let there =
        |channel| async { Ok(change::lifecycle(channel).signal_with_start_run(journey.onward(message.clone())).await?.into_inner()) };
    forward::by_leader(context.way(&group), &journey, true, here, there).await.map(Response::new)
}

/// Checks the payload before anything is started: against the workflow of the run that is there, or would be started.
async fn fits(context: &ApiContext, shard: GroupId, run: &v1::StartRunRequest, command: &Command) -> Result<(), Status> {
    let Command::Signal { name, payload, .. } = command else { return Ok(()) };
    let store = context.store(shard);
    let uid = store.current_uid(&run.namespace, &run.run_id).map_err(|error| errors::internal(&error))?;
    let going_on = match uid {
        Some(uid) => store.run_summary(uid).map_err(|error| errors::internal(&error))?.is_some_and(|run| !run.head.status.is_final()),
        None => false,
    };
    if going_on {
        return schemas::check_signal_of_run(context, &store, (&run.namespace, &run.run_id), (name, payload.as_ref()));
    }
    let version = start::definition(context, run).await?;
    let plan = context.plans.compile(&version.digest, version.workflow).map_err(|error| errors::internal(&error))?;
    schemas::check_signal(&plan, name, payload.as_ref())
}
