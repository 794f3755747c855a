//! `quorus apply`: makes definitions known to the cluster.

use quorus_client::{
    Client,
    v1::{self, apply_workflow_request::Definition},
};
use quorus_spec::Loaded;
use serde_json::{Value, json};

use super::{args::Globals, client, failure::Failure, render, source, term};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File, folder, or - for stdin; may be repeated
    #[arg(long, short, required = true, value_name = "PATH")]
    file: Vec<String>,
    /// Let the cluster check everything, but change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let checked = source::check(&source::read_all(&args.file)?);
    // All or nothing as far as we can see: nothing is applied while anything is wrong.
    checked.report()?;
    let client = client::connect(globals)?;
    let mut answers = Vec::new();
    for loaded in checked.loaded {
        let answer = apply(&client, globals, loaded, args.dry_run).await?;
        let line = line(&answer, args.dry_run);
        if globals.output == super::args::Format::Table && !globals.quiet {
            term::print(&line)?;
        }
        answers.push(render::value(&answer));
    }
    let all = if answers.len() == 1 { answers.pop().unwrap_or(Value::Null) } else { json!({"applied": answers}) };
    if globals.output == super::args::Format::Table { Ok(()) } else { term::print_as(globals, || all, String::new) }
}

/// Applies one definition; `-n` counts where it names no namespace itself.
pub(crate) async fn apply(client: &Client, globals: &Globals, loaded: Loaded, dry_run: bool) -> Result<v1::ApplyWorkflowResponse, Failure> {
    let mut workflow = loaded.workflow;
    let metadata = workflow.metadata.get_or_insert_default();
    match &globals.namespace {
        Some(namespace) if metadata.namespace.is_empty() => metadata.namespace.clone_from(namespace),
        Some(namespace) if metadata.namespace != *namespace => {
            let message = format!("workflow `{}` is for namespace `{}`, but -n says `{namespace}`", metadata.name, metadata.namespace);
            return Err(Failure::usage(message));
        }
        _ => {}
    }
    let request = v1::ApplyWorkflowRequest { definition: Some(Definition::Workflow(workflow)), dry_run, principal: None };
    Ok(client.apply_workflow(request).await?)
}

fn line(answer: &v1::ApplyWorkflowResponse, dry_run: bool) -> String {
    let version = answer.workflow.clone().unwrap_or_default();
    let name = version.workflow.and_then(|workflow| workflow.metadata).map(|metadata| metadata.name).unwrap_or_default();
    let what = match (answer.changed, dry_run) {
        (true, false) => "applied",
        (true, true) => "would be applied",
        (false, _) => "unchanged",
    };
    format!("workflow {name} {what}, version {}\n", version.version)
}
