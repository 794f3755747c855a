//! Follows a run until its end: silently, as lines, or as a live view on a terminal.

use std::time::Duration;

use quorus_client::{
    Client, RunWatch, exit_code,
    v1::{Run, RunStatus, StepStatus, WatchRunRequest, WatchRunResponse},
};

use super::{
    args::{Format, Globals},
    failure::{Failure, INTERRUPTED},
    progress::{Progress, REDRAW_INTERVAL},
    render, term,
    text::{between, failure, run_status, span},
    view,
};

/// How long a wait goes on while no node answers: clusters are upgraded and machines restart, and a wait is not the one to give up first.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is shown on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    Nothing,
    Events,
}

/// Returns the run as it ended. `--timeout` bounds the whole wait; Ctrl-C ends the watching, not the run.
pub(crate) async fn follow(
    client: &Client,
    globals: &Globals,
    namespace: &str,
    run_id: &str,
    from: u64,
    show: Show,
) -> Result<Run, Failure> {
    let request = WatchRunRequest { namespace: namespace.to_owned(), run_id: run_id.to_owned(), from_sequence: from, ..Default::default() };
    let mut watch = client.watch_run(request).patience(PATIENCE);
    let bounded = async {
        let Some(timeout) = globals.timeout else { return until_end(client, globals, &mut watch, show).await };
        let Ok(ended) = tokio::time::timeout(timeout, until_end(client, globals, &mut watch, show)).await else {
            return Err(match watch.outage() {
                Some(error) => error.into(),
                None => {
                    let message = format!("run {run_id} is still going on after {}", span(timeout));
                    Failure::new(exit_code::TIMED_OUT, message).hint(format!("see `quorus runs describe {run_id}`"))
                }
            });
        };
        ended
    };
    tokio::select! {
        result = bounded => result,
        _ = tokio::signal::ctrl_c() => {
            term::remark(globals, &format!("\ndetached; run {run_id} goes on. Watch it again with `quorus runs watch {run_id}`"));
            Err(Failure::silent(INTERRUPTED))
        }
    }
}

async fn until_end(client: &Client, globals: &Globals, watch: &mut RunWatch, show: Show) -> Result<Run, Failure> {
    let live = show == Show::Events && globals.output == Format::Table && !globals.quiet && term::stderr_is_terminal();
    let mut progress = live.then(Progress::new);
    let mut redraw = tokio::time::interval(REDRAW_INTERVAL);
    let mut last = None;
    loop {
        tokio::select! {
            item = watch.next() => {
                let Some(item) = item? else { break };
                match &mut progress {
                    Some(progress) => progress.apply(&item),
                    None if show == Show::Events => print_events(globals, &item)?,
                    None => {}
                }
                last = item.run.or(last);
            }
            _ = redraw.tick(), if progress.is_some() => {
                if let Some(progress) = &mut progress {
                    progress.redraw();
                }
            }
        }
    }
    let last = last.ok_or_else(|| Failure::error("the watch ended without the run"))?;
    Ok(client.whole_run(last).await)
}

/// One line per event, also as JSON, so that a program can read them as they come.
fn print_events(globals: &Globals, item: &WatchRunResponse) -> Result<(), Failure> {
    let mut text = String::new();
    for event in &item.events {
        match globals.output {
            Format::Table => text.push_str(&format!("{}\n", view::line(event))),
            Format::Json => text.push_str(&format!("{}\n", render::value(event))),
            Format::Yaml => text.push_str(&format!("---\n{}", term::yaml(&render::value(event))?)),
        }
    }
    if text.is_empty() { Ok(()) } else { term::print(&text) }
}

/// Prints the end of a run; an error unless it succeeded.
pub(crate) fn conclude(globals: &Globals, run: &Run, show: Show) -> Result<(), Failure> {
    if globals.output == Format::Table {
        if run.status() == RunStatus::Succeeded {
            let took = between(run.started_at.as_ref(), run.ended_at.as_ref()).map(|took| format!(" in {}", span(took)));
            term::remark(globals, &format!("run {} succeeded{}", run.run_id, took.unwrap_or_default()));
        }
        if let Some(output) = &run.output {
            match serde_json::from_slice::<serde_json::Value>(&output.data) {
                Ok(value) => term::print(&term::json(&value))?,
                Err(_) => term::print_bytes(&output.data)?,
            }
        }
    } else if show == Show::Nothing {
        term::print_as(globals, || render::value(run), String::new)?;
    }
    if run.status() == RunStatus::Succeeded {
        return Ok(());
    }
    let hint = format!("see `quorus runs describe {}`", run.run_id);
    Err(Failure::new(exit_code::RUN_FAILED, verdict(run)).hint(hint))
}

/// `run r1 failed: step `a`: ExitCode: exit code 1`.
fn verdict(run: &Run) -> String {
    let status = run_status(run.status());
    let what = match run.status() {
        RunStatus::Failed => status,
        _ => format!("was {status}"),
    };
    let failed = run.steps.iter().find(|step| step.status() == StepStatus::Failed);
    let why = match (failed, failure(run.failure.as_ref())) {
        (Some(step), _) => format!(": step `{}`: {}", step.step, failure(step.failure.as_ref())),
        (None, why) if why.is_empty() => why,
        (None, why) => format!(": {why}"),
    };
    format!("run {} {what}{why}", run.run_id)
}
