//! The verbs of `quorus-chaos`.
//!
//! Exit codes: 0 valid or done, 1 an invariant is violated or an action failed, 2 unknown: nothing was proven, or the tool itself failed.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;

use crate::{
    mutants,
    record::{export, folder::Folder},
    sim,
};

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
    Sim(sim::command::Args),
    /// Exports every replica of every shard of a running cluster into a results folder
    Export(export::Args),
    /// Simulates clusters with a planted bug, one bug after another, until an invariant catches it
    Mutants(mutants::Args),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Show { dir } => show(&dir),
        Verb::Sim(args) => sim::command::run(args),
        Verb::Export(args) => wait_for(export::run(args)),
        Verb::Mutants(args) => wait_for(mutants::run(args)),
    };
    done.unwrap_or_else(|error: anyhow::Error| {
        anstream::eprintln!("error: {error:#}");
        ExitCode::from(UNKNOWN)
    })
}

/// Runs a verb that waits for others.
fn wait_for(verb: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Runtime::new()?.block_on(verb)
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
