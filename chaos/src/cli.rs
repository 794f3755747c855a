//! The verbs of `quorus-chaos`.
//!
//! Exit codes: 0 valid or done, 1 an invariant is violated or an action failed, 2 unknown: nothing was proven, or the tool itself failed.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;

use crate::{experiment::verbs, record::folder::Folder, report};

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
    /// Holds a game day: a stage, a workload, faults, healing, verdict, report
    Run(Box<verbs::RunArgs>),
    /// Tells everything that is wrong with experiment files
    Validate(verbs::ValidateArgs),
    /// Lists experiments
    List(verbs::ListArgs),
    /// Writes the report of a results folder again
    Report(report::ReportArgs),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Show { dir } => show(&dir),
        Verb::Run(args) => block_on(verbs::run(*args)),
        Verb::Validate(args) => verbs::validate(&args),
        Verb::List(args) => verbs::list(&args),
        Verb::Report(args) => report::report(&args),
    };
    done.unwrap_or_else(|error: anyhow::Error| {
        anstream::eprintln!("error: {error:#}");
        ExitCode::from(UNKNOWN)
    })
}

/// On one thread: the kernel ties the life of children to the thread that started them, and this one lives as long as the process.
fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
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
