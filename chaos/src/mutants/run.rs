//! The verb: simulates, mutant by mutant, and shows the table.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use quorus_mutants::{Mutant, VARIABLE};
use tokio::process::Command;

use super::{
    Outcome,
    outcome::{self, Judged},
    recorded::{self, Recorded},
};

/// Simulates clusters with a planted bug, one bug after another, until an invariant catches it
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The first seed of a search
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
    /// Searches for every mutant, and does not try the recorded seeds first
    #[arg(long)]
    search: bool,
    /// Writes the seeds that caught their mutants into this file
    #[arg(long)]
    record: Option<PathBuf>,
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

/// Exit code 0 if every mutant was caught by an invariant that is made for it, 1 if one was not, 2 if nothing was proven.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mutants = if args.only.is_empty() { Mutant::ALL.to_vec() } else { args.only.clone() };
    if args.list {
        let rows = mutants.iter().map(|mutant| listed(*mutant)).collect::<Vec<_>>();
        anstream::print!("{}", table(["MUTANT", "INVARIANTS", "WHAT IS BROKEN"], &rows));
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(cfg!(feature = "mutants"), "this program has no mutants in it; build it with `--features mutants`, or use `make mutants`");
    ensure!(args.seeds > 0 && args.batch > 0, "nothing is proven without seeds");
    let temporary = tempfile::tempdir()?;
    let folder = args.results.clone().unwrap_or_else(|| temporary.path().to_owned());

    let known = if args.search { Vec::new() } else { recorded::all()? };
    let known: Vec<Recorded> = known.into_iter().filter(|recorded| mutants.contains(&recorded.mutant)).collect();
    let mut tried = try_recorded(&known, &folder).await?;
    let mut control: Option<Vec<Judged>> = None;
    let (mut outcomes, mut caught) = (Vec::new(), Vec::new());
    for mutant in mutants {
        let mut outcome = Outcome::new(mutant);
        if let Some((recorded, judged)) = tried.remove(&mutant) {
            outcome.add(&judged);
            if outcome.is_proven() {
                caught.push(recorded);
            } else {
                outcome.moved = Some(recorded.seed);
            }
        }
        if !outcome.is_proven() && control.is_none() {
            control = Some(simulate(&args.some(0), None, &folder.join("control")).await.context("simulating without a mutant")?);
            must_hold(control.iter().flatten())?;
        }
        // Another invariant may notice first; its own has all seeds to do so.
        let mut done = 0;
        while done < args.seeds && !outcome.is_proven() {
            let seeds = args.some(done);
            let judged = simulate(&seeds, Some(mutant), &folder.join(mutant.name())).await;
            outcome.add(&judged.with_context(|| format!("simulating {}", mutant.name()))?);
            done += seeds.count;
            if let Some(by) = outcome.caught.as_ref().filter(|by| by.as_expected) {
                caught.push(Recorded { mutant, seed: by.seed, minutes: args.minutes });
            }
        }
        let [name, _, by, seed, seeds, _] = outcome.row();
        anstream::eprintln!("{name}: {by}, seed {seed}, seeds tried: {seeds}");
        outcomes.push(outcome);
    }
    let rows = outcomes.iter().map(Outcome::row).collect::<Vec<_>>();
    let not_proven = outcomes.iter().filter(|outcome| !outcome.is_proven()).count();
    let told = table(["MUTANT", "EXPECTED", "CAUGHT BY", "SEED", "SEEDS TRIED", "WHAT IS BROKEN"], &rows)
        + &format!("{} mutants, {not_proven} not caught by an invariant that is made for them\n", outcomes.len());
    if args.results.is_some() {
        write(&folder.join("mutants.json"), &serde_json::to_vec_pretty(&outcomes)?)?;
        write(&folder.join("mutants.txt"), told.as_bytes())?;
    }
    if let Some(path) = &args.record {
        write(path, caught.iter().map(recorded::line).collect::<String>().as_bytes())?;
    }
    anstream::print!("{told}");
    Ok(if not_proven == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Simulates the recorded seeds, each with its mutant and once without any; several at a time.
async fn try_recorded(known: &[Recorded], folder: &Path) -> anyhow::Result<BTreeMap<Mutant, (Recorded, Vec<Judged>)>> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut alone: Vec<Recorded> = known.to_vec();
    alone.sort_by(|a, b| (a.seed, a.minutes).partial_cmp(&(b.seed, b.minutes)).unwrap_or(std::cmp::Ordering::Equal));
    alone.dedup_by(|a, b| (a.seed, a.minutes) == (b.seed, b.minutes));
    let tries = alone.into_iter().map(|recorded| (None, recorded)).chain(known.iter().map(|recorded| (Some(recorded.mutant), *recorded)));
    let simulated = futures::stream::iter(tries).map(|(mutant, recorded)| async move {
        let seeds = Seeds { first: recorded.seed, count: 1, minutes: recorded.minutes };
        let judged = simulate(&seeds, mutant, &folder.join(mutant.map_or("control", Mutant::name))).await?;
        anyhow::Ok((mutant, recorded, judged))
    });
    let simulated: Vec<_> = simulated.buffer_unordered(jobs).try_collect().await.context("simulating recorded seeds")?;
    must_hold(simulated.iter().filter(|(mutant, ..)| mutant.is_none()).flat_map(|(_, _, judged)| judged))?;
    Ok(simulated.into_iter().filter_map(|(mutant, recorded, judged)| Some((mutant?, (recorded, judged)))).collect())
}

/// Without a mutant nothing may be violated.
fn must_hold<'a>(control: impl Iterator<Item = &'a Judged>) -> anyhow::Result<()> {
    for judged in control {
        let violated = judged.violated().into_iter().collect::<Vec<_>>().join(" ");
        ensure!(violated.is_empty(), "seed {} violates {violated} without any mutant, so a catch would prove nothing", judged.seed);
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// Seeds that are simulated in one go.
struct Seeds {
    first: u64,
    count: u64,
    minutes: f64,
}

impl Args {
    /// The next seeds of a search.
    fn some(&self, done: u64) -> Seeds {
        Seeds { first: self.seed + done, count: self.batch.min(self.seeds - done), minutes: self.minutes }
    }
}

/// Simulates seeds in a process of their own.
async fn simulate(seeds: &Seeds, mutant: Option<Mutant>, folder: &Path) -> anyhow::Result<Vec<Judged>> {
    let Seeds { first, count, minutes } = seeds;
    // A folder of its own, so that what is found there is of these seeds.
    let folder = folder.join(format!("from-{first}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["sim", "--no-shrink", "--seed", &first.to_string(), "--seeds", &count.to_string()]);
    command.args(["--minutes", &minutes.to_string(), "--results"]).arg(&folder);
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

fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).chain([head[column].len()]).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let rows = rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str())));
    std::iter::once(line(head)).chain(rows).collect()
}
