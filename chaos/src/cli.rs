//! The verbs of `quorus-chaos`.
//!
//! Exit codes: 0 valid or done, 1 an invariant is violated or an action failed, 2 unknown: nothing was proven, or the tool itself failed.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;

use crate::record::folder::Folder;

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
    /// Breaks the disk of a node: power, space, speed, bits
    #[cfg(target_os = "linux")]
    Disk(crate::disk::verb::DiskArgs),
    /// Sets the clock of a node
    #[cfg(target_os = "linux")]
    Clock(crate::disk::verb::ClockArgs),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Show { dir } => show(&dir),
        #[cfg(target_os = "linux")]
        Verb::Disk(args) => crate::disk::verb::disk(&args),
        #[cfg(target_os = "linux")]
        Verb::Clock(args) => crate::disk::verb::clock(&args),
    };
    done.unwrap_or_else(|error: anyhow::Error| {
        anstream::eprintln!("error: {error:#}");
        ExitCode::from(UNKNOWN)
    })
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
