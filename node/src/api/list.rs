//! Lists of runs over all shards, and pages of a run's history.

use std::collections::BTreeMap;

use quorus_engine::{RunStatus, Timestamp};
use quorus_proto::v1;
use quorus_raft::{GroupId, NodeId};
use tonic::{Code, Status};

use super::{ApiContext, errors, errors::reason, forward::Journey, history_event, limits, run_service, schemas, to_proto};
use crate::store::{RunCursor, RunFilter, RunPage};

/// Names the shards that a forwarded list is about, so that each is asked once.
const SHARDS: &str = "quorus-shards";

/// One page over all shards: this node's from its own replicas, the others' from a node that has them.
pub(super) async fn list_runs(
    context: &ApiContext,
    journey: &Journey,
    mut message: v1::ListRunsRequest,
) -> Result<v1::ListRunsResponse, Status> {
    if message.namespace.is_empty() {
        message.namespace = quorus_spec::DEFAULT_NAMESPACE.to_owned();
    }
    let filter = filter(&message)?;
    let cursor = cursor(&message.page_token)?;
    let limit = limits::page_size(message.page_size);
    let only: Option<Vec<GroupId>> =
        journey.metadata(SHARDS).map(|shards| shards.split(',').filter_map(|shard| shard.parse().ok()).collect());
    let mut pages = Vec::new();
    let mut numbers = BTreeMap::new();
    let mut elsewhere: BTreeMap<NodeId, Vec<GroupId>> = BTreeMap::new();
    for shard in 1..=context.shards()? {
        if only.as_ref().is_some_and(|only| !only.contains(&shard)) {
            continue;
        }
        if context.host.group(shard).is_some() {
            let page = context.store(shard).list_runs(&filter, cursor, limit).map_err(|error| errors::internal(&error))?;
            numbers.extend(page.runs.iter().map(|run| (run.info.uid, shard)));
            pages.push(page);
        } else if !journey.forwarded
            && let Some(node) = context.holder_of(shard)
        {
            elsewhere.entry(node).or_default().push(shard);
        }
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
        let mut onward = journey.onward(message.clone());
        let list = shards.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        if let Ok(value) = list.parse() {
            onward.metadata_mut().insert(SHARDS, value);
        }
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
    let uid = store.current_uid(&message.namespace, &message.run_id).map_err(|error| errors::internal(&error))?;
    let uid = uid.ok_or_else(|| errors::run_not_found(&message.namespace, &message.run_id))?;
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

fn filter(message: &v1::ListRunsRequest) -> Result<RunFilter, Status> {
    let statuses = message.statuses().map(run_status).collect::<Option<Vec<_>>>();
    let known = statuses.as_ref().is_some_and(|statuses| statuses.len() == message.statuses.len());
    let Some(statuses) = statuses.filter(|_| known) else {
        return Err(errors::invalid(vec![("statuses".into(), "holds a status that this version does not know".into())]));
    };
    let time = |time: &Option<prost_types::Timestamp>| {
        time.map(|time| Timestamp(time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos) / 1_000_000)))
    };
    Ok(RunFilter {
        namespace: message.namespace.clone(),
        workflow: message.workflow.clone(),
        statuses,
        labels: message.labels.clone(),
        started_after: time(&message.started_after),
        started_before: time(&message.started_before),
    })
}

fn run_status(status: v1::RunStatus) -> Option<RunStatus> {
    Some(match status {
        v1::RunStatus::Unspecified => return None,
        v1::RunStatus::Queued => RunStatus::Queued,
        v1::RunStatus::Compensating => RunStatus::Compensating,
        v1::RunStatus::NeedsAttention => RunStatus::NeedsAttention,
        v1::RunStatus::Running => RunStatus::Running,
        v1::RunStatus::Failing => RunStatus::Failing,
        v1::RunStatus::Cancelling => RunStatus::Cancelling,
        v1::RunStatus::Succeeded => RunStatus::Succeeded,
        v1::RunStatus::Failed => RunStatus::Failed,
        v1::RunStatus::Cancelled => RunStatus::Cancelled,
        v1::RunStatus::Terminated => RunStatus::Terminated,
    })
}

fn cursor(token: &str) -> Result<Option<RunCursor>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    RunCursor::from_token(token).map(Some).ok_or_else(bad_token)
}

fn bad_token() -> Status {
    errors::status(Code::InvalidArgument, reason::INVALID_ARGUMENT, "page_token: is not one that a list returned")
}

fn newest_first(run: &v1::Run) -> (std::cmp::Reverse<(i64, i32)>, &str) {
    let started = run.started_at.unwrap_or_default();
    (std::cmp::Reverse((started.seconds, started.nanos)), &run.run_uid)
}

/// Where a cursor stands in the order of the list.
fn place(cursor: RunCursor) -> (std::cmp::Reverse<Timestamp>, quorus_engine::RunUid) {
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
    let uid = quorus_engine::RunUid(u128::from_str_radix(&run.run_uid, 16).ok()?);
    Some(RunCursor { started_at, uid })
}
