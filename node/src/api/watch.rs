//! A run's history as a stream: what is recorded, then what comes, to the run's end. Served from this node's own replica.

use std::sync::Arc;

use futures::Stream;
use quorus_engine::RunUid;
use quorus_proto::v1;
use quorus_raft::GroupId;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status};

use super::{ApiContext, errors, errors::reason, history_event, schemas, to_proto};
use crate::{changes::Changes, leader::PlanCache};

/// Events of one message.
const EVENTS_MAX: usize = 500;

/// Forgets the watcher when the stream ends, however it does.
struct Watching {
    changes: Changes,
    plans: PlanCache,
    uid: RunUid,
    receiver: Option<tokio::sync::watch::Receiver<u64>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.receiver.take();
        self.changes.unwatch(self.uid);
    }
}

/// Watches a run that this node's replica knows, if anybody does.
pub(super) fn watch(
    context: Arc<ApiContext>,
    shard: GroupId,
    message: v1::WatchRunRequest,
    permit: OwnedSemaphorePermit,
) -> Result<impl Stream<Item = Result<v1::WatchRunResponse, Status>> + Send + 'static, Status> {
    let store = context.store(shard);
    let current = store.current_uid(&message.namespace, &message.run_id).map_err(|error| errors::internal(&error))?;
    let uid = current.ok_or_else(|| errors::run_not_found(&message.namespace, &message.run_id))?;
    if !message.run_uid.is_empty() && message.run_uid != uid.to_string() {
        let message = "another run has this id now; the one that was watched has ended";
        return Err(errors::status(Code::FailedPrecondition, reason::RUN_ENDED, message));
    }
    let watching = Watching {
        changes: context.changes.clone(),
        plans: context.plans.clone(),
        uid,
        receiver: Some(context.changes.watch(uid)),
        _permit: permit,
    };
    let next = message.from_sequence.max(1);
    let stream = futures::stream::try_unfold(
        (watching, store, next, false, true),
        move |(mut watching, store, mut next, ended, first)| async move {
            if ended {
                return Ok(None);
            }
            loop {
                if let Some(receiver) = &mut watching.receiver {
                    // Marked before reading, so that what comes after the read wakes us.
                    receiver.borrow_and_update();
                }
                let events = store.history(uid, next, EVENTS_MAX).map_err(|error| errors::internal(&error))?;
                let summary = store.run_summary(uid).map_err(|error| errors::internal(&error))?;
                let summary = summary.ok_or_else(|| errors::status(Code::NotFound, reason::RUN_NOT_FOUND, "the run was deleted"))?;
                let last = events.last().map(|(sequence, _)| *sequence);
                // The summary may be newer than the page: the end is there once its last event has been sent.
                let ended = summary.head.status.is_final() && last.unwrap_or(next - 1) >= summary.head.seq;
                if !events.is_empty() || ended || first {
                    next = last.map_or(next, |last| last + 1);
                    let mut wire: Vec<_> = events.iter().map(|(sequence, event)| history_event::event(*sequence, event)).collect();
                    schemas::hide(&watching.plans, &store, &events, &mut wire);
                    let run = to_proto::run_summary(shard, &summary.info, &summary.head);
                    let response = v1::WatchRunResponse { events: wire, run: Some(run) };
                    return Ok(Some((response, (watching, store, next, ended, false))));
                }
                let Some(receiver) = &mut watching.receiver else { return Ok(None) };
                if receiver.changed().await.is_err() {
                    return Ok(None);
                }
            }
        },
    );
    Ok(stream)
}
