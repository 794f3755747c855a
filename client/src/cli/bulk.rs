//! The same for many runs: named one by one, or all that meet a filter.
//!
//! Runs are found first and acted on then, so what is confirmed is what happens. A few are under way at a time. It may be interrupted and said again:
//! what is done is done, and the next time the filter finds the rest.

use std::{
    collections::BTreeMap,
    future::Future,
    io::{self, BufRead, IsTerminal},
    sync::Arc,
};

use indicatif::{ProgressBar, ProgressStyle};
use quorus_client::{Client, Error, exit_code, v1};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    args::Globals,
    client,
    failure::{Failure, INTERRUPTED},
    list, render,
    select::{Pages, Select},
    term,
    text::plural,
};

/// More are not acted on at once: whoever means a million runs narrows the filter, or says it again.
const RUNS_MAX: usize = 100_000;
/// Failures that are told one by one.
const FAILURES_SHOWN: usize = 20;

/// Which runs to act on.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Targets {
    /// Ids of the runs
    #[arg(value_name = "RUN")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    select: Select,
    /// Show which runs it would be, change nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't ask before acting on the runs that a filter found
    #[arg(long, short)]
    yes: bool,
    /// How many runs to act on at a time
    #[arg(long, default_value_t = 16, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verb {
    /// "cancel"
    pub(crate) name: &'static str,
    /// "cancelled"
    pub(crate) done: &'static str,
    /// What is added to a filter, so that it finds only runs to which it can be done: "status=open".
    pub(crate) only: &'static str,
}

/// What came of it.
#[derive(Debug, Default)]
struct Summary {
    done: usize,
    skipped: usize,
    failed: BTreeMap<String, String>,
    left: usize,
}

/// Does something to each run; `act` gets a client and a run of which at least the id is known.
pub(crate) async fn each<F, Fut>(globals: &Globals, targets: Targets, verb: Verb, act: F) -> Result<(), Failure>
where
    F: Fn(Client, v1::Run) -> Fut,
    Fut: Future<Output = Result<Option<v1::Run>, Error>> + Send + 'static,
{
    let client = client::connect(globals)?;
    if !targets.select.is_empty() && !targets.ids.is_empty() {
        return Err(Failure::usage("name runs, or say which with flags, but not both"));
    }
    if targets.select.is_empty() {
        return named(globals, &client, &targets, verb, act).await;
    }
    let runs = found(&client, &targets, verb).await?;
    if runs.is_empty() {
        term::remark(globals, &format!("no runs to {} in namespace {}", verb.name, client.options().namespace));
    }
    if targets.dry_run {
        term::remark(globals, &format!("would {} {}", verb.name, plural(runs.len(), "run")));
        return term::print_as(globals, || json!({"runs": runs.iter().map(render::value).collect::<Vec<_>>()}), || list::rows(&runs));
    }
    if !runs.is_empty() && !targets.yes {
        confirm(verb, runs.len())?;
    }
    let summary = carry_out(globals, &client, &targets, runs, act).await;
    conclude(globals, verb, &summary)
}

/// Runs that were named: each says what became of it, and the first failure ends it.
async fn named<F, Fut>(globals: &Globals, client: &Client, targets: &Targets, verb: Verb, act: F) -> Result<(), Failure>
where
    F: Fn(Client, v1::Run) -> Fut,
    Fut: Future<Output = Result<Option<v1::Run>, Error>> + Send + 'static,
{
    if targets.ids.is_empty() {
        let hint = format!("for example `quorus runs {} --workflow NAME --status open --dry-run`", verb.name);
        return Err(Failure::usage("which runs? Name them, or say which with flags such as --workflow and --status").hint(hint));
    }
    for id in &targets.ids {
        if targets.dry_run {
            let run = client.get_run(v1::GetRunRequest { run_id: id.clone(), ..Default::default() }).await?;
            term::print_as(globals, || render::value(&run), || format!("would {} run {id}\n", verb.name))?;
            continue;
        }
        let after = act(client.clone(), v1::Run { run_id: id.clone(), ..Default::default() }).await?;
        let line = || if globals.quiet { String::new() } else { said(id, after.as_ref(), verb) };
        term::print_as(globals, || after.as_ref().map_or_else(|| json!({"run_id": id}), render::value), line)?;
    }
    Ok(())
}

fn said(id: &str, after: Option<&v1::Run>, verb: Verb) -> String {
    match after {
        Some(run) => format!("run {id} is {}\n", super::text::run_status(run.status())),
        None => format!("run {id} is {}\n", verb.done),
    }
}

async fn found(client: &Client, targets: &Targets, verb: Verb) -> Result<Vec<v1::Run>, Failure> {
    let filter = format!("{} {}", targets.select.text(), verb.only);
    let mut pages = Pages::new(filter, RUNS_MAX);
    let mut runs = Vec::new();
    while let Some(page) = pages.next(client).await? {
        runs.extend(page);
    }
    if pages.more() {
        return Err(Failure::usage(format!("more than {RUNS_MAX} runs are found; narrow the filter, for example with --until")));
    }
    Ok(runs)
}

fn confirm(verb: Verb, count: usize) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("this would {} {}; say --yes, or --dry-run to see which", verb.name, plural(count, "run"))));
    }
    term::note(&format!("{} {}? [y/N] ", verb.name, plural(count, "run")));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::error("nothing was done")) }
}

/// Acts on all, some at a time; Ctrl-C begins no more and waits for those under way.
async fn carry_out<F, Fut>(globals: &Globals, client: &Client, targets: &Targets, runs: Vec<v1::Run>, act: F) -> Summary
where
    F: Fn(Client, v1::Run) -> Fut,
    Fut: Future<Output = Result<Option<v1::Run>, Error>> + Send + 'static,
{
    let bar = if globals.quiet { ProgressBar::hidden() } else { ProgressBar::new(runs.len() as u64) };
    if let Ok(style) = ProgressStyle::with_template("[{bar:40}] {pos}/{len} runs, {eta} left {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    let interrupted = Arc::new(tokio::sync::Notify::new());
    let listener = tokio::spawn({
        let interrupted = interrupted.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                interrupted.notify_one();
            }
        }
    });
    let mut summary = Summary::default();
    let mut rest = runs.into_iter();
    let mut under_way = JoinSet::new();
    let mut stopping = false;
    loop {
        while !stopping && under_way.len() < usize::from(targets.concurrency) {
            let Some(run) = rest.next() else { break };
            let id = run.run_id.clone();
            let acting = act(client.clone(), run);
            under_way.spawn(async move { (id, acting.await) });
        }
        tokio::select! {
            ended = under_way.join_next() => match ended {
                None => break,
                Some(ended) => {
                    summary.add(ended);
                    bar.inc(1);
                    if !summary.failed.is_empty() {
                        bar.set_message(format!("({} failed)", summary.failed.len()));
                    }
                }
            },
            () = interrupted.notified(), if !stopping => stopping = true,
        }
    }
    listener.abort();
    bar.finish_and_clear();
    summary.left = rest.len();
    summary
}

impl Summary {
    fn add(&mut self, ended: Result<(String, Result<Option<v1::Run>, Error>), tokio::task::JoinError>) {
        match ended {
            Ok((_, Ok(_))) => self.done += 1,
            // It ended or went by itself between the look and the act: what was wanted is no longer to be had.
            Ok((_, Err(error))) if matches!(error.reason(), "RUN_ENDED" | "RUN_NOT_FOUND") => self.skipped += 1,
            Ok((id, Err(error))) => drop(self.failed.insert(id, error.to_string())),
            Err(error) => drop(self.failed.insert("?".to_owned(), error.to_string())),
        }
    }
}

fn conclude(globals: &Globals, verb: Verb, summary: &Summary) -> Result<(), Failure> {
    let Summary { done, skipped, failed, left } = summary;
    let value = || json!({"done": done, "skipped": skipped, "failed": failed, "left": left});
    let text = || {
        let mut text = format!("{} {}", plural(*done, "run"), verb.done);
        for (count, what) in [(*skipped, "had ended already"), (failed.len(), "failed"), (*left, "left")] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text.push('\n');
        for (id, why) in failed.iter().take(FAILURES_SHOWN) {
            text.push_str(&format!("  {id}: {why}\n"));
        }
        if failed.len() > FAILURES_SHOWN {
            text.push_str(&format!("  and {} more\n", failed.len() - FAILURES_SHOWN));
        }
        text
    };
    term::print_as(globals, value, text)?;
    if *left > 0 {
        return Err(Failure::new(INTERRUPTED, "interrupted; say it again to go on"));
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::silent(exit_code::ERROR)) }
}
