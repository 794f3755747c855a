//! The command line: one file per noun or verb, over the client library.
//!
//! - `args.rs` has the flags that every command takes; each command's own arguments stand in its file.
//! - `failure.rs` is why a command did not succeed: exit code, message, hint. It is printed once, here.
//! - `term.rs` writes to the terminal (colours, broken pipes); `table.rs`, `text.rs` and `render.rs` make what is written.
//!
//! What is asked for goes to stdout, everything else to stderr, so that `quorus ... | jq` always works.

mod api;
mod apply;
mod approvals;
mod args;
mod bulk;
mod client;
mod cluster;
mod completions;
mod deadletters;
mod describe;
mod dynamic;
mod export;
mod failure;
mod import;
mod lifecycle;
mod lifecycle_view;
mod list;
mod plan;
mod progress;
mod render;
mod runs;
mod select;
mod source;
mod start;
mod table;
mod term;
mod text;
mod tree;
mod validate;
mod version;
mod view;
mod watch;
mod worker;
mod workflows;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use args::Globals;
use failure::Failure;

/// Quorus runs workflows on a cluster that survives the loss of its nodes.
#[derive(Debug, Parser)]
#[command(name = "quorus", version, max_term_width = 120, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check workflow definitions without a cluster
    Validate(validate::Args),
    /// Show what a run of a workflow would do; needs no cluster
    Plan(plan::Args),
    /// Make workflow definitions known to the cluster
    Apply(apply::Args),
    /// List, show and delete workflow definitions
    #[command(subcommand, visible_alias = "workflow")]
    Workflows(workflows::Command),
    /// Start a run of a workflow
    #[command(visible_alias = "run")]
    Start(start::Args),
    /// List, show, watch and stop runs
    #[command(subcommand)]
    Runs(runs::Command),
    /// Show what waits for people
    #[command(subcommand)]
    Approvals(approvals::Command),
    /// List, redrive and discard what needs a person
    #[command(subcommand)]
    Deadletters(deadletters::Command),
    /// Execute tasks
    #[command(subcommand)]
    Worker(worker::Command),
    /// Turn other formats into workflow definitions
    #[command(subcommand)]
    Import(import::Command),
    /// Show the cluster
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Call the gRPC API
    #[command(subcommand)]
    Api(api::Command),
    /// Print a script that completes this command in a shell
    Completions(completions::Args),
    /// Print the version
    Version,
}

/// Everything between the arguments and the exit code.
pub(crate) fn main() -> ExitCode {
    let Cli { command, globals } = Cli::parse();
    let globals = globals.settled();
    globals.apply_color();
    let result = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let result = runtime.block_on(run(command, &globals));
            // A read of stdin that nobody waits for any more must not keep the process.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::error(format!("can't start: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::Validate(args) => validate::run(&args, globals),
        Command::Plan(args) => plan::run(&args, globals).await,
        Command::Apply(args) => apply::run(args, globals).await,
        Command::Workflows(command) => workflows::run(command, globals).await,
        Command::Start(args) => start::run(args, globals).await,
        Command::Runs(command) => runs::run(command, globals).await,
        Command::Approvals(command) => approvals::run(command, globals).await,
        Command::Deadletters(command) => deadletters::run(command, globals).await,
        Command::Worker(command) => worker::run(command, globals).await,
        Command::Import(command) => import::run(&command, globals),
        Command::Cluster(command) => cluster::run(command, globals).await,
        Command::Api(command) => api::run(command, globals).await,
        Command::Completions(args) => completions::run(&args),
        Command::Version => version::run(globals),
    }
}
