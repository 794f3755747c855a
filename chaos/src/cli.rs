//! The verbs of `quorus-chaos`.
//!
//! Exit codes: 0 valid or done, 1 an invariant is violated or an action failed, 2 unknown: nothing was proven, or the tool itself failed.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser;

use crate::{fault, record::folder::Folder, stage};

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
    Cluster(stage::command::Args),
    Fault(fault::command::FaultArgs),
    Heal(fault::command::HealArgs),
    Probe(fault::command::ProbeArgs),
    Nemesis(fault::command::NemesisArgs),
    Gap(fault::gap::Args),
    /// Says what a results folder holds
    Show {
        /// The folder
        dir: PathBuf,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Cluster(args) => block_on(stage::command::run(args)),
        Verb::Fault(args) => block_on(fault::command::fault(args)),
        Verb::Heal(args) => block_on(fault::command::heal(args)),
        Verb::Probe(args) => block_on(fault::command::probe(args)),
        Verb::Nemesis(args) => block_on(fault::command::nemesis(args)),
        Verb::Gap(args) => block_on(fault::gap::run(args)),
        Verb::Show { dir } => show(&dir),
    };
    done.unwrap_or_else(|error: anyhow::Error| {
        anstream::eprintln!("error: {error:#}");
        ExitCode::from(UNKNOWN)
    })
}

/// One thread: the kernel ties the life of a process to the thread that started it, and this one lives as long as the program.
fn block_on(verb: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(verb)
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
