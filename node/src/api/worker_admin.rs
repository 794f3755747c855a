//! Workers of the whole cluster: each node tells of those whose streams end there.

use std::sync::Arc;

use quorus_engine::Timestamp;
use quorus_proto::v1::{self, worker_admin_service_client::WorkerAdminServiceClient, worker_admin_service_server::WorkerAdminService};
use tonic::{Request, Response, Status};

use super::{
    ApiContext, errors, fan_out,
    forward::Journey,
    from_proto, limits,
    queue_service::{change, switched},
    to_proto,
};
use crate::{executors, system::FlowCommand};

/// Serves operators.
pub struct WorkerAdmin {
    pub(crate) context: Arc<ApiContext>,
}

#[tonic::async_trait]
impl WorkerAdminService for WorkerAdmin {
    async fn list_workers(&self, request: Request<v1::ListWorkersRequest>) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let journey = Journey::of(&request);
        let message = request.into_inner();
        let _permit = self.context.admission.read()?;
        let (mut workers, missing_nodes) = all(&self.context, &journey).await;
        // Those that are part of the nodes are shown to who asks for their queue.
        let built_in = |worker: &v1::WorkerInfo| worker.queues.iter().any(|queue| queue == executors::QUEUE);
        workers.retain(|worker| if message.queue.is_empty() { !built_in(worker) } else { worker.queues.contains(&message.queue) });
        if !journey.forwarded && message.queue.is_empty() {
            for (name, switch) in &self.context.system.flow().drained_workers {
                if !workers.iter().any(|worker| worker.name == *name) {
                    let drained = Some(switched(switch));
                    workers.push(v1::WorkerInfo { name: name.clone(), drained, ..v1::WorkerInfo::default() });
                }
            }
        }
        workers.sort_by(|a, b| (&a.name, a.node_id).cmp(&(&b.name, b.node_id)));
        Ok(Response::new(v1::ListWorkersResponse { workers, missing_nodes }))
    }

    async fn drain_worker(&self, request: Request<v1::DrainWorkerRequest>) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        let journey = Journey::of(&request);
        let v1::DrainWorkerRequest { name, reason, principal } = request.into_inner();
        let changed = self.set(&journey, name, true, principal, reason).await?;
        Ok(Response::new(v1::DrainWorkerResponse { changed }))
    }

    async fn undrain_worker(&self, request: Request<v1::UndrainWorkerRequest>) -> Result<Response<v1::UndrainWorkerResponse>, Status> {
        let journey = Journey::of(&request);
        let v1::UndrainWorkerRequest { name, principal } = request.into_inner();
        let changed = self.set(&journey, name, false, principal, String::new()).await?;
        Ok(Response::new(v1::UndrainWorkerResponse { changed }))
    }
}

impl WorkerAdmin {
    async fn set(
        &self,
        journey: &Journey,
        worker: String,
        on: bool,
        principal: Option<v1::Principal>,
        reason: String,
    ) -> Result<bool, Status> {
        let _permit = self.context.admission.change()?;
        if worker.is_empty() || worker.len() > limits::NAME_CHARS_MAX {
            return Err(errors::invalid(vec![("name".into(), "is required, at most 200 characters".into())]));
        }
        let command = FlowCommand::SetWorkerDrained { worker, on, principal: from_proto::principal(principal), reason };
        change(&self.context, journey, command).await
    }
}

/// All workers with streams: this node's, and the others' unless another node asks. And the nodes that did not answer.
pub(super) async fn all(context: &ApiContext, journey: &Journey) -> (Vec<v1::WorkerInfo>, Vec<u64>) {
    let mut workers = here(context);
    let (answers, missing) = fan_out::ask_others(context, journey, |channel| {
        let request = journey.onward(v1::ListWorkersRequest::default());
        async move { WorkerAdminServiceClient::new(channel).list_workers(request).await }
    })
    .await;
    workers.extend(answers.into_iter().flat_map(|answer| answer.workers));
    (workers, missing)
}

fn here(context: &ApiContext) -> Vec<v1::WorkerInfo> {
    let flow = context.system.flow();
    let now = context.clock.now();
    let info = |worker: crate::gateway::SessionView| {
        let age = i64::try_from(worker.since.elapsed().as_millis()).unwrap_or(0);
        v1::WorkerInfo {
            drained: flow.drained_workers.get(&worker.name).map(switched),
            name: worker.name,
            incarnation: worker.incarnation,
            node_id: context.node_id,
            queues: worker.queues,
            labels: worker.labels,
            capacity: worker.capacity,
            in_use: worker.tasks,
            since: Some(to_proto::time(Timestamp(now.0.saturating_sub(age)))),
            task_types: worker.task_types,
        }
    };
    context.gateway.view().into_iter().map(info).collect()
}
