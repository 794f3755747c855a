//! A typed method per RPC. Each fills in what requests leave out (namespace, principal, request id) and unwraps what is always there.

use quorus_proto::v1::{
    self, cluster_service_client::ClusterServiceClient, run_service_client::RunServiceClient,
    workflow_service_client::WorkflowServiceClient,
};
use tonic::{Code, Request, Status, Streaming, client::Grpc, codec::Codec, codegen::http::uri::PathAndQuery, transport::Channel};

use super::Client;
use crate::{Error, MESSAGE_BYTES_MAX};

fn workflows(channel: Channel) -> WorkflowServiceClient<Channel> {
    WorkflowServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub(super) fn runs(channel: Channel) -> RunServiceClient<Channel> {
    RunServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn cluster(channel: Channel) -> ClusterServiceClient<Channel> {
    ClusterServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

impl Client {
    pub(super) fn fill_namespace(&self, namespace: &mut String) {
        if namespace.is_empty() {
            namespace.clone_from(&self.options().namespace);
        }
    }

    pub(super) fn fill_principal(&self, principal: &mut Option<v1::Principal>) {
        if principal.is_none() {
            principal.clone_from(&self.options().principal);
        }
    }

    /// Makes a new version of a workflow. Repeating it finds the same content and changes nothing.
    pub async fn apply_workflow(&self, mut request: v1::ApplyWorkflowRequest) -> Result<v1::ApplyWorkflowResponse, Error> {
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { workflows(channel).apply_workflow(request).await }).await
    }

    /// Returns a version of a workflow.
    pub async fn get_workflow(&self, mut request: v1::GetWorkflowRequest) -> Result<v1::WorkflowVersion, Error> {
        self.fill_namespace(&mut request.namespace);
        let answer = self.call(request, |channel, request| async move { workflows(channel).get_workflow(request).await }).await?;
        answer.workflow.ok_or(Error::Incomplete("workflow"))
    }

    /// Returns a page of the list of workflows.
    pub async fn list_workflows(&self, mut request: v1::ListWorkflowsRequest) -> Result<v1::ListWorkflowsResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { workflows(channel).list_workflows(request).await }).await
    }

    /// Returns a page of the list of a workflow's versions, the newest first.
    pub async fn list_workflow_versions(
        &self,
        mut request: v1::ListWorkflowVersionsRequest,
    ) -> Result<v1::ListWorkflowVersionsResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { workflows(channel).list_workflow_versions(request).await }).await
    }

    /// Parks the runs of a workflow that have not begun, and those that are started from now on. Repeating it changes nothing.
    pub async fn pause_workflow(&self, mut request: v1::PauseWorkflowRequest) -> Result<v1::PauseWorkflowResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { workflows(channel).pause_workflow(request).await }).await
    }

    /// Lets the parked runs of a workflow begin. Repeating it changes nothing.
    pub async fn resume_workflow(&self, mut request: v1::ResumeWorkflowRequest) -> Result<v1::ResumeWorkflowResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { workflows(channel).resume_workflow(request).await }).await
    }

    /// Deletes a workflow. When a try whose answer got lost is repeated, "not found" means that it had worked.
    pub async fn delete_workflow(&self, mut request: v1::DeleteWorkflowRequest) -> Result<v1::DeleteWorkflowResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        let op = |channel, request| async move { workflows(channel).delete_workflow(request).await };
        let answer = self.call_noting_repeats(request, op).await;
        match answer.result {
            Err(error) if answer.repeated && error.api().is_some_and(|error| error.code == Code::NotFound) => {
                Ok(v1::DeleteWorkflowResponse::default())
            }
            result => result,
        }
    }

    /// Checks a workflow on a node and shows its plan. Stores nothing.
    pub async fn plan_workflow(&self, request: v1::PlanWorkflowRequest) -> Result<v1::PlanWorkflowResponse, Error> {
        self.call(request, |channel, request| async move { workflows(channel).plan_workflow(request).await }).await
    }

    /// Starts a run. Without a request id it makes one, so that its own repetitions start nothing twice.
    pub async fn start_run(&self, mut request: v1::StartRunRequest) -> Result<v1::StartRunResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        if request.request_id.is_empty() {
            request.request_id = uuid::Uuid::new_v4().to_string();
        }
        if request.traceparent.is_empty() {
            request.traceparent = self.options().traceparent.clone().unwrap_or_default();
        }
        let answer = self.call(request, |channel, request| async move { runs(channel).start_run(request).await }).await?;
        if answer.run.is_none() {
            return Err(Error::Incomplete("run"));
        }
        Ok(answer)
    }

    /// Returns a run with its steps.
    pub async fn get_run(&self, mut request: v1::GetRunRequest) -> Result<v1::Run, Error> {
        self.fill_namespace(&mut request.namespace);
        let answer = self.call(request, |channel, request| async move { runs(channel).get_run(request).await }).await?;
        answer.run.ok_or(Error::Incomplete("run"))
    }

    /// Returns a page of the list of runs.
    pub async fn list_runs(&self, mut request: v1::ListRunsRequest) -> Result<v1::ListRunsResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { runs(channel).list_runs(request).await }).await
    }

    /// Returns a page of a run's history.
    pub async fn run_history(&self, mut request: v1::GetRunHistoryRequest) -> Result<v1::GetRunHistoryResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { runs(channel).get_run_history(request).await }).await
    }

    /// Stops a run in order. Repeating it changes nothing.
    pub async fn cancel_run(&self, mut request: v1::CancelRunRequest) -> Result<v1::Run, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        let answer = self.call(request, |channel, request| async move { runs(channel).cancel_run(request).await }).await?;
        answer.run.ok_or(Error::Incomplete("run"))
    }

    /// Stops a run at once. Repeating it changes nothing.
    pub async fn terminate_run(&self, mut request: v1::TerminateRunRequest) -> Result<v1::Run, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        let answer = self.call(request, |channel, request| async move { runs(channel).terminate_run(request).await }).await?;
        answer.run.ok_or(Error::Incomplete("run"))
    }

    /// Returns what the node that answers knows of the cluster.
    pub async fn cluster_status(&self) -> Result<v1::GetClusterStatusResponse, Error> {
        let request = v1::GetClusterStatusRequest {};
        self.call(request, |channel, request| async move { cluster(channel).get_cluster_status(request).await }).await
    }
}

/// Calls by path, for messages whose types are known only at run time.
impl Client {
    /// Calls a method with one answer. Only for what can be repeated without harm, as everything in this API can, given a request id.
    pub async fn unary<C>(&self, path: &str, request: C::Encode, codec: C) -> Result<C::Decode, Error>
    where
        C: Codec + Clone + Send + Sync + 'static,
        C::Encode: Clone + Send + Sync,
        C::Decode: Send + Sync,
    {
        let path = parse_path(path)?;
        let op = |channel, request| {
            let (path, codec) = (path.clone(), codec.clone());
            async move {
                let mut grpc = raw(channel).await?;
                grpc.unary(request, path, codec).await
            }
        };
        self.call(request, op).await
    }

    /// Calls a method that answers with a stream.
    pub async fn server_streaming<C>(&self, path: &str, request: C::Encode, codec: C) -> Result<Streaming<C::Decode>, Error>
    where
        C: Codec + Clone + Send + Sync + 'static,
        C::Encode: Clone + Send + Sync,
        C::Decode: Send + Sync,
    {
        let path = parse_path(path)?;
        let op = |channel, request: Request<C::Encode>| {
            let (path, codec) = (path.clone(), codec.clone());
            async move {
                let mut grpc = raw(channel).await?;
                grpc.server_streaming(without_timeout(request), path, codec).await
            }
        };
        self.call(request, op).await
    }
}

/// The bound of a try is that of its first answer; a stream goes on for as long as it takes.
fn without_timeout<M>(mut request: Request<M>) -> Request<M> {
    request.metadata_mut().remove("grpc-timeout");
    request
}

fn parse_path(path: &str) -> Result<PathAndQuery, Error> {
    path.parse().map_err(|_| Status::invalid_argument(format!("`{path}` is not the path of a method")).into())
}

async fn raw(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    Ok(grpc)
}
