//! Queues, workers, limits and concurrency keys: a typed method per RPC.

use quorus_proto::v1::{
    self, concurrency_service_client::ConcurrencyServiceClient, limit_service_client::LimitServiceClient,
    queue_service_client::QueueServiceClient, worker_admin_service_client::WorkerAdminServiceClient,
};

use super::Client;
use crate::Error;

impl Client {
    /// Returns queues with what waits in them and who serves them.
    pub async fn list_queues(&self, request: v1::ListQueuesRequest) -> Result<v1::ListQueuesResponse, Error> {
        self.call(request, |channel, request| async move { QueueServiceClient::new(channel).list_queues(request).await }).await
    }

    /// Stops leasing a queue's tasks. Repeating it changes nothing.
    pub async fn pause_queue(&self, mut request: v1::PauseQueueRequest) -> Result<v1::PauseQueueResponse, Error> {
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { QueueServiceClient::new(channel).pause_queue(request).await }).await
    }

    /// Leases a queue's tasks again. Repeating it changes nothing.
    pub async fn resume_queue(&self, mut request: v1::ResumeQueueRequest) -> Result<v1::ResumeQueueResponse, Error> {
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { QueueServiceClient::new(channel).resume_queue(request).await }).await
    }

    /// Returns the workers of the whole cluster.
    pub async fn list_workers(&self, request: v1::ListWorkersRequest) -> Result<v1::ListWorkersResponse, Error> {
        self.call(request, |channel, request| async move { WorkerAdminServiceClient::new(channel).list_workers(request).await }).await
    }

    /// Gives a worker no more tasks. Repeating it changes nothing.
    pub async fn drain_worker(&self, mut request: v1::DrainWorkerRequest) -> Result<v1::DrainWorkerResponse, Error> {
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { WorkerAdminServiceClient::new(channel).drain_worker(request).await }).await
    }

    /// Gives a worker tasks again. Repeating it changes nothing.
    pub async fn undrain_worker(&self, mut request: v1::UndrainWorkerRequest) -> Result<v1::UndrainWorkerResponse, Error> {
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { WorkerAdminServiceClient::new(channel).undrain_worker(request).await }).await
    }

    /// Makes or replaces a limit. Repeating it changes nothing.
    pub async fn apply_limit(&self, mut request: v1::ApplyLimitRequest) -> Result<v1::ApplyLimitResponse, Error> {
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { LimitServiceClient::new(channel).apply_limit(request).await }).await
    }

    /// Deletes a limit. When a try whose answer got lost is repeated, "not found" may mean that it had worked.
    pub async fn delete_limit(&self, mut request: v1::DeleteLimitRequest) -> Result<v1::DeleteLimitResponse, Error> {
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { LimitServiceClient::new(channel).delete_limit(request).await }).await
    }

    /// Returns limits with their use.
    pub async fn list_limits(&self, request: v1::ListLimitsRequest) -> Result<v1::ListLimitsResponse, Error> {
        self.call(request, |channel, request| async move { LimitServiceClient::new(channel).list_limits(request).await }).await
    }

    /// Closes the breakers of a limit.
    pub async fn reset_breaker(&self, mut request: v1::ResetBreakerRequest) -> Result<v1::ResetBreakerResponse, Error> {
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { LimitServiceClient::new(channel).reset_breaker(request).await }).await
    }

    /// Returns a page of the concurrency keys that are held.
    pub async fn list_concurrency(&self, mut request: v1::ListConcurrencyRequest) -> Result<v1::ListConcurrencyResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { ConcurrencyServiceClient::new(channel).list_concurrency(request).await }).await
    }
}
