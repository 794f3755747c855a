//! `quorus start`: starts a run, and watches it or waits for its end if asked to.

use clap::ValueEnum;
use quorus_client::v1;

use super::{
    apply,
    args::{Format, Globals, json_text, key_value, labels},
    client,
    failure::Failure,
    render, source, term,
    watch::{self, Show},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a workflow that the cluster knows
    #[arg(required_unless_present = "file", conflicts_with = "file", value_name = "WORKFLOW")]
    name: Option<String>,
    /// File with one workflow, or - for stdin: is applied first
    #[arg(long, short, value_name = "FILE")]
    file: Option<String>,
    /// Version of the workflow [default: the latest]
    #[arg(long = "workflow-version", value_name = "NUMBER", conflicts_with = "file")]
    version: Option<u64>,
    /// What expressions read as `input`: JSON, @FILE, or - for stdin
    #[arg(long, short, value_name = "JSON")]
    input: Option<String>,
    /// Id of the run [default: derived from the request id]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The same request id starts the same run once, however often it is sent [default: random]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Label of the run, as key=value; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
    label: Vec<(String, String)>,
    /// When a run with this id is going on
    #[arg(long, value_enum, value_name = "POLICY")]
    on_conflict: Option<OnConflict>,
    /// When a run with this id has ended
    #[arg(long, value_enum, value_name = "POLICY")]
    on_reuse: Option<OnReuse>,
    /// Wait for the end; exit code 3 unless the run succeeds
    #[arg(long, short)]
    wait: bool,
    /// Show what happens until the end; exit code 3 unless the run succeeds
    #[arg(long, conflicts_with = "wait")]
    watch: bool,
    /// W3C trace context of the run
    #[arg(long, env = "TRACEPARENT", value_name = "TRACEPARENT", hide_env_values = true)]
    traceparent: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnConflict {
    Reject,
    UseExisting,
    TerminateExisting,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnReuse {
    Allow,
    AllowIfFailed,
    Reject,
}

pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let show = match (args.wait, args.watch) {
        (true, _) => Some(Show::Nothing),
        (_, true) => Some(Show::Events),
        _ => None,
    };
    if args.file.as_deref() == Some("-") && args.input.as_deref() == Some("-") {
        return Err(Failure::usage("--file and --input can't both be stdin"));
    }
    // Whatever is wrong with the arguments is said before anything is changed.
    let input = args.input.as_deref().map(|input| json_text("--input", input)).transpose()?;
    let loaded = args.file.as_deref().map(source::load_one).transpose()?;
    let client = if show.is_some() {
        client::connect_to_wait(globals, args.traceparent.clone())?
    } else {
        client::connect_with_trace(globals, args.traceparent.clone())?
    };
    let mut request = v1::StartRunRequest {
        workflow: args.name.unwrap_or_default(),
        workflow_version: args.version.unwrap_or_default(),
        run_id: args.id.unwrap_or_default(),
        request_id: args.request_id.unwrap_or_default(),
        input: input.map(|text| v1::Payload { data: text.into(), encoding: "json".to_owned() }),
        labels: labels(args.label),
        on_conflict: args.on_conflict.map_or(v1::ConflictPolicy::Unspecified, Into::into) as i32,
        on_reuse: args.on_reuse.map_or(v1::ReusePolicy::Unspecified, Into::into) as i32,
        ..Default::default()
    };
    if let Some(loaded) = loaded {
        let metadata = loaded.workflow.metadata.clone().unwrap_or_default();
        (request.workflow, request.namespace) = (metadata.name, metadata.namespace);
        request.min_revision = apply::apply(&client, globals, loaded).await?.revision;
    }
    let answer = client.start_run(request).await?;
    let run = answer.run.unwrap_or_default();
    let what = if answer.existing { "was there already" } else { "started" };
    let Some(show) = show else {
        let line = || if globals.quiet { format!("{}\n", run.run_id) } else { format!("run {} of {} {what}\n", run.run_id, run.workflow) };
        return term::print_as(globals, || render::value(&run), line);
    };
    if globals.output == Format::Table {
        term::remark(globals, &format!("run {} of {} {what}", run.run_id, run.workflow));
    }
    let ended = watch::follow(&client, globals, &run.namespace, &run.run_id, 1, show).await?;
    watch::conclude(globals, &ended, show)
}

impl From<OnConflict> for v1::ConflictPolicy {
    fn from(policy: OnConflict) -> Self {
        match policy {
            OnConflict::Reject => Self::Reject,
            OnConflict::UseExisting => Self::UseExisting,
            OnConflict::TerminateExisting => Self::TerminateExisting,
        }
    }
}

impl From<OnReuse> for v1::ReusePolicy {
    fn from(policy: OnReuse) -> Self {
        match policy {
            OnReuse::Allow => Self::Allow,
            OnReuse::AllowIfFailed => Self::AllowIfFailed,
            OnReuse::Reject => Self::Reject,
        }
    }
}
