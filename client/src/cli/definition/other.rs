//! The kinds beside workflows: one arm per kind and question. What has none here is applied by commands of its own.

use prost::Message;
use quorus_client::{Client, Error, v1};
use quorus_spec::ReadResource;
use serde_json::Value;
use tonic::Code;

use super::{Applied, Latest, Name};
use crate::cli::{failure::Failure, render, term};

/// The kinds that the language knows, as people see them.
pub(super) fn kind(kind: &str) -> Option<&'static str> {
    match kind {
        "Limit" => Some("limit"),
        "Secret" => Some("secret"),
        "Schedule" => Some("schedule"),
        "Trigger" => Some("trigger"),
        _ => None,
    }
}

/// Canonical: as the message says it.
pub(super) fn yaml(name: &Name, read: &ReadResource) -> String {
    let value = match name.kind {
        "limit" => decoded::<v1::Limit>(read).map(|limit| render::value(&limit)),
        "schedule" => decoded::<v1::Schedule>(read).map(|schedule| render::value(&schedule)),
        "trigger" => decoded::<v1::Trigger>(read).map(|trigger| render::value(&trigger)),
        _ => return read.text.clone(),
    };
    value.and_then(|value| term::yaml(&value)).unwrap_or_else(|_| read.text.clone())
}

/// What the cluster has under this name.
pub(super) async fn latest(client: &Client, name: &Name) -> Result<Option<Latest>, Failure> {
    let found = match name.kind {
        "limit" => {
            let answer = client.list_limits(v1::ListLimitsRequest { name: name.name.clone() }).await?;
            answer.limits.into_iter().find_map(|status| status.limit).map(|limit| render::value(&limit))
        }
        "schedule" => {
            let request = v1::GetScheduleRequest { namespace: name.namespace.clone(), name: name.name.clone(), ..Default::default() };
            there(client.get_schedule(request).await)?.and_then(|state| state.schedule).map(|schedule| render::value(&schedule))
        }
        "trigger" => {
            let request = v1::GetTriggerRequest { namespace: name.namespace.clone(), name: name.name.clone() };
            there(client.get_trigger(request).await)?.and_then(|state| state.trigger).map(|trigger| render::value(&trigger))
        }
        _ => return Err(not_here(name)),
    };
    // These kinds have no versions: the last one counts.
    found.map(|value| Ok(Latest { version: 0, yaml: term::yaml(&value)?, set: None })).transpose()
}

/// Applies it. Where the cluster can't only check, a dry run is what this program finds.
pub(super) async fn apply(client: &Client, name: &Name, read: &ReadResource, dry_run: bool) -> Result<Applied, Failure> {
    match name.kind {
        "limit" => {
            let limit = Some(decoded::<v1::Limit>(read)?);
            if dry_run {
                return Ok(Applied { changed: true, version: 0, value: Value::Null });
            }
            let answer = client.apply_limit(v1::ApplyLimitRequest { limit, principal: None }).await?;
            Ok(Applied { changed: answer.changed, version: 0, value: render::value(&answer) })
        }
        "schedule" => {
            let schedule = Some(decoded::<v1::Schedule>(read)?);
            let answer = client.apply_schedule(v1::ApplyScheduleRequest { schedule, dry_run, ..Default::default() }).await?;
            Ok(Applied { changed: answer.changed, version: 0, value: render::value(&answer) })
        }
        "trigger" => {
            let trigger = Some(decoded::<v1::Trigger>(read)?);
            let answer = client.apply_trigger(v1::ApplyTriggerRequest { trigger, dry_run, ..Default::default() }).await?;
            Ok(Applied { changed: answer.changed, version: 0, value: render::value(&answer) })
        }
        _ => Err(not_here(name)),
    }
}

/// Nothing, if the cluster says that it is not there.
fn there<T>(answer: Result<T, Error>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.api().is_some_and(|api| api.code == Code::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn decoded<M: Message + prost::Name + Default>(read: &ReadResource) -> Result<M, Failure> {
    read.decode().map_err(|_| Failure::error(format!("`{}` is no {}", read.name, M::NAME)))
}

/// A kind that is not applied here.
fn not_here(name: &Name) -> Failure {
    let failure = Failure::usage(format!("{} `{}` is not applied together with workflows", name.kind, name.name));
    match name.kind {
        "secret" => failure.hint("nodes and workers read secrets where they are; see docs/workflow-language.md"),
        kind => failure.hint(format!("see `quorus {kind}s apply -f FILE`")),
    }
}
