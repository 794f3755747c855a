//! The verb: simulates, mutant by mutant, and shows the table.

use std::{
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use anyhow::{Context as _, bail, ensure};
use quorus_mutants::{Mutant, VARIABLE};
use tokio::process::Command;

use super::{
    Outcome,
    outcome::{self, Judged},
};

/// Simulates clusters with a planted bug, one bug after another, until an invariant catches it
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds per mutant, at most
    #[arg(long, default_value_t = 30)]
    seeds: u64,
    /// Seeds that are simulated before their verdicts are looked at
    #[arg(long, default_value_t = 2)]
    batch: u64,
    /// Simulated minutes per seed
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// Only these mutants
    #[arg(long, value_delimiter = ',', value_parser = mutant)]
    only: Vec<Mutant>,
    /// Where results are kept; without it they are thrown away
    #[arg(long)]
    results: Option<PathBuf>,
    /// Shows which mutants there are, and simulates nothing
    #[arg(long)]
    list: bool,
}

fn mutant(name: &str) -> Result<Mutant, String> {
    let names = || Mutant::ALL.map(Mutant::name).join(", ");
    Mutant::named(name).ok_or_else(|| format!("there is no such mutant; there are: {}", names()))
}

/// Exit code 0 if every mutant was caught, 1 if one survived, 2 if nothing was proven.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mutants = if args.only.is_empty() { Mutant::ALL.to_vec() } else { args.only.clone() };
    if args.list {
        table(["MUTANT", "INVARIANTS", "WHAT IS BROKEN"], &mutants.iter().map(|mutant| listed(*mutant)).collect::<Vec<_>>());
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(cfg!(feature = "mutants"), "this program has no mutants in it; build it with `--features mutants`, or use `make mutants`");
    ensure!(args.seeds > 0 && args.batch > 0, "nothing is proven without seeds");
    let temporary = tempfile::tempdir()?;
    let folder = args.results.clone().unwrap_or_else(|| temporary.path().to_owned());

    let control = simulate(&args, None, 0, &folder.join("control")).await.context("simulating without a mutant")?;
    if let Some(violated) = control.iter().find(|seed| !seed.violated().is_empty()) {
        let invariants = violated.violated().into_iter().collect::<Vec<_>>().join(" ");
        bail!("seed {} violates {invariants} without any mutant, so a catch would prove nothing", violated.seed);
    }
    let mut outcomes = Vec::new();
    for mutant in mutants {
        let mut outcome = Outcome::new(mutant);
        // Another invariant may notice first; its own has all seeds to do so.
        while outcome.seeds < args.seeds && !outcome.caught.as_ref().is_some_and(|caught| caught.as_expected) {
            let seeds = simulate(&args, Some(mutant), outcome.seeds, &folder.join(mutant.name())).await;
            outcome.add(&seeds.with_context(|| format!("simulating {}", mutant.name()))?);
        }
        let [name, _, by, seeds] = outcome.row();
        anstream::eprintln!("{name}: {by}, seeds: {seeds}");
        outcomes.push(outcome);
    }
    if args.results.is_some() {
        let path = folder.join("mutants.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&outcomes)?).with_context(|| format!("writing {}", path.display()))?;
    }
    table(["MUTANT", "EXPECTED", "CAUGHT BY", "SEEDS"], &outcomes.iter().map(Outcome::row).collect::<Vec<_>>());
    let survived = outcomes.iter().filter(|outcome| outcome.caught.is_none()).count();
    anstream::println!("{} mutants, {survived} survived", outcomes.len());
    Ok(if survived == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Simulates the next seeds in a process of their own. `done` are those that have been simulated before.
async fn simulate(args: &Args, mutant: Option<Mutant>, done: u64, folder: &Path) -> anyhow::Result<Vec<Judged>> {
    let first = args.seed + done;
    let count = args.batch.min(args.seeds - done);
    // A folder of its own, so that what is found there is of these seeds.
    let folder = folder.join(format!("from-{first}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["sim", "--no-shrink", "--seed", &first.to_string(), "--seeds", &count.to_string()]);
    command.args(["--minutes", &args.minutes.to_string(), "--results"]).arg(&folder);
    command.env(VARIABLE, mutant.map_or("", Mutant::name));
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let status = command.status().await.context("starting a simulation")?;
    let judged = outcome::read(&folder)?;
    ensure!(!judged.is_empty(), "the simulation of seeds {first} to {} left no results.json; it ended with {status}", first + count - 1);
    Ok(judged)
}

fn listed(mutant: Mutant) -> [String; 3] {
    [mutant.name().to_owned(), mutant.invariants().join(" "), mutant.what().to_owned()]
}

fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).chain([head[column].len()]).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    anstream::println!("{}", line(head));
    for row in rows {
        anstream::println!("{}", line(std::array::from_fn(|column| row[column].as_str())));
    }
}
