//! Queues, over all nodes: what waits at their leaders, who serves it, and what is paused.

use std::{collections::BTreeMap, sync::Arc};

use quorus_proto::v1::{self, queue_service_client::QueueServiceClient, queue_service_server::QueueService};
use tonic::{Request, Response, Status};

use super::{ApiContext, errors, fan_out, forward::Journey, from_proto, limits, to_proto, worker_admin};
use crate::{
    dispatch::{Depth, fits},
    system::{FlowAnswer, FlowCommand, Switch, SystemAnswer, SystemCommand},
};

/// Serves operators.
pub struct Queues {
    pub(crate) context: Arc<ApiContext>,
}

#[tonic::async_trait]
impl QueueService for Queues {
    async fn list_queues(&self, request: Request<v1::ListQueuesRequest>) -> Result<Response<v1::ListQueuesResponse>, Status> {
        let journey = Journey::of(&request);
        let message = request.into_inner();
        let _permit = self.context.admission.read()?;
        let only = Some(message.queue.as_str()).filter(|queue| !queue.is_empty());
        let mut queues: BTreeMap<String, v1::QueueStatus> =
            self.context.dispatcher.depths(only).into_iter().map(|(queue, depth)| (queue.clone(), waiting(queue, &depth))).collect();
        if journey.forwarded {
            // Workers are asked for by the node that was asked first.
            return Ok(Response::new(v1::ListQueuesResponse { queues: queues.into_values().collect(), missing_nodes: Vec::new() }));
        }
        let (answers, missing_nodes) = fan_out::ask_others(&self.context, &journey, |channel| {
            let request = journey.onward(message.clone());
            async move { QueueServiceClient::new(channel).list_queues(request).await }
        })
        .await;
        for status in answers.into_iter().flat_map(|answer| answer.queues) {
            let known = queues.entry(status.queue.clone()).or_insert_with(|| empty(&status.queue));
            add(known, status);
        }
        let (workers, _) = worker_admin::all(&self.context, &journey).await;
        for worker in &workers {
            for queue in worker.queues.iter().filter(|queue| only.is_none_or(|only| only == queue.as_str())) {
                let status = queues.entry(queue.clone()).or_insert_with(|| empty(queue));
                status.workers += 1;
                status.capacity = status.capacity.saturating_add(worker.capacity);
                status.in_use = status.in_use.saturating_add(worker.in_use);
                for demand in status.demands.iter_mut().filter(|demand| fits(&demand.selectors, &worker.labels)) {
                    demand.workers += 1;
                }
            }
        }
        for (queue, switch) in self.context.system.flow().paused_queues.iter().filter(|(queue, _)| only.is_none_or(|only| only == *queue)) {
            queues.entry(queue.clone()).or_insert_with(|| empty(queue)).paused = Some(switched(switch));
        }
        if let Some(only) = only {
            queues.entry(only.to_owned()).or_insert_with(|| empty(only));
        }
        Ok(Response::new(v1::ListQueuesResponse { queues: queues.into_values().collect(), missing_nodes }))
    }

    async fn pause_queue(&self, request: Request<v1::PauseQueueRequest>) -> Result<Response<v1::PauseQueueResponse>, Status> {
        let journey = Journey::of(&request);
        let v1::PauseQueueRequest { queue, reason, principal } = request.into_inner();
        let changed = self.set(&journey, queue, true, principal, reason).await?;
        Ok(Response::new(v1::PauseQueueResponse { changed }))
    }

    async fn resume_queue(&self, request: Request<v1::ResumeQueueRequest>) -> Result<Response<v1::ResumeQueueResponse>, Status> {
        let journey = Journey::of(&request);
        let v1::ResumeQueueRequest { queue, principal } = request.into_inner();
        let changed = self.set(&journey, queue, false, principal, String::new()).await?;
        Ok(Response::new(v1::ResumeQueueResponse { changed }))
    }
}

impl Queues {
    async fn set(
        &self,
        journey: &Journey,
        queue: String,
        on: bool,
        principal: Option<v1::Principal>,
        reason: String,
    ) -> Result<bool, Status> {
        let _permit = self.context.admission.change()?;
        if !limits::is_name(&queue) {
            return Err(errors::invalid(vec![("queue".into(), "must have 1 to 200 letters, digits, `.`, `_`, `-` or `:`".into())]));
        }
        let command = FlowCommand::SetQueuePaused { queue, on, principal: from_proto::principal(principal), reason };
        change(&self.context, journey, command).await
    }
}

/// Has group 0 change a switch or a limit; true if it was otherwise before.
pub(super) async fn change(context: &ApiContext, journey: &Journey, command: FlowCommand) -> Result<bool, Status> {
    match context.port.propose_for(journey, &SystemCommand::Flow(command)).await? {
        SystemAnswer::Flow(FlowAnswer::Changed { changed, .. }) => Ok(changed),
        _ => Err(errors::outcome_unknown()),
    }
}

/// A switch as clients read it.
pub(super) fn switched(switch: &Switch) -> v1::Switched {
    v1::Switched { since: Some(to_proto::time(switch.since)), by: Some(to_proto::principal(&switch.by)), reason: switch.reason.clone() }
}

fn empty(queue: &str) -> v1::QueueStatus {
    waiting(queue.to_owned(), &Depth::default())
}

fn waiting(queue: String, depth: &Depth) -> v1::QueueStatus {
    let demands = depth.by_selectors.iter().map(|(selectors, waiting)| v1::SelectorDemand {
        selectors: BTreeMap::clone(selectors),
        waiting: *waiting,
        workers: 0,
    });
    v1::QueueStatus {
        queue,
        waiting: depth.total(),
        waiting_by_priority: depth.by_priority.to_vec(),
        limited: depth.limited,
        oldest_since: depth.oldest.map(to_proto::time),
        demands: demands.collect(),
        ..v1::QueueStatus::default()
    }
}

/// Adds what waits at another node.
fn add(known: &mut v1::QueueStatus, more: v1::QueueStatus) {
    known.waiting += more.waiting;
    known.limited += more.limited;
    for (waiting, more) in known.waiting_by_priority.iter_mut().zip(more.waiting_by_priority) {
        *waiting += more;
    }
    let order = |time: &prost_types::Timestamp| (time.seconds, time.nanos);
    known.oldest_since = known.oldest_since.into_iter().chain(more.oldest_since).min_by_key(order);
    for demand in more.demands {
        match known.demands.iter_mut().find(|known| known.selectors == demand.selectors) {
            Some(known) => known.waiting += demand.waiting,
            None => known.demands.push(demand),
        }
    }
}
