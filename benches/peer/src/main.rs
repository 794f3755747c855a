//! Measures Quorus beside another durable execution engine (Restate, a released binary), on one machine, with the same work.
//!
//! - `compare.rs` is the whole: rounds, in each of which both sides start, work and stop, in alternating order.
//! - `peer.rs` is a cluster of theirs, `service.rs` the work that it calls, `load.rs` the clients; `ours.rs` is our cluster, worker and clients.
//! - `process.rs` has processes that end with this one; `report.rs` has ratios, the table and the JSON.
//!
//! Both sides: three nodes, every record synced by a quorum, one process for the clients, one for the work, the same number of runs.
//! Invariant: a figure counts only if every run that it includes succeeded.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod compare;
mod load;
mod ours;
mod peer;
mod process;
mod report;
mod service;

use std::{net::SocketAddr, process::ExitCode};

use clap::Parser;

/// Measures Quorus beside a peer.
#[derive(Debug, Parser)]
#[command(name = "quorus-bench-peer", version)]
enum Cli {
    /// Measure both sides in alternating rounds
    Compare(compare::Args),
    /// Serve the work that the peer calls; `compare` starts this
    Service {
        /// Where
        #[arg(long)]
        listen: SocketAddr,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Compare(args) => compare::run(args).await,
        Cli::Service { listen } => service::serve(listen).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
