//! Questions about many runs, and the removal of ended ones.

use std::{collections::BTreeMap, sync::Arc};

use quorus_proto::v1::{self, index_service_client::IndexServiceClient, index_service_server::IndexService};
use quorus_raft::{GroupId, ProposeError};
use tonic::{Request, Response, Status, transport::Channel};

use super::{
    ApiContext, MESSAGE_BYTES_MAX, dead_letter, errors,
    forward::{self, Journey},
    limits, list,
    run_service::{self, checked},
    spread::{self, Spread},
    to_proto,
};
use crate::{
    leader::{LedShard, RemoveError},
    query::RunFilter,
    replica::BatchAnswer,
};

/// Serves what there is to find, to count and to remove.
pub struct RunIndex {
    pub(crate) context: Arc<ApiContext>,
}

pub(super) fn client(channel: Channel) -> IndexServiceClient<Channel> {
    IndexServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

#[tonic::async_trait]
impl IndexService for RunIndex {
    async fn count_runs(&self, request: Request<v1::CountRunsRequest>) -> Result<Response<v1::CountRunsResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        let _permit = self.context.admission.read()?;
        let filter = spread::filter(&mut message.namespace, &message.filter, self.context.clock.now())?;
        message.filter = filter.to_text();
        message.max = if message.max == 0 { limits::COUNT_DEFAULT } else { message.max.min(limits::COUNT_MAX) };
        let Spread { here, elsewhere } = Spread::of(&self.context, &journey, &filter)?;
        let mut counted = Counted::default();
        for shard in here {
            self.count_shard(shard, &filter, message.max, &mut counted).await?;
        }
        for (node, shards) in elsewhere {
            if counted.more {
                break;
            }
            let max = message.max - counted.total;
            if max == 0 {
                // Whether there is one more is not worth a call.
                counted.more = true;
                break;
            }
            let channel = self.context.peers.channel(node).map_err(|error| errors::internal(&error))?;
            let onward = Spread::onward(&journey, &shards, v1::CountRunsRequest { max, ..message.clone() });
            let answer = client(channel).count_runs(onward).await?.into_inner();
            for part in answer.by_status {
                counted.add(part.status, part.count);
            }
            counted.more |= answer.more;
        }
        Ok(Response::new(counted.answer()))
    }

    async fn purge_run(&self, request: Request<v1::PurgeRunRequest>) -> Result<Response<v1::PurgeRunResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        checked(&mut message.namespace, &message.run_id)?;
        let (shard, group) = self.context.shard_of(&message.namespace, &message.run_id)?;
        let Some(group) = group else {
            let _place = self.context.admission.waiting()?;
            let channel = run_service::holder(&self.context, shard, &journey)?;
            return client(channel).purge_run(journey.relay(message)).await;
        };
        let here = || async {
            let led = self.context.led.get(shard)?;
            Some(self.purge_here(&led, &message).await)
        };
        let there = |channel| async { Ok(client(channel).purge_run(journey.onward(message.clone())).await?.into_inner()) };
        // One that is repeated finds nothing to remove, so the caller must know that its outcome was unknown.
        forward::by_leader(self.context.way(&group), &journey, false, here, there).await.map(Response::new)
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let journey = Journey::of(&request);
        let _permit = self.context.admission.read()?;
        dead_letter::list(&self.context, &journey, request.into_inner()).await.map(Response::new)
    }

    async fn discard_dead_letter(
        &self,
        request: Request<v1::DiscardDeadLetterRequest>,
    ) -> Result<Response<v1::DiscardDeadLetterResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        checked(&mut message.namespace, &message.run_id)?;
        let (shard, group) = self.context.shard_of(&message.namespace, &message.run_id)?;
        let Some(group) = group else {
            let _place = self.context.admission.waiting()?;
            let channel = run_service::holder(&self.context, shard, &journey)?;
            return client(channel).discard_dead_letter(journey.relay(message)).await;
        };
        let here = || async {
            let led = self.context.led.get(shard)?;
            Some(dead_letter::discard(&self.context, &led, &message).await.map(|()| v1::DiscardDeadLetterResponse {}))
        };
        let there = |channel| async { Ok(client(channel).discard_dead_letter(journey.onward(message.clone())).await?.into_inner()) };
        forward::by_leader(self.context.way(&group), &journey, false, here, there).await.map(Response::new)
    }
}

impl RunIndex {
    async fn count_shard(&self, shard: GroupId, filter: &RunFilter, max: u64, counted: &mut Counted) -> Result<(), Status> {
        let store = self.context.store(shard);
        let mut after = None;
        while !counted.more {
            // One more than asked for, to know whether there is more.
            let count = store.count_runs(filter, after, max - counted.total + 1).map_err(|error| errors::internal(&error))?;
            for (status, runs) in count.by_status {
                let room = max - counted.total;
                counted.more |= runs > room;
                counted.add(to_proto::run_status(status).into(), runs.min(room));
            }
            let Some(next) = count.next else { break };
            after = Some(next);
            // A part reads thousands of keys: whoever else has something to do on this thread goes between.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn purge_here(&self, led: &LedShard, message: &v1::PurgeRunRequest) -> Result<v1::PurgeRunResponse, Status> {
        let _permit = self.context.admission.change()?;
        let (namespace, run_id) = (&message.namespace, &message.run_id);
        let store = self.context.store(led.shard);
        // "Not found" and "has not ended" are said only by who still leads.
        if !led.confirmed().await {
            return Err(errors::no_leader(led.shard));
        }
        let uid = list::uid_of(&store, namespace, run_id, &message.run_uid)?;
        let run = store.run_head(uid).map_err(|error| errors::internal(&error))?.ok_or_else(|| errors::run_not_found(namespace, run_id))?;
        if !run.status.is_final() {
            return Err(errors::run_not_ended(run_id));
        }
        let retention = &self.context.retention;
        let purge = retention.prepare(&store, uid).await.map_err(|error| not_removed(&error, led.shard))?;
        let answers = retention.remove(led, Vec::from_iter(purge)).await.map_err(|error| not_removed(&error, led.shard))?;
        match answers.first() {
            Some(BatchAnswer::Applied) => {
                let subject = message.principal.as_ref().map(|principal| principal.subject.as_str()).unwrap_or_default();
                tracing::info!(namespace, run_id, %uid, subject, reason = message.reason, "a run was removed by request");
                Ok(v1::PurgeRunResponse { run_uid: uid.to_string() })
            }
            Some(BatchAnswer::StaleTerm) => Err(errors::no_leader(led.shard)),
            _ => Err(errors::run_not_ended(run_id)),
        }
    }
}

fn not_removed(error: &RemoveError, shard: GroupId) -> Status {
    match error {
        RemoveError::Store(_) | RemoveError::Export(_) => errors::internal(error),
        RemoveError::Propose(ProposeError::NotLeader { .. }) => errors::no_leader(shard),
        RemoveError::Propose(_) => errors::outcome_unknown(),
    }
}

/// What was counted so far.
#[derive(Default)]
struct Counted {
    total: u64,
    more: bool,
    by_status: BTreeMap<i32, u64>,
}

impl Counted {
    fn add(&mut self, status: i32, count: u64) {
        if count > 0 {
            self.total += count;
            *self.by_status.entry(status).or_default() += count;
        }
    }

    fn answer(self) -> v1::CountRunsResponse {
        let by_status = self.by_status.into_iter().map(|(status, count)| v1::RunStatusCount { status, count }).collect();
        v1::CountRunsResponse { count: self.total, more: self.more, by_status }
    }
}
