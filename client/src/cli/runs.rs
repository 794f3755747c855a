//! `quorus runs`: executions of workflows.

use clap::Subcommand;
use quorus_client::{Client, exit_code, is_final, v1};
use serde_json::{Value, json};

use super::{
    args::{Format, Globals},
    bulk::{self, Targets, Verb},
    client, describe, export,
    failure::Failure,
    lifecycle, list, logs, render, term,
    text::run_status,
    view,
    watch::{self, Show},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List runs, newest first, or count them
    #[command(visible_alias = "ls", visible_alias = "search")]
    List(list::Args),
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
    /// Show what steps wrote: stdout, stderr and what workers say
    Logs(logs::Args),
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
    /// Remove ended runs with their histories, now instead of after their retention
    #[command(visible_alias = "delete")]
    Purge(Stop),
    /// Write the histories of runs as JSON lines
    Export(export::Args),
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
    #[command(flatten)]
    targets: Targets,
    /// Recorded in the history
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::List(args) => list::run(args, globals).await,
        Command::Get(one) => {
            let run = get(&client::connect(globals)?, &one).await?;
            term::print_as(globals, || render::value(&run), || list::rows(std::slice::from_ref(&run)))
        }
        Command::Describe(one) => {
            let run = get(&client::connect(globals)?, &one).await?;
            term::print_as(globals, || render::value(&run), || describe::run(&run))
        }
        Command::Watch { run, from } => wait(globals, &run, from, Show::Events).await,
        Command::Wait(one) => wait(globals, &one, 1, Show::Nothing).await,
        Command::History { run, limit } => history(globals, run, limit).await,
        Command::Logs(args) => logs::run(args, globals).await,
        Command::Output { run, step } => output(globals, &run, step.as_deref()).await,
        Command::Cancel { stop, no_compensate } => cancel(globals, stop, no_compensate).await,
        Command::Terminate(stop) => terminate(globals, stop).await,
        Command::Purge(stop) => purge(globals, stop).await,
        Command::Export(args) => export::run(args, globals).await,
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
    let verb = Verb { name: "cancel", done: "cancelled", only: "status=open" };
    let Stop { targets, reason } = stop;
    bulk::each(globals, targets, verb, |client, run| {
        let request = v1::CancelRunRequest { run_id: run.run_id, reason: reason.clone(), no_compensate, ..Default::default() };
        async move { client.cancel_run(request).await.map(Some) }
    })
    .await
}

async fn terminate(globals: &Globals, stop: Stop) -> Result<(), Failure> {
    let verb = Verb { name: "terminate", done: "terminated", only: "status=open" };
    let Stop { targets, reason } = stop;
    bulk::each(globals, targets, verb, |client, run| {
        let request = v1::TerminateRunRequest { run_id: run.run_id, reason: reason.clone(), ..Default::default() };
        async move { client.terminate_run(request).await.map(Some) }
    })
    .await
}

async fn purge(globals: &Globals, stop: Stop) -> Result<(), Failure> {
    let verb = Verb { name: "purge", done: "purged", only: "status=ended" };
    let Stop { targets, reason } = stop;
    bulk::each(globals, targets, verb, |client, run| {
        let v1::Run { run_id, run_uid, .. } = run;
        let request = v1::PurgeRunRequest { run_id, run_uid, reason: reason.clone(), ..Default::default() };
        async move { client.purge_run(request).await.map(|_| None) }
    })
    .await
}
