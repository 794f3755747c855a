//! A typed method per RPC of LifecycleService. Each change carries a request id, so that its repetitions change nothing twice.

use quorus_proto::v1::{self, lifecycle_service_client::LifecycleServiceClient};
use tonic::transport::Channel;

use super::Client;
use crate::{Error, MESSAGE_BYTES_MAX};

fn lifecycle(channel: Channel) -> LifecycleServiceClient<Channel> {
    LifecycleServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn fill_id(id: &mut String) {
    if id.is_empty() {
        *id = uuid::Uuid::new_v4().to_string();
    }
}

/// Methods whose requests have the same fields for where, who and which, and whose answer is a run.
macro_rules! changes {
    ($($(#[$doc:meta])* $method:ident($request:ident, $id:ident);)*) => {
        impl Client { $(
            $(#[$doc])*
            pub async fn $method(&self, mut request: v1::$request) -> Result<v1::Run, Error> {
                self.fill_namespace(&mut request.namespace);
                self.fill_principal(&mut request.principal);
                fill_id(&mut request.$id);
                let answer = self.call(request, |channel, request| async move { lifecycle(channel).$method(request).await }).await?;
                answer.run.ok_or(Error::Incomplete("run"))
            }
        )* }
    };
}

changes! {
    /// Queues a signal for a run.
    signal_run(SignalRunRequest, signal_id);
    /// Approves or rejects a waiting approval step.
    approve_step(ApproveStepRequest, request_id);
    /// Begins no new attempts of a run until it is resumed.
    pause_run(PauseRunRequest, request_id);
    /// Ends a pause.
    resume_run(ResumeRunRequest, request_id);
    /// Goes on from the failed steps.
    retry_run(RetryRunRequest, request_id);
    /// Undoes a step and what depends on it, then executes them again.
    restart_run(RestartRunRequest, request_id);
    /// Ends a waiting step as skipped.
    skip_step(SkipStepRequest, request_id);
    /// Undoes what a run did.
    compensate_run(CompensateRunRequest, request_id);
    /// Writes a remark into a run's history.
    annotate_run(AnnotateRunRequest, request_id);
}

impl Client {
    /// Queues a signal for a run, which is started first unless it is going on.
    pub async fn signal_with_start_run(&self, mut request: v1::SignalWithStartRunRequest) -> Result<v1::SignalWithStartRunResponse, Error> {
        let start = request.start.get_or_insert_default();
        self.fill_namespace(&mut start.namespace);
        self.fill_principal(&mut start.principal);
        fill_id(&mut start.request_id);
        if request.signal_id.is_empty() {
            request.signal_id.clone_from(&start.request_id);
        }
        let answer = self.call(request, |channel, request| async move { lifecycle(channel).signal_with_start_run(request).await }).await?;
        if answer.run.is_none() {
            return Err(Error::Incomplete("run"));
        }
        Ok(answer)
    }

    /// Moves a run to another version of its workflow, or tells what that would mean.
    pub async fn migrate_run(&self, mut request: v1::MigrateRunRequest) -> Result<v1::MigrateRunResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        fill_id(&mut request.request_id);
        self.call(request, |channel, request| async move { lifecycle(channel).migrate_run(request).await }).await
    }

    /// Tells what each waiting step of a run waits for.
    pub async fn explain_run(&self, mut request: v1::ExplainRunRequest) -> Result<v1::ExplainRunResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { lifecycle(channel).explain_run(request).await }).await
    }

    /// Returns a page of the approvals that wait.
    pub async fn list_approvals(&self, mut request: v1::ListApprovalsRequest) -> Result<v1::ListApprovalsResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { lifecycle(channel).list_approvals(request).await }).await
    }
}
