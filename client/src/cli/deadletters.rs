//! `quorus deadletters`: what needs a person, and what people do about it.

use clap::Subcommand;
use quorus_client::{Client, v1};
use serde_json::json;

use super::{
    args::{Format, Globals},
    bulk::{self, Targets, Verb},
    client,
    failure::Failure,
    render,
    select::Select,
    table, term,
    text::{age, cut, failure, plural},
};

/// Failures in the table are cut here.
const FAILURE_WIDTH: usize = 60;
/// Of a page; the most that nodes give.
const PAGE: u32 = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List runs that need attention, and items that failed for good
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        select: Select,
        /// At most this many
        #[arg(long, default_value_t = 100, value_name = "NUMBER")]
        limit: usize,
    },
    /// Go on from the failed steps of runs that need attention
    Redrive(Settle),
    /// Settle dead letters without redriving them: terminate runs that need attention, or discard an item
    Discard {
        #[command(flatten)]
        settle: Settle,
        /// The item of the one named run that is discarded, for example `regions[3]`; the run stays as it is
        #[arg(long, value_name = "ITEM")]
        item: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Settle {
    #[command(flatten)]
    targets: Targets,
    /// Recorded in the history
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::List { select, limit } => list(globals, &select, limit).await,
        Command::Redrive(Settle { targets, reason }) => {
            let verb = Verb { name: "redrive", done: "redriven", only: "status=needs_attention" };
            bulk::each(globals, targets, verb, |client, run| {
                let request = v1::RetryRunRequest { run_id: run.run_id, reason: reason.clone(), ..Default::default() };
                async move { client.retry_run(request).await.map(Some) }
            })
            .await
        }
        Command::Discard { settle, item: Some(item) } => discard_item(globals, settle, item).await,
        Command::Discard { settle: Settle { targets, reason }, item: None } => {
            let verb = Verb { name: "discard", done: "discarded", only: "status=needs_attention" };
            bulk::each(globals, targets, verb, |client, run| {
                let request = v1::TerminateRunRequest { run_id: run.run_id, reason: reason.clone(), ..Default::default() };
                async move { client.terminate_run(request).await.map(Some) }
            })
            .await
        }
    }
}

async fn list(globals: &Globals, select: &Select, limit: usize) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let (letters, more) = pages(&client, select.text(), limit).await?;
    if globals.output == Format::Table {
        if letters.is_empty() {
            term::remark(globals, &format!("no dead letters in namespace {}", client.options().namespace));
        } else if more {
            term::remark(globals, &format!("{} are shown, there are more; see --limit", plural(letters.len(), "dead letter")));
        }
    }
    let row = |letter: &v1::DeadLetter| {
        [
            letter.run_id.clone(),
            letter.workflow.clone(),
            letter.step.clone(),
            letter.cause.clone(),
            age(letter.since.as_ref()),
            cut(&failure(letter.failure.as_ref()), FAILURE_WIDTH),
        ]
    };
    let value = || json!({"dead_letters": letters.iter().map(render::value).collect::<Vec<_>>()});
    term::print_as(globals, value, || table::table(["RUN", "WORKFLOW", "STEP", "CAUSE", "AGE", "ERROR"], letters.iter().map(row)))
}

/// At most `limit`, and whether there are more.
async fn pages(client: &Client, filter: String, limit: usize) -> Result<(Vec<v1::DeadLetter>, bool), Failure> {
    let mut request = v1::ListDeadLettersRequest { filter, ..Default::default() };
    let mut letters = Vec::new();
    while letters.len() < limit {
        request.page_size = u32::try_from(limit - letters.len()).unwrap_or(u32::MAX).min(PAGE);
        let page = client.list_dead_letters(request.clone()).await?;
        letters.extend(page.dead_letters);
        if page.next_page_token.is_empty() {
            return Ok((letters, false));
        }
        request.page_token = page.next_page_token;
    }
    Ok((letters, true))
}

async fn discard_item(globals: &Globals, settle: Settle, step: String) -> Result<(), Failure> {
    let [run_id] = settle.targets.ids.as_slice() else {
        return Err(Failure::usage("--item is about one run: name it"));
    };
    if settle.reason.is_empty() {
        return Err(Failure::usage("to discard an item needs a --reason: it is all that will be known of it"));
    }
    let request = v1::DiscardDeadLetterRequest { run_id: run_id.clone(), step: step.clone(), reason: settle.reason, ..Default::default() };
    client::connect(globals)?.discard_dead_letter(request).await?;
    term::remark(globals, &format!("{step} of run {run_id} is discarded"));
    Ok(())
}
