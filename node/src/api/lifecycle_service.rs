//! What people and programs do to a run that is going on, or that failed. Each change goes the way of [`change`].

use std::sync::Arc;

use quorus_engine::{Command, Payload, StepId};
use quorus_proto::v1::{self, lifecycle_service_server::LifecycleService};
use tonic::{Code, Request, Response, Status};

use super::{
    ApiContext, approvals, change, errors,
    errors::reason,
    explain,
    forward::{self, Journey},
    from_proto, limits, migrate, run_service, signal_start,
};

/// Characters of a remark or a reason.
const TEXT_CHARS_MAX: usize = 4_096;

/// Serves the changes of runs.
pub struct Lifecycle {
    pub(crate) context: Arc<ApiContext>,
}

#[tonic::async_trait]
impl LifecycleService for Lifecycle {
    async fn signal_run(&self, mut request: Request<v1::SignalRunRequest>) -> Result<Response<v1::SignalRunResponse>, Status> {
        let message = request.get_mut();
        if message.signal_id.is_empty() {
            message.signal_id = uuid::Uuid::new_v4().to_string();
        }
        change::change(&self.context, request, |message| {
            signal(&message.name, &message.signal_id, message.payload.clone(), message.principal.clone())
        })
        .await
    }

    async fn signal_with_start_run(
        &self,
        request: Request<v1::SignalWithStartRunRequest>,
    ) -> Result<Response<v1::SignalWithStartRunResponse>, Status> {
        signal_start::signal_with_start(&self.context, request).await
    }

    async fn approve_step(&self, request: Request<v1::ApproveStepRequest>) -> Result<Response<v1::ApproveStepResponse>, Status> {
        change::change(&self.context, request, |message| {
            let mut check = Check::of_reason(&message.reason);
            check.step(&message.step);
            check.must(!message.reject || !message.reason.is_empty(), "reason", "is required for a rejection");
            check.done()?;
            Ok(Command::Approve {
                step: StepId::from(message.step.as_str()),
                approve: !message.reject,
                principal: from_proto::principal(message.principal.clone()),
                reason: message.reason.clone(),
            })
        })
        .await
    }

    async fn list_approvals(&self, request: Request<v1::ListApprovalsRequest>) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        let journey = Journey::of(&request);
        let _permit = self.context.admission.read()?;
        approvals::list(&self.context, &journey, request.into_inner()).await.map(Response::new)
    }

    async fn pause_run(&self, request: Request<v1::PauseRunRequest>) -> Result<Response<v1::PauseRunResponse>, Status> {
        change::change(&self.context, request, |message| {
            Check::of_reason(&message.reason).done()?;
            Ok(Command::Pause { principal: from_proto::principal(message.principal.clone()), reason: message.reason.clone() })
        })
        .await
    }

    async fn resume_run(&self, request: Request<v1::ResumeRunRequest>) -> Result<Response<v1::ResumeRunResponse>, Status> {
        change::change(&self.context, request, |message| {
            Check::of_reason(&message.reason).done()?;
            Ok(Command::Resume { principal: from_proto::principal(message.principal.clone()), reason: message.reason.clone() })
        })
        .await
    }

    async fn retry_run(&self, request: Request<v1::RetryRunRequest>) -> Result<Response<v1::RetryRunResponse>, Status> {
        change::change(&self.context, request, |message| {
            Check::of_reason(&message.reason).done()?;
            Ok(Command::Retry { principal: from_proto::principal(message.principal.clone()), reason: message.reason.clone() })
        })
        .await
    }

    async fn restart_run(&self, request: Request<v1::RestartRunRequest>) -> Result<Response<v1::RestartRunResponse>, Status> {
        change::change(&self.context, request, |message| {
            let mut check = Check::of_reason(&message.reason);
            check.step(&message.step);
            check.done()?;
            Ok(Command::RestartFrom {
                step: StepId::from(message.step.as_str()),
                principal: from_proto::principal(message.principal.clone()),
                reason: message.reason.clone(),
            })
        })
        .await
    }

    async fn skip_step(&self, request: Request<v1::SkipStepRequest>) -> Result<Response<v1::SkipStepResponse>, Status> {
        change::change(&self.context, request, |message| {
            let mut check = Check::of_reason(&message.reason);
            check.step(&message.step);
            check.must(!message.reason.is_empty(), "reason", "is required");
            check.done()?;
            Ok(Command::Skip {
                step: StepId::from(message.step.as_str()),
                output: payload("output", message.output.clone())?,
                principal: from_proto::principal(message.principal.clone()),
                reason: message.reason.clone(),
            })
        })
        .await
    }

    async fn compensate_run(&self, request: Request<v1::CompensateRunRequest>) -> Result<Response<v1::CompensateRunResponse>, Status> {
        change::change(&self.context, request, |message| {
            Check::of_reason(&message.reason).done()?;
            Ok(Command::Compensate {
                principal: from_proto::principal(message.principal.clone()),
                reason: message.reason.clone(),
                notify: None,
            })
        })
        .await
    }

    async fn migrate_run(&self, mut request: Request<v1::MigrateRunRequest>) -> Result<Response<v1::MigrateRunResponse>, Status> {
        let journey = Journey::of(&request);
        let message = request.get_mut();
        run_service::checked(&mut message.namespace, &message.run_id)?;
        Check::of_reason(&message.reason).done()?;
        let (shard, group) = self.context.shard_of(&message.namespace, &message.run_id)?;
        let Some(group) = group else {
            let channel = run_service::holder(&self.context, shard, &journey)?;
            return change::lifecycle(channel).migrate_run(journey.relay(request.into_inner())).await;
        };
        let target = migrate::prepare(&self.context, shard, &group, &journey, message).await?;
        if message.dry_run {
            return target.dry_run(&self.context, shard, message);
        }
        let mut answer = change::change(&self.context, request, |message| Ok(target.command(message))).await?;
        target.describe(answer.get_mut());
        Ok(answer)
    }

    async fn annotate_run(&self, request: Request<v1::AnnotateRunRequest>) -> Result<Response<v1::AnnotateRunResponse>, Status> {
        change::change(&self.context, request, |message| {
            let mut check = Check::default();
            let length = message.text.chars().count();
            check.must((1..=TEXT_CHARS_MAX).contains(&length), "text", "must have 1 to 4096 characters");
            check.done()?;
            Ok(Command::Annotate { principal: from_proto::principal(message.principal.clone()), text: message.text.clone() })
        })
        .await
    }

    async fn explain_run(&self, request: Request<v1::ExplainRunRequest>) -> Result<Response<v1::ExplainRunResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        run_service::checked(&mut message.namespace, &message.run_id)?;
        let _permit = self.context.admission.read()?;
        let (shard, group) = self.context.shard_of(&message.namespace, &message.run_id)?;
        let Some(group) = group else {
            let channel = run_service::holder(&self.context, shard, &journey)?;
            return change::lifecycle(channel).explain_run(journey.relay(message)).await;
        };
        // Who has room is known where the shard is led, so that is where a queued step is explained.
        let here = || async {
            self.context.led.get(shard)?;
            Some(match run_service::fresh(&group, &journey).await {
                Ok(()) => explain::explain(&self.context, shard, &message),
                Err(status) => Err(status),
            })
        };
        let there = |channel| async { Ok(change::lifecycle(channel).explain_run(journey.onward(message.clone())).await?.into_inner()) };
        forward::by_leader(self.context.way_with_room(&group), &journey, true, here, there).await.map(Response::new)
    }
}

/// The command of a signal.
pub(super) fn signal(name: &str, id: &str, carried: Option<v1::Payload>, principal: Option<v1::Principal>) -> Result<Command, Status> {
    let mut check = Check::default();
    check.must(limits::is_name(name), "name", "must have 1 to 200 letters, digits, `.`, `_`, `-` or `:`");
    check.must(id.len() <= limits::NAME_CHARS_MAX, "signal_id", "has at most 200 characters");
    check.done()?;
    Ok(Command::Signal {
        name: name.to_owned(),
        id: id.to_owned(),
        payload: payload("payload", carried)?,
        principal: from_proto::principal(principal),
    })
}

/// A payload within its bound; one that says that it is JSON is.
fn payload(field: &str, payload: Option<v1::Payload>) -> Result<Option<Payload>, Status> {
    let Some(payload) = payload else { return Ok(None) };
    if payload.data.len() > Payload::BYTES_MAX {
        let message = format!("{field}: is larger than 2 MiB; pass a reference to it");
        return Err(errors::status(Code::InvalidArgument, reason::PAYLOAD_TOO_LARGE, message));
    }
    let is_json = payload.encoding.is_empty() || payload.encoding == "json";
    if is_json
        && !payload.data.is_empty()
        && let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&payload.data)
    {
        return Err(errors::invalid(vec![(field.to_owned(), format!("is not JSON: {error}"))]));
    }
    Ok(Some(from_proto::payload(payload)))
}

/// What is wrong with a request.
#[derive(Default)]
struct Check(Vec<(String, String)>);

impl Check {
    fn of_reason(reason: &str) -> Self {
        let mut check = Self::default();
        check.must(reason.chars().count() <= TEXT_CHARS_MAX, "reason", "has at most 4096 characters");
        check
    }

    fn must(&mut self, ok: bool, field: &str, what: &str) {
        if !ok {
            self.0.push((field.to_owned(), what.to_owned()));
        }
    }

    fn step(&mut self, step: &str) {
        self.must(!step.is_empty(), "step", "is required");
        self.must(step.len() <= 4 * TEXT_CHARS_MAX, "step", "is too long");
    }

    fn done(self) -> Result<(), Status> {
        if self.0.is_empty() { Ok(()) } else { Err(errors::invalid(self.0)) }
    }
}
