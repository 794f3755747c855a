//! The verbs of `quorus-chaos`.
//!
//! Exit codes: 0 valid or done, 1 an invariant is violated or an action failed, 2 unknown: nothing was proven, or the tool itself failed.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser;

use crate::{
    check::recheck,
    disk,
    experiment::verbs,
    fault, mutants,
    record::{export, folder::Folder},
    report, sim, stage, workload,
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
    /// Holds a game day: a stage, a workload, faults, healing, verdict, report
    Run(Box<verbs::RunArgs>),
    /// Lists experiments
    List(verbs::ListArgs),
    /// Tells everything that is wrong with experiment files
    Validate(verbs::ValidateArgs),
    /// Writes the report of a results folder again
    Report(report::ReportArgs),
    /// Judges a results folder again: a verdict per invariant, with counterexamples; writes results.json
    Recheck(recheck::Args),
    /// Says what a results folder holds
    Show {
        /// The folder
        dir: PathBuf,
    },
    Sim(sim::command::Args),
    /// Simulates clusters with a planted bug, one bug after another, until an invariant catches it
    Mutants(mutants::Args),
    Cluster(stage::command::Args),
    Fault(fault::command::FaultArgs),
    Heal(fault::command::HealArgs),
    Probe(fault::command::ProbeArgs),
    Nemesis(fault::command::NemesisArgs),
    Gap(fault::gap::Args),
    /// Breaks the disk of a node: power, space, speed, bits
    Disk(disk::verb::DiskArgs),
    /// Sets the clock of a node
    Clock(disk::verb::ClockArgs),
    /// Drives a running cluster with random workflows, and writes down what came out
    Workload(workload::verb::Args),
    /// Executes the tasks of a workload, and writes down what it really does
    Worker(workload::worker::Args),
    /// Exports every replica of every shard of a running cluster into a results folder
    Export(export::Args),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Run(args) => wait_for(verbs::run(*args)),
        Verb::List(args) => verbs::list(&args),
        Verb::Validate(args) => verbs::validate(&args),
        Verb::Report(args) => report::report(&args),
        Verb::Recheck(args) => wait_for(recheck::run(args)),
        Verb::Show { dir } => show(&dir),
        Verb::Sim(args) => sim::command::run(args),
        Verb::Mutants(args) => wait_for(mutants::run(args)),
        Verb::Cluster(args) => wait_for(stage::command::run(args)),
        Verb::Fault(args) => wait_for(fault::command::fault(args)),
        Verb::Heal(args) => wait_for(fault::command::heal(args)),
        Verb::Probe(args) => wait_for(fault::command::probe(args)),
        Verb::Nemesis(args) => wait_for(fault::command::nemesis(args)),
        Verb::Gap(args) => wait_for(fault::gap::run(args)),
        Verb::Disk(args) => disk::verb::disk(&args),
        Verb::Clock(args) => disk::verb::clock(&args),
        Verb::Workload(args) => wait_for(workload::verb::run(args)),
        Verb::Worker(args) => wait_for(workload::worker::run(args)),
        Verb::Export(args) => wait_for(export::run(args)),
    };
    done.unwrap_or_else(|error: anyhow::Error| {
        anstream::eprintln!("error: {error:#}");
        ExitCode::from(UNKNOWN)
    })
}

/// Runs a verb that waits for things. On one thread: the kernel ties the life of a process to the thread that started it, and this one lives as long as
/// the program.
fn wait_for(verb: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(verb)
}

fn show(dir: &Path) -> anyhow::Result<ExitCode> {
    let evidence = Folder::open(dir).read()?;
    anstream::println!("{}: seed {}, commit {}", evidence.setup.title, evidence.setup.seed, evidence.setup.commit);
    anstream::println!(
        "{} operations, {} lines of ledger, {} lines about faults, {} replicas",
        evidence.operations.len(),
        evidence.ledger.len(),
        evidence.faults.len(),
        evidence.replicas.len()
    );
    Ok(ExitCode::SUCCESS)
}
