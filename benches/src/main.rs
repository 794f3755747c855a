//! `quorus-bench`: puts load on a cluster and measures what its clients and workers see.
//!
//! - `options.rs` is the command line; its help says what each figure means.
//! - `workload.rs` says what is executed: a workflow, and whether to wait for the end of its runs.
//! - `load.rs` is the closed loop; `clients.rs` its connections; `worker.rs` executes the tasks and takes the time of steps.
//! - `latency.rs`, `nodes.rs` and `report.rs` are the figures: clients', nodes', and how they are shown.
//! - `session.rs` puts these together, and has a cluster of its own where one is asked for.
//!
//! Invariant: a figure counts only if every run that it includes succeeded. Anything else ends the program with an error.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clients;
mod latency;
mod load;
mod nodes;
mod options;
mod report;
mod session;
mod worker;
mod workload;

use std::process::ExitCode;

use clap::Parser as _;

/// The nodes use it, too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let options = options::Options::parse();
    match session::run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::error(&error);
            ExitCode::FAILURE
        }
    }
}
