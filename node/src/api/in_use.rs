//! What uses a workflow: a definition that runs or schedules need is not deleted.
//!
//! Lists are bounded-stale, so a run that starts in this moment can be missed. It does no harm: a run keeps the definition that it started with.

use quorus_proto::v1::{self, RunStatus};
use tonic::{Code, Status};

use super::{
    ApiContext,
    errors::{self, reason},
    forward::Journey,
    list,
};
use crate::{schedules, triggers};

/// How many users the message names.
const NAMED_MAX: usize = 5;
/// How many definitions are read at a time.
const PAGE: usize = 500;

/// How many pages of runs are looked at. A page ends after a fixed number of keys, even if none matches.
const PAGES_MAX: usize = 100;

/// An error that names some of the runs that have not ended.
pub(super) async fn check(context: &ApiContext, journey: &Journey, namespace: &str, workflow: &str) -> Result<(), Status> {
    let definitions = schedules_and_triggers(context, namespace, workflow)?;
    if !definitions.is_empty() {
        let message = format!("workflow `{workflow}` can't be deleted: it is used by {}", definitions.join(", "));
        return Err(errors::status(Code::FailedPrecondition, reason::WORKFLOW_IN_USE, message));
    }
    let runs = open_runs(context, journey, namespace, workflow).await?;
    if runs.is_empty() {
        return Ok(());
    }
    let more = if runs.len() > NAMED_MAX { " and others" } else { "" };
    let names: Vec<_> = runs.iter().take(NAMED_MAX).map(|run| format!("`{run}`")).collect();
    let message = format!("workflow `{workflow}` can't be deleted: it is used by runs that have not ended: {}{more}", names.join(", "));
    Err(errors::status(Code::FailedPrecondition, reason::WORKFLOW_IN_USE, message))
}

/// Schedules and triggers that start the workflow, as messages call them; not more than are named.
fn schedules_and_triggers(context: &ApiContext, namespace: &str, workflow: &str) -> Result<Vec<String>, Status> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = context.system.list_schedules(namespace, after.as_deref(), PAGE).map_err(|error| errors::internal(&error))?;
        for (name, state) in page.schedules {
            let starts = schedules::definition::decode(state.definition).is_ok_and(|(_, definition)| definition.run.workflow == workflow);
            found.extend(starts.then(|| format!("schedule `{name}`")));
        }
        after = page.next;
        if after.is_none() || found.len() > NAMED_MAX {
            break;
        }
    }
    let mut after: Option<String> = None;
    loop {
        let page = context.system.list_triggers(namespace, after.as_deref(), PAGE).map_err(|error| errors::internal(&error))?;
        for (name, state) in page.triggers {
            let starts =
                triggers::definition::decode(state.definition).is_ok_and(|(_, definition)| definition.workflow() == Some(workflow));
            found.extend(starts.then(|| format!("trigger `{name}`")));
        }
        after = page.next;
        if after.is_none() || found.len() > NAMED_MAX {
            break;
        }
    }
    found.truncate(NAMED_MAX);
    Ok(found)
}

/// Ids of runs that have not ended, at most one more than are named.
async fn open_runs(context: &ApiContext, journey: &Journey, namespace: &str, workflow: &str) -> Result<Vec<String>, Status> {
    let mut request = v1::ListRunsRequest {
        namespace: namespace.to_owned(),
        workflow: workflow.to_owned(),
        statuses: OPEN.iter().map(|status| *status as i32).collect(),
        page_size: u32::try_from(NAMED_MAX + 1).unwrap_or(1),
        ..v1::ListRunsRequest::default()
    };
    let mut found = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = list::list_runs(context, journey, request.clone()).await?;
        found.extend(page.runs.into_iter().map(|run| run.run_id));
        if found.len() > NAMED_MAX || page.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
    if found.is_empty() { Err(errors::overloaded("runs to look at")) } else { Ok(found) }
}

/// The states of a run that has not ended.
const OPEN: [RunStatus; 6] =
    [RunStatus::Running, RunStatus::Failing, RunStatus::Cancelling, RunStatus::Queued, RunStatus::Compensating, RunStatus::NeedsAttention];
