//! `quorus-bench`: puts load on a cluster and measures what its clients and workers see. People call it as `quorus bench`.
//!
//! - The command line is a crate of its own, `quorus-bench-options`, which `quorus` knows, too; its help says what each figure means.
//! - `session.rs` is one execution from the options to the result; `target.rs` is where the load goes, a cluster of its own or another.
//! - `workload.rs` says what is executed; `random.rs` draws plans; `pace.rs` says when runs start, and takes their latencies.
//! - `phase.rs` is one measurement; `load.rs` one run in it; `waiting.rs` and `failover.rs` are the workloads that take more than one.
//! - `clients.rs` has the connections; `worker.rs` executes the tasks and takes the time of steps.
//! - `latency.rs`, `gaps.rs`, `nodes.rs` and `report.rs` are the figures: clients', nodes', and how they are shown.
//!
//! Invariant: a figure counts only if every run that it includes succeeded. Anything else ends the program with an error. `failover`, where
//! failures are what is asked for, counts them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clients;
mod failover;
mod gaps;
mod latency;
mod load;
mod nodes;
mod pace;
mod phase;
mod random;
mod report;
mod session;
mod target;
mod waiting;
mod worker;
mod workload;

use std::{env, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use quorus_bench_options::{CONFIGURATION, Configuration, EXAMPLES, FIGURES, Format, Options};
use quorus_client::DEFAULT_ENDPOINT;

/// The nodes use it, too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Puts load on a cluster and measures it.
#[derive(Debug, Parser)]
#[command(name = "quorus-bench", version, max_term_width = 140, after_help = EXAMPLES, after_long_help = FIGURES)]
struct Cli {
    /// The nodes' gRPC addresses
    #[arg(long, global = true, value_delimiter = ',', value_name = "LIST", env = "QUORUS_ENDPOINTS", default_value = DEFAULT_ENDPOINT)]
    endpoints: Vec<String>,
    /// The namespace of workflows and runs
    #[arg(long, short, global = true, value_name = "NAME", env = "QUORUS_NAMESPACE", default_value = "default")]
    namespace: String,
    /// How to print the result
    #[arg(long, short, global = true, value_enum, default_value_t)]
    output: Format,
    /// Show no progress
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(flatten)]
    options: Options,
}

impl Cli {
    fn configuration(self) -> Configuration {
        let Self { endpoints, namespace, output, quiet, options } = self;
        Configuration { endpoints, namespace, output, quiet, options }
    }
}

// The nodes end with the thread that starts them (see `quorus_chaos::process`); this one ends last.
#[tokio::main]
async fn main() -> ExitCode {
    let configuration = match handed_over() {
        Ok(Some(configuration)) => configuration,
        Ok(None) => Cli::parse().configuration(),
        Err(error) => return report::failure(&error),
    };
    match session::run(configuration).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::failure(&error),
    }
}

/// What `quorus bench` hands over, if it is the one that started this program.
fn handed_over() -> anyhow::Result<Option<Configuration>> {
    let mut words = env::args_os().skip(1);
    if words.next().is_none_or(|word| word != CONFIGURATION) {
        return Ok(None);
    }
    let text = words.next().and_then(|text| text.into_string().ok()).with_context(|| format!("{CONFIGURATION} needs JSON"))?;
    let configuration = serde_json::from_str(&text);
    configuration.map(Some).with_context(|| format!("reading {CONFIGURATION}; are `quorus` and `quorus-bench` of one version?"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
