//! Lists of runs over all shards, and pages of a run's history.

use std::collections::BTreeMap;

use quorus_engine::{RunUid, Timestamp};
use quorus_proto::v1;
use quorus_raft::GroupId;
use tonic::{Code, Status};

use super::{
    ApiContext, errors,
    errors::reason,
    forward::Journey,
    history_event, limits, run_service, schemas,
    spread::{self, Spread},
    to_proto,
};
use crate::store::{RunCursor, RunPage, ShardStore};

/// One page over all shards: this node's from its own replicas, the others' from a node that has them.
pub(super) async fn list_runs(
    context: &ApiContext,
    journey: &Journey,
    mut message: v1::ListRunsRequest,
) -> Result<v1::ListRunsResponse, Status> {
    let filter = spread::filter_of_list(&mut message, context.clock.now())?;
    let cursor = cursor(&message.page_token)?;
    let limit = limits::page_size(message.page_size);
    let Spread { here, elsewhere } = Spread::of(context, journey, &filter)?;
    let mut pages = Vec::new();
    let mut numbers = BTreeMap::new();
    for shard in here {
        let page = context.store(shard).list_runs(&filter, cursor, limit).map_err(|error| errors::internal(&error))?;
        numbers.extend(page.runs.iter().map(|run| (run.info.uid, shard)));
        pages.push(page);
        // A page may read thousands of keys: whoever else has something to do on this thread goes between.
        tokio::task::yield_now().await;
    }
    let merged = RunPage::merge(pages, limit);
    let mut runs: Vec<v1::Run> = merged
        .runs
        .iter()
        .map(|run| to_proto::run_summary(numbers.get(&run.info.uid).copied().unwrap_or(0), &run.info, &run.head))
        .collect();
    // What lies beyond the nearest end of any part is for the next page: other parts may have more before it.
    let mut horizon = merged.next;
    for (node, shards) in elsewhere {
        let channel = context.peers.channel(node).map_err(|error| errors::internal(&error))?;
        let onward = Spread::onward(journey, &shards, message.clone());
        let answer = run_service::client(channel).list_runs(onward).await?.into_inner();
        runs.extend(answer.runs);
        horizon = nearer(horizon, RunCursor::from_token(&answer.next_page_token));
    }
    runs.sort_by(|a, b| newest_first(a).cmp(&newest_first(b)));
    if let Some(horizon) = horizon {
        runs.retain(|run| cursor_of(run).is_none_or(|cursor| place(cursor) <= place(horizon)));
    }
    let next = if runs.len() > limit {
        runs.truncate(limit);
        runs.last().and_then(cursor_of)
    } else {
        horizon
    };
    Ok(v1::ListRunsResponse { runs, next_page_token: next.map(RunCursor::to_token).unwrap_or_default() })
}

/// A page of a run's history.
pub(super) fn history(
    context: &ApiContext,
    shard: GroupId,
    message: &v1::GetRunHistoryRequest,
) -> Result<v1::GetRunHistoryResponse, Status> {
    let store = context.store(shard);
    let uid = uid_of(&store, &message.namespace, &message.run_id, &message.run_uid)?;
    let from = match message.page_token.as_str() {
        "" => 1,
        token => token.parse().map_err(|_| bad_token())?,
    };
    let limit = limits::page_size(message.page_size);
    let events = store.history(uid, from, limit + 1).map_err(|error| errors::internal(&error))?;
    let next_page_token = events.get(limit).map(|(sequence, _)| sequence.to_string()).unwrap_or_default();
    let mut wire: Vec<_> = events.iter().take(limit).map(|(sequence, event)| history_event::event(*sequence, event)).collect();
    schemas::hide(&context.plans, &store, &events, &mut wire);
    Ok(v1::GetRunHistoryResponse { events: wire, next_page_token })
}

/// The run that a request names: by its uid if it gives one, else the newest one that had the id.
pub(super) fn uid_of(store: &ShardStore, namespace: &str, run_id: &str, run_uid: &str) -> Result<RunUid, Status> {
    let not_found = || errors::run_not_found(namespace, run_id);
    if run_uid.is_empty() {
        return store.current_uid(namespace, run_id).map_err(|error| errors::internal(&error))?.ok_or_else(not_found);
    }
    let uid = RunUid(u128::from_str_radix(run_uid, 16).map_err(|_| errors::invalid(vec![("run_uid".into(), "is not a uid".into())]))?);
    let summary = store.run_summary(uid).map_err(|error| errors::internal(&error))?;
    let named = summary.is_some_and(|run| run.info.namespace == namespace && run.info.run_id == run_id);
    if named { Ok(uid) } else { Err(not_found()) }
}

fn cursor(token: &str) -> Result<Option<RunCursor>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    RunCursor::from_token(token).map(Some).ok_or_else(bad_token)
}

pub(super) fn bad_token() -> Status {
    errors::status(Code::InvalidArgument, reason::INVALID_ARGUMENT, "page_token: is not one that a list returned")
}

fn newest_first(run: &v1::Run) -> (std::cmp::Reverse<(i64, i32)>, &str) {
    let started = run.started_at.unwrap_or_default();
    (std::cmp::Reverse((started.seconds, started.nanos)), &run.run_uid)
}

/// Where a cursor stands in the order of the list.
fn place(cursor: RunCursor) -> (std::cmp::Reverse<Timestamp>, RunUid) {
    (std::cmp::Reverse(cursor.started_at), cursor.uid)
}

fn nearer(a: Option<RunCursor>, b: Option<RunCursor>) -> Option<RunCursor> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if place(a) <= place(b) { a } else { b }),
        (a, b) => a.or(b),
    }
}

fn cursor_of(run: &v1::Run) -> Option<RunCursor> {
    let started = run.started_at?;
    let started_at = Timestamp(started.seconds.saturating_mul(1000).saturating_add(i64::from(started.nanos) / 1_000_000));
    let uid = RunUid(u128::from_str_radix(&run.run_uid, 16).ok()?);
    Some(RunCursor { started_at, uid })
}
