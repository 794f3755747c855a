//! The verbs of `quorus-chaos`.
//!
//! Exit codes: 0 valid or done, 1 an invariant is violated or an action failed, 2 unknown: nothing was proven, or the tool itself failed.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;

use crate::{record::folder::Folder, workload};

/// Nothing was proven.
const UNKNOWN: u8 = 2;

/// Game days for Quorus: break a cluster on purpose, and prove that nothing was lost, orphaned or done twice.
#[derive(Debug, Parser)]
#[command(name = "quorus-chaos", version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Says what a results folder holds
    Show {
        /// The folder
        dir: PathBuf,
    },
    /// Drives a running cluster with random workflows, and writes down what came out
    Workload(workload::verb::Args),
    /// Executes the tasks of a workload, and writes down what it really does
    Worker(workload::worker::Args),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Show { dir } => show(&dir),
        Verb::Workload(args) => block_on(workload::verb::run(args)),
        Verb::Worker(args) => block_on(workload::worker::run(args)),
    };
    done.unwrap_or_else(|error: anyhow::Error| {
        anstream::eprintln!("error: {error:#}");
        ExitCode::from(UNKNOWN)
    })
}

/// Runs a verb that waits for things.
fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn show(dir: &Path) -> anyhow::Result<ExitCode> {
    let evidence = Folder::open(dir).read()?;
    anstream::println!("{}: seed {}, commit {}", evidence.setup.title, evidence.setup.seed, evidence.setup.commit);
    anstream::println!(
        "{} operations, {} lines of ledger, {} lines about faults",
        evidence.operations.len(),
        evidence.ledger.len(),
        evidence.faults.len()
    );
    Ok(ExitCode::SUCCESS)
}
