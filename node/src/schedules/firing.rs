//! From a recorded firing to its run. Everything here may be done twice and counts once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt;
use quorus_proto::{
    log::StoredSchedule,
    v1::{self, Firing, FiringCause, FiringStatus, OverlapPolicy, run_service_server::RunService},
};
use serde_json::json;
use tonic::{Code, Request, Status};

use super::{decide::starter, definition::Definition, timing::rfc3339};
use crate::{
    api::{ApiContext, Runs, errors, errors::reason, to_proto},
    observe::names,
    system::ScheduleKey,
};

/// The label of runs that a schedule started.
const LABEL: &str = "quorus.schedule";
/// So many runs of one schedule are asked about, or started, at a time.
const SIDE_BY_SIDE: usize = 8;
/// How long a request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Starts what was recorded, and says what came of each; those that could not be asked for now are left out.
pub(crate) async fn start_all(
    context: &Arc<ApiContext>,
    key: &ScheduleKey,
    definition: &Definition,
    state: &StoredSchedule,
    starting: &[Firing],
) -> Vec<Firing> {
    futures::stream::iter(starting.to_vec())
        .map(|firing| start(context, key, definition, state, firing))
        .buffered(SIDE_BY_SIDE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn start(
    context: &Arc<ApiContext>,
    key: &ScheduleKey,
    definition: &Definition,
    state: &StoredSchedule,
    firing: Firing,
) -> Option<Firing> {
    let result = match request(key, definition, state, &firing) {
        Ok(request) => Runs { context: context.clone() }.start_run(within(request)).await.map(drop),
        Err(status) => Err(status),
    };
    let now = context.clock.now();
    let ended = match result {
        Ok(()) => Firing { status: FiringStatus::Started.into(), started_at: Some(to_proto::time(now)), ..firing },
        Err(status) if comes_back(&status) => {
            tracing::debug!(schedule = key.name, run = firing.run_id, %status, "the run of a firing is not started yet");
            return None;
        }
        Err(status) => Firing {
            status: FiringStatus::Failed.into(),
            reason: errors::reason_of(&status).unwrap_or_else(|| reason::INTERNAL.to_owned()),
            message: status.message().chars().take(500).collect(),
            ..firing
        },
    };
    if ended.status() == FiringStatus::Started
        && let Some(due) = &ended.due_at
    {
        let delay = now.0 - millis(due);
        metrics::histogram!(names::SCHEDULE_DELAY).record(delay.max(0) as f64 / 1000.0);
    }
    Some(ended)
}

/// True if asking again may help.
pub(crate) fn comes_back(status: &Status) -> bool {
    let passing = [reason::NO_LEADER, reason::OUTCOME_UNKNOWN, reason::DRAINING, reason::OVERLOADED, reason::INTERNAL];
    match errors::reason_of(status) {
        Some(reason) => passing.contains(&reason.as_str()),
        None => matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::ResourceExhausted | Code::Aborted
        ),
    }
}

/// A request that gives up soon: whoever made it asks again, and has others to ask for meanwhile.
fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_WITHIN);
    request
}

/// The same request for the same firing, whoever makes it.
fn request(key: &ScheduleKey, definition: &Definition, state: &StoredSchedule, firing: &Firing) -> Result<v1::StartRunRequest, Status> {
    let input = input(key, definition, firing).map_err(|error| errors::invalid(vec![("spec.run.input".into(), error)]))?;
    let mut labels = definition.run.labels.clone();
    labels.insert(LABEL.to_owned(), key.name.clone());
    Ok(v1::StartRunRequest {
        namespace: key.namespace.clone(),
        workflow: definition.run.workflow.clone(),
        workflow_version: definition.run.workflow_version,
        run_id: firing.run_id.clone(),
        request_id: format!("schedule:{}:{}", state.uid, firing.run_id),
        input,
        labels,
        on_conflict: v1::ConflictPolicy::Reject.into(),
        on_reuse: v1::ReusePolicy::Reject.into(),
        principal: starter(state, firing),
        ..v1::StartRunRequest::default()
    })
}

/// The run's input, or why there is none.
pub(crate) fn input(key: &ScheduleKey, definition: &Definition, firing: &Firing) -> Result<Option<v1::Payload>, String> {
    let Some(template) = &definition.input else { return Ok(None) };
    let nominal = quorus_engine::Timestamp(firing.scheduled_at.as_ref().map_or(0, millis));
    let cause = match firing.cause() {
        FiringCause::Backfill => "backfill",
        FiringCause::Manual => "manual",
        FiringCause::Time | FiringCause::Unspecified => "time",
    };
    let schedule = json!({
        "namespace": key.namespace,
        "name": key.name,
        "scheduled_at": rfc3339(nominal),
        "local_time": definition.timing.local(nominal),
        "cause": cause,
    });
    let value = template.render(&[Arc::new(schedule)]).map_err(|error| error.to_string())?;
    Ok(Some(v1::Payload { data: value.to_string().into(), encoding: String::new() }))
}

/// Which of these runs have ended, or never were; `None` if it can't be found out now.
pub(crate) async fn ended(context: &Arc<ApiContext>, key: &ScheduleKey, runs: &[String]) -> Option<BTreeSet<String>> {
    let ask = |run_id: String| {
        let request = v1::GetRunRequest { namespace: key.namespace.clone(), run_id: run_id.clone(), ..v1::GetRunRequest::default() };
        let runs = Runs { context: context.clone() };
        async move {
            match runs.get_run(within(request)).await {
                Ok(answer) => Some((run_id, answer.into_inner().run.is_none_or(|run| run.ended_at.is_some()))),
                Err(status) if status.code() == Code::NotFound => Some((run_id, true)),
                Err(_) => None,
            }
        }
    };
    let answers: Vec<Option<(String, bool)>> = futures::stream::iter(runs.to_vec()).map(ask).buffered(SIDE_BY_SIDE).collect().await;
    let answers: Option<Vec<_>> = answers.into_iter().collect();
    Some(answers?.into_iter().filter(|(_, ended)| *ended).map(|(run_id, _)| run_id).collect())
}

/// Stops a run that is in the way of a firing; true if it was asked to.
pub(crate) async fn stop(context: &Arc<ApiContext>, key: &ScheduleKey, state: &StoredSchedule, firing: &Firing, run_id: &str) -> bool {
    let runs = Runs { context: context.clone() };
    let (namespace, run_id) = (key.namespace.clone(), run_id.to_owned());
    let reason = format!("schedule {} fires again", key.name);
    let principal = starter(state, firing);
    let result = if firing.overlap() == OverlapPolicy::TerminateOther {
        runs.terminate_run(within(v1::TerminateRunRequest { namespace, run_id, reason, principal })).await.map(drop)
    } else {
        #[allow(clippy::needless_update, reason = "how a run is cancelled by default is for its service to say")]
        let request = v1::CancelRunRequest { namespace, run_id, reason, principal, ..v1::CancelRunRequest::default() };
        runs.cancel_run(within(request)).await.map(drop)
    };
    match result {
        Ok(()) => true,
        // One that has ended meanwhile is not in the way; that is seen when it is looked at again.
        Err(status) => !comes_back(&status),
    }
}

fn millis(time: &prost_types::Timestamp) -> i64 {
    time.seconds * 1000 + i64::from(time.nanos) / 1_000_000
}
