//! `quorus-chaos sim`: many seeds, each in a process of its own.
//!
//! Standard output is a line per seed in the order of the seeds, whoever is ready first, and depends on nothing but the arguments. Progress and times
//! go to standard error.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use tokio::process::Command;

use super::{
    regressions,
    seed::{self, Outcome, Wanted},
    shrink,
};

/// Nothing was proven, or the tool failed.
const UNKNOWN: u8 = 2;
/// Real time after which a seed is given up.
const SEED_WITHIN: Duration = Duration::from_secs(600);

/// Simulate whole clusters under faults, one run per seed
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Simulated minutes of faults and load
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Instead: the seeds that found a bug once, each with its minutes
    #[arg(long, conflicts_with_all = ["seed", "seeds", "minutes", "faults"])]
    regressions: bool,
    /// Seeds at a time; default: one per processor
    #[arg(long)]
    jobs: Option<usize>,
    /// Folder into which each seed's evidence, log and verdicts are written
    #[arg(long)]
    results: Option<PathBuf>,
    /// Runs only these of the planned faults, by number, for example 3,7; an empty text means none
    #[arg(long)]
    faults: Option<String>,
    /// Leaves failing seeds as they are instead of looking for fewer faults
    #[arg(long)]
    no_shrink: bool,
    /// Runs to find fewer faults, at most
    #[arg(long, default_value_t = 40)]
    shrink_runs: u32,
    /// Disks say that they synced, and did not: every seed with a power loss must be violated
    #[arg(long, hide = true)]
    lying_disks: bool,
    /// Runs the one seed in this process and writes its outcome as JSON
    #[arg(long, hide = true)]
    here: bool,
}

impl Args {
    /// The same for one seed.
    pub(super) fn of_seed(&self, seed: u64, minutes: f64) -> Self {
        Self { seed, minutes, ..self.clone() }
    }
}

/// Runs the verb.
///
/// # Errors
/// If the tool itself fails.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !(args.minutes > 0.0 && args.minutes <= 600.0) {
        anyhow::bail!("--minutes is {}, expected more than 0 and at most 600", args.minutes);
    }
    if args.here {
        // Without a runtime: its threads would draw from counters that the simulation's own runtimes draw from.
        let wanted = Wanted {
            seed: args.seed,
            turmoil: Duration::from_secs_f64(args.minutes * 60.0),
            only: args.faults.as_deref().map(numbers).transpose()?,
            lying_disks: args.lying_disks,
            results: args.results,
        };
        log_to_stderr();
        anstream::println!("{}", serde_json::to_string(&seed::run(wanted)?)?);
        return Ok(ExitCode::SUCCESS);
    }
    tokio::runtime::Runtime::new()?.block_on(many(&args))
}

/// Lines of the programs under test, for people who look for a cause: `RUST_LOG=quorus_node=debug`. Nothing without it.
fn log_to_stderr() {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
        // Fails only if there is one already.
        let _ = lines.try_init();
    }
}

fn numbers(text: &str) -> anyhow::Result<Vec<u64>> {
    let number =
        |part: &str| part.trim().parse().with_context(|| format!("--faults has `{part}`, expected numbers with commas between them"));
    text.split(',').filter(|part| !part.trim().is_empty()).map(number).collect()
}

async fn many(args: &Args) -> anyhow::Result<ExitCode> {
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let began = std::time::Instant::now();
    let every = || (args.seed..args.seed.saturating_add(args.seeds)).map(|seed| args.of_seed(seed, args.minutes)).collect();
    let wanted: Vec<Args> = if args.regressions { regressions::wanted(args)? } else { every() };
    let mut next = wanted.iter().cloned().enumerate();
    let mut running = tokio::task::JoinSet::new();
    let (mut waiting, mut told) = (BTreeMap::new(), 0);
    let mut sums = Sums::default();
    while let Some(telling) = wanted.get(told) {
        while running.len() < jobs
            && let Some((place, args)) = next.next()
        {
            running.spawn(async move { (place, one(&args, args.faults.clone()).await) });
        }
        if let Some(outcome) = waiting.remove(&told) {
            tell(telling, outcome, &mut sums).await;
            told += 1;
            continue;
        }
        let Some(done) = running.join_next().await else { break };
        let (place, outcome) = done.context("a task that waits for a seed")?;
        waiting.insert(place, outcome);
    }
    anstream::println!("seen: {}", counts(&sums.seen));
    anstream::println!("{sums}");
    let seconds = began.elapsed().as_secs_f64();
    anstream::eprintln!("{seconds:.0} s of real time, {:.2} s a seed with {jobs} at a time", seconds / wanted.len().max(1) as f64);
    Ok(sums.exit_code())
}

/// Runs a seed in a process of its own.
async fn one(args: &Args, faults: Option<String>) -> anyhow::Result<Outcome> {
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.args(["sim", "--here", "--seed", &args.seed.to_string(), "--minutes", &args.minutes.to_string()]);
    if let Some(faults) = faults {
        command.args(["--faults", &faults]);
    }
    if args.lying_disks {
        command.arg("--lying-disks");
    }
    if let Some(results) = &args.results {
        command.arg("--results").arg(results);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(SEED_WITHIN, command.output()).await;
    let output = output.with_context(|| format!("the seed took longer than {SEED_WITHIN:?} of real time"))??;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("the process ended with {}: {}", output.status, cause(&error));
    }
    if !output.stderr.is_empty() {
        anstream::eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("reading what the seed's process wrote")
}

/// What a process said about its end: what it panicked with first, if it did, else its last lines. Backtraces come after the message, and say less.
fn cause(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let shown = match lines.iter().position(|line| line.contains(" panicked at ")) {
        Some(first) => &lines[first..lines.len().min(first + 3)],
        None => &lines[lines.len().saturating_sub(12)..],
    };
    shown.join(" / ")
}

async fn tell(args: &Args, outcome: anyhow::Result<Outcome>, sums: &mut Sums) {
    let seed = args.seed;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            anstream::println!("seed {seed}: unknown: {error:#}");
            sums.unknown.push(seed);
            return;
        }
    };
    sums.add(&outcome);
    anstream::println!("{}", line(&outcome));
    for violation in outcome.violations.iter().take(10) {
        anstream::println!("    violated: {violation}");
    }
    if outcome.violations.is_empty() {
        return;
    }
    anstream::println!("    {}", outcome.scene);
    if !args.no_shrink && args.faults.is_none() {
        let faults = smaller(args, &outcome).await;
        anstream::println!("    again: {}", again(args, &faults));
    }
}

/// The fewest faults with which the seed is still violated.
async fn smaller(args: &Args, outcome: &Outcome) -> Vec<u64> {
    let args = Args { results: None, ..args.clone() };
    let (seed, planned) = (outcome.seed, outcome.planned.clone());
    let runtime = tokio::runtime::Handle::current();
    let shrinking = tokio::task::spawn_blocking(move || {
        shrink::shrink(&planned, args.shrink_runs, |faults| {
            let violated = runtime.block_on(one(&args, Some(joined(faults)))).is_ok_and(|outcome| !outcome.violations.is_empty());
            anstream::eprintln!("    seed {seed} with {} of its faults: {}", faults.len(), if violated { "violated" } else { "valid" });
            violated
        })
    });
    shrinking.await.unwrap_or_else(|_| outcome.planned.clone())
}

fn joined(faults: &[u64]) -> String {
    faults.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

fn again(args: &Args, faults: &[u64]) -> String {
    let seed = args.seed;
    let results = Path::new("results");
    format!("quorus-chaos sim --seed {seed} --minutes {} --faults '{}' --results {}", args.minutes, joined(faults), results.display())
}

fn line(outcome: &Outcome) -> String {
    let verdict = if !outcome.violations.is_empty() {
        "violated"
    } else if outcome.unknown.is_empty() {
        "valid"
    } else {
        "unknown"
    };
    format!(
        "seed {}: {verdict}; {} s, runs: {}; {} attempts, {} operations ({} of unknown end), {} terms; faults: {}; log {}{}",
        outcome.seed,
        outcome.seconds,
        counts(&outcome.runs),
        outcome.attempts,
        outcome.operations[0],
        outcome.operations[1],
        outcome.terms,
        counts(&outcome.faults),
        outcome.digest,
        if outcome.unknown.is_empty() { String::new() } else { format!("; {}", outcome.unknown.join(", ")) }
    )
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// What all seeds came to.
#[derive(Default)]
struct Sums {
    valid: u64,
    violated: Vec<u64>,
    unknown: Vec<u64>,
    faults: BTreeMap<String, u64>,
    seen: BTreeMap<String, u64>,
    runs: u64,
    attempts: u64,
    seconds: u64,
}

impl Sums {
    fn add(&mut self, outcome: &Outcome) {
        if !outcome.violations.is_empty() {
            self.violated.push(outcome.seed);
        } else if outcome.unknown.is_empty() {
            self.valid += 1;
        } else {
            self.unknown.push(outcome.seed);
        }
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
        for (name, count) in &outcome.seen {
            *self.seen.entry(name.clone()).or_default() += count;
        }
        self.runs += outcome.runs.values().sum::<u64>();
        self.attempts += outcome.attempts;
        self.seconds += outcome.seconds;
    }

    fn exit_code(&self) -> ExitCode {
        if !self.violated.is_empty() {
            ExitCode::FAILURE
        } else if self.unknown.is_empty() && self.valid > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(UNKNOWN)
        }
    }
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} seeds valid, {} violated {:?}, {} unknown {:?}; {:.1} simulated hours, {} runs, {} attempts, {} faults: {}",
            self.valid,
            self.violated.len(),
            self.violated,
            self.unknown.len(),
            self.unknown,
            self.seconds as f64 / 3600.0,
            self.runs,
            self.attempts,
            self.faults.values().sum::<u64>(),
            counts(&self.faults)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::cause;

    #[test]
    fn a_process_that_panicked_is_told_with_its_message_and_not_with_its_backtrace() {
        let said = "thread 'simulation' (7) panicked at host.rs:116:9:\nports exhausted\nstack backtrace:\n   0: begin_unwind\n\nthread 'simulation' panicked at drop";
        assert_eq!(cause(said), "thread 'simulation' (7) panicked at host.rs:116:9: / ports exhausted / stack backtrace:");
        assert_eq!(cause("error: no such file"), "error: no such file");
    }
}
