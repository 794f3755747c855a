//! `quorus runs`: executions of workflows.

use std::{str::FromStr, time::SystemTime};

use clap::{Subcommand, builder::PossibleValuesParser};
use prost_types::Timestamp;
use quorus_client::{Client, exit_code, is_final, v1};
use serde_json::{Value, json};

use super::{
    args::{Format, Globals, duration, key_value, labels},
    client, describe,
    failure::Failure,
    lifecycle, render, table, term,
    text::{age, between, painted, plural, run_status, run_style, span},
    view,
    watch::{self, Show},
};

const STATUSES: [&str; 10] =
    ["queued", "running", "failing", "cancelling", "compensating", "needs_attention", "succeeded", "failed", "cancelled", "terminated"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List runs, newest first
    #[command(visible_alias = "ls")]
    List(List),
    /// Show a run on one line, or whole with -o json
    Get(One),
    /// Show a run with its steps, for people
    Describe(One),
    /// Show what happens in a run until its end; exit code 3 unless it succeeds
    Watch {
        #[command(flatten)]
        run: One,
        /// First event to show
        #[arg(long, default_value_t = 1, value_name = "SEQUENCE")]
        from: u64,
    },
    /// Wait for the end of a run; exit code 3 unless it succeeds
    Wait(One),
    /// List the events of a run
    History {
        #[command(flatten)]
        run: One,
        /// At most this many [default: all]
        #[arg(long, value_name = "NUMBER")]
        limit: Option<usize>,
    },
    /// Print what a run, or one of its steps, returned
    Output {
        #[command(flatten)]
        run: One,
        /// Id of a step
        #[arg(long, value_name = "STEP")]
        step: Option<String>,
    },
    /// Stop runs in order, and undo what they did
    Cancel {
        #[command(flatten)]
        stop: Stop,
        /// Undo nothing
        #[arg(long)]
        no_compensate: bool,
    },
    /// Stop runs at once
    Terminate(Stop),
    #[command(flatten)]
    Lifecycle(lifecycle::Command),
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Id of the run
    #[arg(value_name = "RUN")]
    id: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// Ids of the runs
    #[arg(required = true, value_name = "RUN")]
    ids: Vec<String>,
    /// Recorded in the history
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only runs of this workflow
    #[arg(long, short, value_name = "NAME")]
    workflow: Option<String>,
    /// Only runs with this status; several separated by commas
    #[arg(long, short, value_delimiter = ',', value_name = "STATUS", value_parser = PossibleValuesParser::new(STATUSES))]
    status: Vec<String>,
    /// Only runs with this label; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
    label: Vec<(String, String)>,
    /// Only runs that started since then: a duration ago, or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    limit: usize,
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::List(args) => list(args, globals).await,
        Command::Get(one) => {
            let run = get(&client::connect(globals)?, &one).await?;
            term::print_as(globals, || render::value(&run), || rows(std::slice::from_ref(&run)))
        }
        Command::Describe(one) => {
            let run = get(&client::connect(globals)?, &one).await?;
            term::print_as(globals, || render::value(&run), || describe::run(&run))
        }
        Command::Watch { run, from } => wait(globals, &run, from, Show::Events).await,
        Command::Wait(one) => wait(globals, &one, 1, Show::Nothing).await,
        Command::History { run, limit } => history(globals, run, limit).await,
        Command::Output { run, step } => output(globals, &run, step.as_deref()).await,
        Command::Cancel { stop, no_compensate } => cancel(globals, stop, no_compensate).await,
        Command::Terminate(stop) => terminate(globals, stop).await,
        Command::Lifecycle(command) => lifecycle::run(command, globals).await,
    }
}

async fn get(client: &Client, one: &One) -> Result<v1::Run, Failure> {
    Ok(client.get_run(v1::GetRunRequest { run_id: one.id.clone(), ..Default::default() }).await?)
}

async fn wait(globals: &Globals, one: &One, from: u64, show: Show) -> Result<(), Failure> {
    let client = client::connect_to_wait(globals, None)?;
    let run = watch::follow(&client, globals, "", &one.id, from, show).await?;
    watch::conclude(globals, &run, show)
}

async fn list(args: List, globals: &Globals) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let statuses = args.status.iter().filter_map(|name| v1::RunStatus::from_str_name(&format!("RUN_STATUS_{}", name.to_uppercase())));
    let mut request = v1::ListRunsRequest {
        workflow: args.workflow.unwrap_or_default(),
        statuses: statuses.map(|status| status as i32).collect(),
        labels: labels(args.label),
        started_after: args.since,
        ..Default::default()
    };
    let mut runs = Vec::new();
    let mut more = true;
    while more && runs.len() < args.limit {
        request.page_size = u32::try_from(args.limit - runs.len()).unwrap_or(u32::MAX).min(1000);
        let page = client.list_runs(request.clone()).await?;
        runs.extend(page.runs);
        more = !page.next_page_token.is_empty();
        request.page_token = page.next_page_token;
    }
    if globals.output == Format::Table {
        if runs.is_empty() {
            term::remark(globals, &format!("no runs in namespace {}", client.options().namespace));
        } else if more {
            term::remark(globals, &format!("the newest {} are shown; see --limit", plural(runs.len(), "run")));
        }
    }
    term::print_as(globals, || json!({"runs": runs.iter().map(render::value).collect::<Vec<_>>()}), || rows(&runs))
}

fn rows(runs: &[v1::Run]) -> String {
    let row = |run: &v1::Run| {
        let ended = run.ended_at.unwrap_or_else(super::text::now);
        [
            run.run_id.clone(),
            run.workflow.clone(),
            painted(run_style(run.status()), &run_status(run.status())),
            format!("{}/{}", run.steps_ended, run.steps_total),
            age(run.started_at.as_ref()),
            between(run.started_at.as_ref(), Some(&ended)).map(span).unwrap_or_default(),
        ]
    };
    table::table(["RUN", "WORKFLOW", "STATUS", "STEPS", "AGE", "DURATION"], runs.iter().map(row))
}

async fn history(globals: &Globals, one: One, limit: Option<usize>) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let limit = limit.unwrap_or(usize::MAX);
    let mut request = v1::GetRunHistoryRequest { run_id: one.id, ..Default::default() };
    let mut events = Vec::new();
    loop {
        request.page_size = u32::try_from(limit - events.len()).unwrap_or(u32::MAX).min(1000);
        let page = client.run_history(request.clone()).await?;
        events.extend(page.events);
        events.truncate(limit);
        if page.next_page_token.is_empty() || events.len() >= limit {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let value = || json!({"events": events.iter().map(render::value).collect::<Vec<_>>()});
    term::print_as(globals, value, || events.iter().map(|event| format!("{:>6}  {}\n", event.sequence, view::line(event))).collect())
}

async fn output(globals: &Globals, one: &One, step: Option<&str>) -> Result<(), Failure> {
    let run = get(&client::connect(globals)?, one).await?;
    let (payload, what) = match step {
        Some(id) => {
            let unknown = || Failure::new(exit_code::NOT_FOUND, format!("run {} has no step `{id}`", run.run_id));
            let state = run.steps.iter().find(|state| state.step == id).ok_or_else(unknown)?;
            (state.output.clone(), format!("step `{id}` of run {}", run.run_id))
        }
        None => (run.output.clone(), format!("run {}", run.run_id)),
    };
    let Some(payload) = payload else {
        let failure = Failure::new(exit_code::NOT_FOUND, format!("{what} has no output"));
        let status = run_status(run.status());
        return Err(if is_final(run.status()) {
            failure.hint(format!("the run {status}; see `quorus runs describe {}`", run.run_id))
        } else {
            failure.hint(format!("the run is {status}; see `quorus runs wait {}`", run.run_id))
        });
    };
    match serde_json::from_slice::<Value>(&payload.data) {
        Ok(value) if globals.output == Format::Yaml => term::print(&term::yaml(&value)?),
        Ok(value) => term::print(&term::json(&value)),
        Err(_) => term::print_bytes(&payload.data),
    }
}

async fn cancel(globals: &Globals, stop: Stop, no_compensate: bool) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    for id in stop.ids {
        let request = v1::CancelRunRequest { run_id: id, reason: stop.reason.clone(), no_compensate, ..Default::default() };
        stopped(globals, &client.cancel_run(request).await?)?;
    }
    Ok(())
}

async fn terminate(globals: &Globals, stop: Stop) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    for id in stop.ids {
        let request = v1::TerminateRunRequest { run_id: id, reason: stop.reason.clone(), ..Default::default() };
        stopped(globals, &client.terminate_run(request).await?)?;
    }
    Ok(())
}

fn stopped(globals: &Globals, run: &v1::Run) -> Result<(), Failure> {
    let line = || if globals.quiet { String::new() } else { format!("run {} is {}\n", run.run_id, run_status(run.status())) };
    term::print_as(globals, || render::value(run), line)
}

/// Reads `10m` (ago) or an RFC 3339 time.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = duration(text) {
        return SystemTime::now().checked_sub(ago).map(Into::into).ok_or_else(|| "too long ago".to_owned());
    }
    Timestamp::from_str(text).map_err(|_| "expected a duration such as 10m, or a time such as 2026-11-24T20:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_durations_and_times() {
        assert_eq!(since("2025-11-24T20:00:01Z"), Ok(Timestamp { seconds: 1_764_014_401, nanos: 0 }));
        assert!(since("10m").is_ok());
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn every_status_is_known() {
        for name in STATUSES {
            assert!(v1::RunStatus::from_str_name(&format!("RUN_STATUS_{}", name.to_uppercase())).is_some(), "{name}");
        }
    }
}
