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
mod bench;
mod bulk;
mod client;
mod cluster;
mod completions;
mod concurrency;
mod context;
mod deadletters;
mod definition;
mod describe;
mod diff;
mod dynamic;
mod export;
mod failure;
mod graph;
mod import;
mod lifecycle;
mod lifecycle_view;
mod limits;
mod list;
mod logs;
mod plan;
mod progress;
mod queues;
mod render;
mod resource;
mod runs;
mod schedule_view;
mod schedules;
mod schema;
mod select;
mod source;
mod start;
mod stub;
mod table;
mod term;
mod testing;
mod text;
mod tree;
mod triggers;
mod validate;
mod version;
mod view;
mod watch;
mod worker;
mod workers;
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
    /// Explain a part of definitions, for example step.retry
    Explain(schema::ExplainArgs),
    /// Print the JSON Schema of definitions, for editors
    Schema(schema::SchemaArgs),
    /// Play workflows against scripted outcomes, in virtual time and without a cluster
    Test(testing::Args),
    /// Show what `apply` would change; exit code 1 if anything
    Diff(diff::Args),
    /// Make definitions known to the cluster
    Apply(apply::Args),
    /// List, show, pause and delete workflow definitions
    #[command(subcommand, visible_alias = "workflow")]
    Workflows(workflows::Command),
    /// Start a run of a workflow
    #[command(visible_alias = "run")]
    Start(start::Args),
    /// List, show, watch and stop runs
    #[command(subcommand)]
    Runs(runs::Command),
    /// Start runs by the clock
    #[command(subcommand, visible_alias = "schedule")]
    Schedules(schedules::Command),
    /// Start runs by events from outside
    #[command(subcommand, visible_alias = "trigger")]
    Triggers(triggers::Command),
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
    /// List, drain and undrain the workers of the cluster
    #[command(subcommand)]
    Workers(workers::Command),
    /// Show, pause and resume queues
    #[command(subcommand, visible_alias = "queue")]
    Queues(queues::Command),
    /// Show and change what the whole cluster may do at a time
    #[command(subcommand, visible_alias = "limit")]
    Limits(limits::Command),
    /// Show and close breakers
    #[command(subcommand, visible_alias = "breaker")]
    Breakers(limits::BreakerCommand),
    /// Show which runs hold concurrency keys
    #[command(subcommand)]
    Concurrency(concurrency::Command),
    /// Show the cluster
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Call the gRPC API
    #[command(subcommand)]
    Api(api::Command),
    /// Put load on a cluster, or on one that it starts, and measure it
    #[command(after_help = quorus_bench_options::EXAMPLES, after_long_help = quorus_bench_options::FIGURES)]
    Bench(quorus_bench_options::Options),
    /// Stand in for services that workflows call
    #[command(subcommand)]
    Stub(stub::Command),
    /// Name clusters, and choose the one to talk to
    #[command(subcommand, visible_alias = "contexts")]
    Context(context::Command),
    /// Print a script that completes this command in a shell
    Completions(completions::Args),
    /// Print the version
    Version,
}

impl Command {
    /// False for what works without one, even when the contexts can't be read.
    fn asks_a_cluster(&self) -> bool {
        if let Self::Bench(options) = self {
            return options.cluster.is_none();
        }
        !matches!(
            self,
            Self::Validate(_)
                | Self::Explain(_)
                | Self::Schema(_)
                | Self::Stub(_)
                | Self::Test(_)
                | Self::Import(_)
                | Self::Context(_)
                | Self::Completions(_)
                | Self::Version
        )
    }
}

/// Everything between the arguments and the exit code.
pub(crate) fn main() -> ExitCode {
    let Cli { command, globals } = Cli::parse();
    let mut globals = globals.settled();
    globals.apply_color();
    if command.asks_a_cluster()
        && let Err(failure) = globals.resolve()
    {
        return failure.report();
    }
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
        Command::Explain(args) => schema::explain(&args, globals),
        Command::Schema(args) => schema::schema(&args, globals),
        Command::Bench(options) => bench::run(options, globals),
        Command::Stub(command) => stub::run(command, globals).await,
        Command::Test(args) => testing::run(&args, globals),
        Command::Diff(args) => diff::run(&args, globals).await,
        Command::Apply(args) => apply::run(args, globals).await,
        Command::Workflows(command) => workflows::run(command, globals).await,
        Command::Start(args) => start::run(args, globals).await,
        Command::Runs(command) => runs::run(command, globals).await,
        Command::Schedules(command) => schedules::run(command, globals).await,
        Command::Triggers(command) => triggers::run(command, globals).await,
        Command::Approvals(command) => approvals::run(command, globals).await,
        Command::Deadletters(command) => deadletters::run(command, globals).await,
        Command::Worker(command) => worker::run(command, globals).await,
        Command::Import(command) => import::run(&command, globals),
        Command::Workers(command) => workers::run(command, globals).await,
        Command::Queues(command) => queues::run(command, globals).await,
        Command::Limits(command) => limits::run(command, globals).await,
        Command::Breakers(command) => limits::run_breakers(command, globals).await,
        Command::Concurrency(command) => concurrency::run(command, globals).await,
        Command::Cluster(command) => cluster::run(command, globals).await,
        Command::Api(command) => api::run(command, globals).await,
        Command::Context(command) => context::run(command, globals),
        Command::Completions(args) => completions::run(&args),
        Command::Version => version::run(globals),
    }
}
