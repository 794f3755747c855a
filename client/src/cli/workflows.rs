//! `quorus workflows`: definitions that the cluster knows.

use clap::Subcommand;
use quorus_client::v1;
use serde_json::json;

use super::{
    args::{Format, Globals},
    client,
    failure::Failure,
    queues::stopped,
    render, table, term,
    text::{age, cut, time},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List workflows
    #[command(visible_alias = "ls")]
    List,
    /// Show a workflow as YAML
    Get {
        /// Name of the workflow
        name: String,
        /// Version [default: the latest]
        #[arg(long, value_name = "NUMBER")]
        version: Option<u64>,
    },
    /// Show who applied a workflow, and whether it is paused
    Describe {
        /// Name of the workflow
        name: String,
    },
    /// Park new runs of a workflow until it is resumed; runs that go on are not touched
    Pause {
        /// Name of the workflow
        name: String,
        /// Why, for others to read
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// Let the parked runs of a workflow begin, and all later ones
    Resume {
        /// Name of the workflow
        name: String,
    },
    /// List the versions of a workflow, the newest first
    Versions {
        /// Name of the workflow
        name: String,
        /// How many at most
        #[arg(long, value_name = "NUMBER", default_value_t = 20)]
        limit: u32,
    },
    /// Delete workflows that no run or schedule uses
    #[command(visible_alias = "rm")]
    Delete {
        /// Names of the workflows
        #[arg(required = true)]
        names: Vec<String>,
    },
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::List => list(globals).await,
        Command::Get { name, version } => get(globals, name, version).await,
        Command::Describe { name } => describe(globals, name).await,
        Command::Pause { name, reason } => pause(globals, name, reason).await,
        Command::Resume { name } => {
            let request = v1::ResumeWorkflowRequest { name: name.clone(), ..Default::default() };
            let answer = client::connect(globals)?.resume_workflow(request).await?;
            term::remark(globals, &format!("workflow {name} {}", if answer.changed { "resumed" } else { "was not paused" }));
            Ok(())
        }
        Command::Versions { name, limit } => versions(globals, name, limit as usize).await,
        Command::Delete { names } => delete(globals, names).await,
    }
}

async fn list(globals: &Globals) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let mut workflows = Vec::new();
    let mut request = v1::ListWorkflowsRequest::default();
    loop {
        let page = client.list_workflows(request.clone()).await?;
        workflows.extend(page.workflows);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if workflows.is_empty() && globals.output == Format::Table {
        term::remark(globals, &format!("no workflows in namespace {}; see `quorus apply -f FILE`", client.options().namespace));
    }
    let value = || json!({"workflows": workflows.iter().map(render::value).collect::<Vec<_>>()});
    term::print_as(globals, value, || table::table(["NAME", "VERSION", "STEPS", "AGE", "STATE", "DESCRIPTION"], workflows.iter().map(row)))
}

fn row(version: &v1::WorkflowVersion) -> [String; 6] {
    let workflow = version.workflow.clone().unwrap_or_default();
    let metadata = workflow.metadata.unwrap_or_default();
    let steps = workflow.spec.map_or(0, |spec| spec.steps.len());
    let age = age(version.applied_at.as_ref());
    let state = if version.paused.is_some() { "paused" } else { "open" }.to_owned();
    [metadata.name, version.version.to_string(), steps.to_string(), age, state, cut(&metadata.description, 60)]
}

async fn describe(globals: &Globals, name: String) -> Result<(), Failure> {
    let version = client::connect(globals)?.get_workflow(v1::GetWorkflowRequest { name, ..Default::default() }).await?;
    term::print_as(
        globals,
        || render::value(&version),
        || {
            let workflow = version.workflow.clone().unwrap_or_default();
            let metadata = workflow.metadata.unwrap_or_default();
            let is_paused = version.paused.is_some();
            table::facts([
                ("Workflow", metadata.name),
                ("Namespace", metadata.namespace),
                ("Version", version.version.to_string()),
                ("Paused", version.paused.as_ref().map(stopped).unwrap_or_default()),
                ("Parked runs", if is_paused || version.parked_runs > 0 { version.parked_runs.to_string() } else { String::new() }),
                ("Applied", format!("{} ({} ago)", time(version.applied_at.as_ref()), age(version.applied_at.as_ref()))),
                ("Applied by", version.applied_by.clone().unwrap_or_default().subject),
                ("Digest", version.digest.clone()),
                ("Steps", workflow.spec.map_or(0, |spec| spec.steps.len()).to_string()),
                ("Owner", metadata.owner),
                ("Runbook", metadata.runbook),
                ("Description", metadata.description),
            ])
        },
    )
}

async fn pause(globals: &Globals, name: String, reason: String) -> Result<(), Failure> {
    let request = v1::PauseWorkflowRequest { name: name.clone(), reason, ..Default::default() };
    let answer = client::connect(globals)?.pause_workflow(request).await?;
    term::remark(globals, &format!("workflow {name} {}", if answer.changed { "paused" } else { "was paused before" }));
    if !answer.unconfirmed_shards.is_empty() {
        let shards: Vec<_> = answer.unconfirmed_shards.iter().map(ToString::to_string).collect();
        term::note(&format!(
            "the leaders of shards {} did not confirm that they know: starts there may still begin; pause again to ask again\n",
            shards.join(", ")
        ));
    }
    Ok(())
}

async fn get(globals: &Globals, name: String, version: Option<u64>) -> Result<(), Failure> {
    let request = v1::GetWorkflowRequest { name, version: version.unwrap_or_default(), ..Default::default() };
    let version = client::connect(globals)?.get_workflow(request).await?;
    let workflow = version.workflow.clone().unwrap_or_default();
    match globals.output {
        // What comes out can be applied again.
        Format::Table | Format::Yaml => term::print(&quorus_spec::to_yaml(&workflow)),
        Format::Json => term::print(&term::json(&render::value(&version))),
    }
}

async fn versions(globals: &Globals, name: String, limit: usize) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let mut versions = Vec::new();
    let mut request = v1::ListWorkflowVersionsRequest { name, ..Default::default() };
    while versions.len() < limit {
        request.page_size = u32::try_from(limit - versions.len()).unwrap_or(u32::MAX).min(1000);
        let page = client.list_workflow_versions(request.clone()).await?;
        versions.extend(page.versions);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let row = |version: &v1::WorkflowVersion| {
        let steps = version.workflow.as_ref().and_then(|workflow| workflow.spec.as_ref()).map_or(0, |spec| spec.steps.len());
        let by = version.applied_by.clone().unwrap_or_default().subject;
        let digest = version.digest.chars().take(12).collect();
        [version.version.to_string(), steps.to_string(), age(version.applied_at.as_ref()), by, digest]
    };
    let value = || json!({"versions": versions.iter().map(render::value).collect::<Vec<_>>()});
    term::print_as(globals, value, || table::table(["VERSION", "STEPS", "AGE", "BY", "DIGEST"], versions.iter().map(row)))
}

async fn delete(globals: &Globals, names: Vec<String>) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    for name in names {
        client.delete_workflow(v1::DeleteWorkflowRequest { name: name.clone(), ..Default::default() }).await?;
        term::remark(globals, &format!("workflow {name} deleted"));
    }
    Ok(())
}
