//! `quorus runs signal|approve|reject|pause|resume|retry|restart|skip|compensate|migrate|annotate|why`: what people do to a run.

use clap::Subcommand;
use quorus_client::{Client, exit_code, v1};

use super::{
    args::{Globals, json_text, key_value, labels},
    bulk::{self, Targets, Verb},
    client,
    failure::Failure,
    lifecycle_view as view, render, term,
    text::run_status,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send a signal to a run, which can be started for it
    Signal(Signal),
    /// Send the same signal to many runs that are going on
    SignalMany(SignalMany),
    /// Approve a waiting approval step
    Approve(Decide),
    /// Reject a waiting approval step: it fails
    Reject(Decide),
    /// Begin no new attempts of runs until they are resumed
    Pause(Many),
    /// End the pause of runs
    Resume(Many),
    /// Go on from the failed steps of runs
    Retry(Repair),
    /// Undo a step and what depends on it, then execute them again
    Restart {
        /// Id of the run
        #[arg(value_name = "RUN")]
        id: String,
        /// The step to begin again with
        #[arg(long = "from", value_name = "STEP")]
        step: String,
        #[command(flatten)]
        why: Why,
    },
    /// End a waiting step as skipped, so that others go on
    Skip {
        /// Id of the run
        #[arg(value_name = "RUN")]
        id: String,
        /// The step to skip
        #[arg(value_name = "STEP")]
        step: String,
        /// What other steps read as its output: JSON, @FILE, or - for stdin [default: null]
        #[arg(long, value_name = "JSON")]
        value: Option<String>,
        #[command(flatten)]
        why: Why,
    },
    /// Undo what runs did that are held for attention
    Compensate(Many),
    /// Move a run to another version of its workflow
    Migrate {
        /// Id of the run
        #[arg(value_name = "RUN")]
        id: String,
        /// The version [default: the latest]
        #[arg(long, value_name = "NUMBER")]
        to_version: Option<u64>,
        /// Say what would happen, change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        why: Why,
    },
    /// Write a remark into the history of a run
    Annotate {
        /// Id of the run
        #[arg(value_name = "RUN")]
        id: String,
        /// The remark
        #[arg(value_name = "TEXT")]
        text: String,
    },
    /// Say what each waiting step of a run waits for, and since when
    Why {
        /// Id of the run
        #[arg(value_name = "RUN")]
        id: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Signal {
    /// Id of the run
    #[arg(value_name = "RUN")]
    id: String,
    /// Name of the signal
    #[arg(value_name = "NAME")]
    name: String,
    /// What the step reads as `signal`: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// A second signal with the same id is the same signal [default: random]
    #[arg(long, value_name = "ID")]
    signal_id: Option<String>,
    /// Start a run of this workflow with the run's id, unless one is going on
    #[arg(long, value_name = "WORKFLOW")]
    start: Option<String>,
    /// Input of the run that is started: JSON, @FILE, or - for stdin
    #[arg(long, short, value_name = "JSON", requires = "start")]
    input: Option<String>,
    /// Label of the run that is started, as key=value; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value, requires = "start")]
    label: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SignalMany {
    /// Name of the signal
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    targets: Targets,
    /// What the steps read as `signal`: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// A run takes a signal with this id once, so that a repeated command does no harm [default: random]
    #[arg(long, value_name = "ID")]
    signal_id: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Decide {
    /// Id of the run
    #[arg(value_name = "RUN")]
    id: String,
    /// The approval step [default: the one that waits]
    #[arg(value_name = "STEP")]
    step: Option<String>,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Many {
    #[command(flatten)]
    targets: Targets,
    /// Recorded in the history
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Why {
    /// Recorded in the history
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// A role to act in, unverified; may be repeated
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
}

impl Why {
    fn principal(&self, globals: &Globals) -> Option<v1::Principal> {
        Some(v1::Principal { roles: self.role.clone(), ..globals.principal() })
    }
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    match command {
        Command::Signal(args) => signal(&client, globals, args).await,
        Command::SignalMany(args) => signal_many(globals, args).await,
        Command::Approve(args) => decide(&client, globals, args, false).await,
        Command::Reject(args) => decide(&client, globals, args, true).await,
        Command::Pause(Many { targets, reason }) => {
            let verb = Verb { name: "pause", done: "paused", only: "status=open" };
            bulk::each(globals, targets, verb, |client, run| {
                let request = v1::PauseRunRequest { run_id: run.run_id, reason: reason.clone(), ..Default::default() };
                async move { client.pause_run(request).await.map(Some) }
            })
            .await
        }
        Command::Resume(Many { targets, reason }) => {
            let verb = Verb { name: "resume", done: "resumed", only: "status=open" };
            bulk::each(globals, targets, verb, |client, run| {
                let request = v1::ResumeRunRequest { run_id: run.run_id, reason: reason.clone(), ..Default::default() };
                async move { client.resume_run(request).await.map(Some) }
            })
            .await
        }
        Command::Retry(Repair { targets, why }) => {
            let verb = Verb { name: "retry", done: "retried", only: "status=failed,cancelled,needs_attention" };
            bulk::each(globals, targets, verb, |client, run| {
                let (reason, principal) = (why.reason.clone(), why.principal(globals));
                let request = v1::RetryRunRequest { run_id: run.run_id, reason, principal, ..Default::default() };
                async move { client.retry_run(request).await.map(Some) }
            })
            .await
        }
        Command::Restart { id: run_id, step, why } => {
            let principal = why.principal(globals);
            let request = v1::RestartRunRequest { run_id, step, reason: why.reason, principal, ..Default::default() };
            changed(globals, &client.restart_run(request).await?)
        }
        Command::Skip { id: run_id, step, value, why } => {
            let output = payload("--value", value.as_deref())?;
            let principal = why.principal(globals);
            let request = v1::SkipStepRequest { run_id, step, output, reason: why.reason, principal, ..Default::default() };
            changed(globals, &client.skip_step(request).await?)
        }
        Command::Compensate(Many { targets, reason }) => {
            let verb = Verb { name: "compensate", done: "being compensated", only: "status=failed,cancelled,needs_attention" };
            bulk::each(globals, targets, verb, |client, run| {
                let request = v1::CompensateRunRequest { run_id: run.run_id, reason: reason.clone(), ..Default::default() };
                async move { client.compensate_run(request).await.map(Some) }
            })
            .await
        }
        Command::Migrate { id: run_id, to_version, dry_run, why } => {
            let (workflow_version, principal) = (to_version.unwrap_or_default(), why.principal(globals));
            let request = v1::MigrateRunRequest { run_id, workflow_version, dry_run, reason: why.reason, principal, ..Default::default() };
            let answer = client.migrate_run(request).await?;
            term::print_as(globals, || render::value(&answer), || view::migration(&answer, dry_run))
        }
        Command::Annotate { id: run_id, text } => {
            let request = v1::AnnotateRunRequest { run_id, text, ..Default::default() };
            changed(globals, &client.annotate_run(request).await?)
        }
        Command::Why { id: run_id } => {
            let answer = client.explain_run(v1::ExplainRunRequest { run_id, ..Default::default() }).await?;
            term::print_as(globals, || render::value(&answer), || view::why(&answer))
        }
    }
}

async fn signal(client: &Client, globals: &Globals, args: Signal) -> Result<(), Failure> {
    if args.payload.as_deref() == Some("-") && args.input.as_deref() == Some("-") {
        return Err(Failure::usage("--payload and --input can't both be stdin"));
    }
    let payload = self::payload("--payload", args.payload.as_deref())?;
    let signal_id = args.signal_id.unwrap_or_default();
    let Some(workflow) = args.start else {
        let request = v1::SignalRunRequest { run_id: args.id, name: args.name, signal_id, payload, ..Default::default() };
        return changed(globals, &client.signal_run(request).await?);
    };
    let input = self::payload("--input", args.input.as_deref())?;
    // The same signal id is the same request, so that a repeated command neither starts nor signals twice.
    let request_id = signal_id.clone();
    let start = v1::StartRunRequest { workflow, run_id: args.id, input, request_id, labels: labels(args.label), ..Default::default() };
    let request = v1::SignalWithStartRunRequest { start: Some(start), name: args.name, signal_id, payload };
    let answer = client.signal_with_start_run(request).await?;
    changed(globals, &answer.run.unwrap_or_default())
}

async fn signal_many(globals: &Globals, args: SignalMany) -> Result<(), Failure> {
    let payload = self::payload("--payload", args.payload.as_deref())?;
    let signal_id = args.signal_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let verb = Verb { name: "signal-many", done: "signalled", only: "status=open" };
    bulk::each(globals, args.targets, verb, |client, run| {
        let (name, signal_id, payload) = (args.name.clone(), signal_id.clone(), payload.clone());
        let request = v1::SignalRunRequest { run_id: run.run_id, name, signal_id, payload, ..Default::default() };
        async move { client.signal_run(request).await.map(Some) }
    })
    .await
}

async fn decide(client: &Client, globals: &Globals, args: Decide, reject: bool) -> Result<(), Failure> {
    if reject && args.why.reason.is_empty() {
        return Err(Failure::usage("a rejection needs a --reason"));
    }
    let step = match args.step {
        Some(step) => step,
        None => waiting_approval(client, &args.id).await?,
    };
    let principal = args.why.principal(globals);
    let request = v1::ApproveStepRequest { run_id: args.id, step, reject, reason: args.why.reason, principal, ..Default::default() };
    changed(globals, &client.approve_step(request).await?)
}

/// The one approval that waits; whoever has a choice has to make it.
async fn waiting_approval(client: &Client, run_id: &str) -> Result<String, Failure> {
    let run = client.get_run(v1::GetRunRequest { run_id: run_id.to_owned(), ..Default::default() }).await?;
    let waits = |step: &&v1::StepState| step.approval.is_some() && step.status() == v1::StepStatus::Waiting;
    let waiting: Vec<_> = run.steps.iter().filter(waits).map(|step| step.step.clone()).collect();
    match waiting.as_slice() {
        [step] => Ok(step.clone()),
        [] => Err(Failure::new(exit_code::NOT_FOUND, format!("no approval of run {run_id} waits"))
            .hint(format!("see `quorus runs describe {run_id}`"))),
        several => Err(Failure::usage(format!("several approvals of run {run_id} wait: {}; name one", several.join(", ")))),
    }
}

fn payload(flag: &str, argument: Option<&str>) -> Result<Option<v1::Payload>, Failure> {
    let text = argument.map(|argument| json_text(flag, argument)).transpose()?;
    Ok(text.map(|text| v1::Payload { data: text.into(), encoding: "json".to_owned() }))
}

fn changed(globals: &Globals, run: &v1::Run) -> Result<(), Failure> {
    let paused = if run.paused { ", paused" } else { "" };
    let line = || if globals.quiet { String::new() } else { format!("run {} is {}{paused}\n", run.run_id, run_status(run.status())) };
    term::print_as(globals, || render::value(run), line)
}
