//! `quorus runs list`: what there is, what matches, how much of it.

use std::time::Duration;

use quorus_client::v1;
use serde_json::json;

use super::{
    args::{Globals, Shape},
    client,
    failure::Failure,
    render,
    select::{Pages, Select},
    table, term,
    text::{age, between, cut, failure, now, painted, plural, run_status, run_style, span, time},
};

/// How often a watched list is drawn again.
const REDRAW: Duration = Duration::from_secs(2);
/// Labels in a table are cut here.
const LABELS_WIDTH: usize = 40;
/// Failures in a wide table are cut here.
const FAILURE_WIDTH: usize = 60;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    select: Select,
    /// At most this many [default: 50; with -o jsonl all]
    #[arg(long, value_name = "NUMBER", conflicts_with = "count")]
    limit: Option<usize>,
    /// Only how many there are, by status
    #[arg(long)]
    count: bool,
    /// With --count: stop counting here
    #[arg(long, default_value_t = 10_000, value_name = "NUMBER", requires = "count")]
    max: u64,
    /// Draw the list again every two seconds
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    if !args.watch {
        return once(&args, globals).await;
    }
    loop {
        if term::stdout_is_terminal() {
            term::print("\u{1b}[H\u{1b}[J")?;
        }
        once(&args, globals).await?;
        tokio::time::sleep(REDRAW).await;
    }
}

async fn once(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let filter = args.select.text();
    if args.count {
        let counted = client.count_runs(v1::CountRunsRequest { filter, max: args.max, ..Default::default() }).await?;
        return term::print_as(globals, || render::value(&counted), || counts(&counted));
    }
    let limit = args.limit.unwrap_or(if globals.shape == Shape::Jsonl { usize::MAX } else { 50 });
    let mut pages = Pages::new(filter, limit);
    let mut runs = Vec::new();
    while let Some(page) = pages.next(&client).await? {
        if globals.shape == Shape::Jsonl {
            // Page by page: there may be more than fits into memory.
            term::print(&page.iter().map(|run| format!("{}\n", render::value(run))).collect::<String>())?;
        } else {
            runs.extend(page);
        }
    }
    match globals.shape {
        Shape::Jsonl => return Ok(()),
        Shape::Table | Shape::Wide if runs.is_empty() => {
            let what = if args.select.is_empty() { "no runs" } else { "no such runs" };
            term::remark(globals, &format!("{what} in namespace {}", client.options().namespace));
        }
        Shape::Table | Shape::Wide if pages.more() => {
            term::remark(globals, &format!("the newest {} are shown; see --limit and --count", plural(runs.len(), "run")));
        }
        Shape::Table | Shape::Wide | Shape::Json | Shape::Yaml => {}
    }
    let text = || if globals.shape == Shape::Wide { wide(&runs) } else { rows(&runs) };
    term::print_as(globals, || json!({"runs": runs.iter().map(render::value).collect::<Vec<_>>()}), text)
}

/// A line per run.
pub(crate) fn rows(runs: &[v1::Run]) -> String {
    let row = |run: &v1::Run| {
        [
            run.run_id.clone(),
            run.workflow.clone(),
            painted(run_style(run.status()), &run_status(run.status())),
            format!("{}/{}", run.steps_ended, run.steps_total),
            age(run.started_at.as_ref()),
            duration(run),
            cut(&labels(run), LABELS_WIDTH),
        ]
    };
    table::table(["RUN", "WORKFLOW", "STATUS", "STEPS", "AGE", "DURATION", "LABELS"], runs.iter().map(row))
}

fn wide(runs: &[v1::Run]) -> String {
    let row = |run: &v1::Run| {
        [
            run.run_id.clone(),
            format!("{}@{}", run.workflow, run.workflow_version),
            painted(run_style(run.status()), &run_status(run.status())),
            format!("{}/{}", run.steps_ended, run.steps_total),
            time(run.started_at.as_ref()),
            time(run.ended_at.as_ref()),
            duration(run),
            run.started_by.as_ref().map(|principal| principal.subject.clone()).unwrap_or_default(),
            run.shard.to_string(),
            labels(run),
            cut(&failure(run.failure.as_ref()), FAILURE_WIDTH),
        ]
    };
    let header = ["RUN", "WORKFLOW", "STATUS", "STEPS", "STARTED", "ENDED", "DURATION", "BY", "SHARD", "LABELS", "FAILURE"];
    table::table(header, runs.iter().map(row))
}

fn counts(counted: &v1::CountRunsResponse) -> String {
    let row = |part: &v1::RunStatusCount| [painted(run_style(part.status()), &run_status(part.status())), part.count.to_string()];
    let bound = if counted.more { "at least " } else { "" };
    let total = ["total".to_owned(), format!("{bound}{}", counted.count)];
    table::table(["STATUS", "RUNS"], counted.by_status.iter().map(row).chain([total]))
}

fn duration(run: &v1::Run) -> String {
    let ended = run.ended_at.unwrap_or_else(now);
    between(run.started_at.as_ref(), Some(&ended)).map(span).unwrap_or_default()
}

/// `a=1,b=2`
fn labels(run: &v1::Run) -> String {
    run.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}
