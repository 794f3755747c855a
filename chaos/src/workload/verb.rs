//! `quorus-chaos workload`: drives a running cluster, and leaves what clients and workers know in a results folder.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use quorus_client::{Ledger, LedgerEntry};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    driver::{self, Manner, Progress},
    imported,
    misbehaving::{Misbehaving, Misdeed, NAME_PREFIX},
    mix::Mix,
    plan::Catalogue,
    random::Rng,
    recorder::Recorder,
    runs::{self, Load},
    site::{Clock, RealSite, Site},
    tasks::{self, Scribe},
    verify,
};
use crate::record::{Evidence, evidence::Setup, folder::Folder};

/// Drives a running cluster with random workflows, and writes down what came out
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Nodes, separated by commas
    #[arg(long, value_delimiter = ',', required = true, value_name = "ADDRESS")]
    pub endpoints: Vec<String>,
    /// What everything is drawn from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many runs
    #[arg(long, default_value_t = 200)]
    pub runs: u64,
    /// Runs per second, whatever the cluster does; without it, `--clients` wait for the ends of their runs
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Clients that have a run at a time
    #[arg(long, default_value_t = 16, conflicts_with = "rate")]
    pub clients: u32,
    /// What runs are made of
    #[arg(long, default_value = "default", value_parser = ["small", "default", "heavy"])]
    pub mix: String,
    /// Workers in this process; 0 if `quorus-chaos worker` does the work
    #[arg(long, default_value_t = 2)]
    pub workers: u32,
    /// How many tasks a worker executes at a time
    #[arg(long, default_value_t = 16)]
    pub concurrency: usize,
    /// Workers that misbehave on purpose
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub misbehaving: u32,
    /// Queue of the tasks
    #[arg(long, default_value = tasks::QUEUE)]
    pub queue: String,
    /// Folder with recorded scientific workflows (WfFormat), which are replayed, too
    #[arg(long, value_name = "DIR")]
    pub wfformat: Option<PathBuf>,
    /// Factor for their recorded times
    #[arg(long, default_value_t = 0.01, value_name = "FACTOR")]
    pub time_scale: f64,
    /// No steps that wait for approvals: for clusters that refuse those of unverified people
    #[arg(long)]
    pub no_approvals: bool,
    /// How long a run may take, faults included, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub patience: u64,
    /// Where the results go
    #[arg(long, value_name = "DIR")]
    pub results: PathBuf,
}

impl Args {
    fn mix(&self) -> anyhow::Result<Mix> {
        let mut mix = Mix::named(&self.mix).context("no such mix")?;
        if self.no_approvals {
            mix.weights.approval = 0;
        }
        Ok(mix)
    }

    fn load(&self) -> Load {
        self.rate.map_or(Load::Closed { clients: self.clients }, Load::at_rate)
    }
}

/// Drives the cluster. 0: everything came out as predicted; 1: something did not; 2: the workload itself had a fault.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let folder = Folder::create(&args.results)?;
    let clock = Clock::of_machine();
    let setup = Setup {
        title: format!("workload {} of {} runs", args.mix, args.runs),
        seed: args.seed,
        lease_ms: 30_000,
        clock_bound_ms: 500,
        wall_at_zero_ms: i64::try_from(clock.wall_ms().saturating_sub(clock.now_us() / 1_000)).unwrap_or(i64::MAX),
        ..Setup::default()
    };
    let mix = args.mix()?;
    let mut catalogue = Catalogue::draw(&mix, args.seed, &args.queue)?;
    if let Some(folder) = &args.wfformat {
        imported::add(&mut catalogue, imported::read(folder, &args.queue)?);
    }
    let runs = runs::draw(&catalogue, &mix, args.seed, args.runs, args.load());
    let site: Arc<dyn Site> = Arc::new(RealSite::new(&args.endpoints)?);
    let recorder = Recorder::new(clock.clone());
    let ledger_path = folder.file("ledger.jsonl");
    let ledger = Ledger::open(&ledger_path)?;
    let stop = CancellationToken::new();
    let mut workers = JoinSet::new();
    start_workers(&args, &site, &recorder, &ledger, &clock, &stop, &mut workers)?;
    let progress = Arc::new(Progress::default());
    let bar = show(&progress, args.runs);
    let manner = Manner { load: args.load(), run_patience: Duration::from_secs(args.patience), ..Manner::default() };
    let catalogue = Arc::new(catalogue);
    let drive = driver::drive(site, recorder.clone(), catalogue.clone(), runs.clone(), args.seed, manner, progress);
    let driven = tokio::select! {
        driven = drive => driven.map(Some),
        told = told_to_end() => told.map(|()| None),
    };
    if matches!(driven, Ok(None)) {
        recorder.harness_error("the workload was told to end before it had".to_owned());
    }
    bar.abort();
    stop.cancel();
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended.map_err(anyhow::Error::from).and_then(|done| done) {
            recorder.harness_error(format!("a worker broke down: {error:#}"));
        }
    }
    let ledger = read_ledger(&ledger_path)?;
    let evidence = Evidence {
        setup,
        shapes: catalogue.shapes(),
        operations: recorder.operations(),
        ledger,
        harness_errors: recorder.harness_errors(),
        ..Evidence::default()
    };
    folder.write(&evidence)?;
    // Told to end, it has written down what clients asked and were told: enough for a judgement, but nothing to compare predictions with.
    let compared = driven?.map(|driven| verify::against_predictions(&catalogue, &runs, &driven)).unwrap_or_default();
    report(&args, &evidence, &compared)
}

/// Waits for Ctrl-C or signal 15.
async fn told_to_end() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("listening for signals")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("listening for signals"),
        _ = terminated.recv() => Ok(()),
    }
}

fn start_workers(
    args: &Args,
    site: &Arc<dyn Site>,
    recorder: &Recorder,
    ledger: &Ledger,
    clock: &Clock,
    stop: &CancellationToken,
    workers: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let scribe = |name: &str| Scribe { ledger: ledger.clone(), clock: clock.clone(), worker: Arc::from(name) };
    for number in 1..=args.workers {
        let name = format!("worker-{number}");
        let builder = site.worker(&name).queue(&args.queue).concurrency(args.concurrency);
        let worker = tasks::register(builder, &scribe(&name), args.time_scale).build()?;
        let stop = stop.clone();
        workers.spawn(async move { worker.run(stop.cancelled_owned()).await.map_err(Into::into) });
    }
    let rng = Rng::new(args.seed);
    for number in 0..args.misbehaving {
        let misdeed = Misdeed::ALL[usize::try_from(number)? % Misdeed::ALL.len()];
        let name = format!("{NAME_PREFIX}{}-{number}", misdeed.word());
        let rng = rng.fork("misbehaving", u64::from(number));
        let rest = Duration::from_secs(10);
        let worker = Misbehaving::new(site.clone(), recorder.clone(), scribe(&name), &args.queue, misdeed, rng, rest);
        let stop = stop.clone();
        workers.spawn(async move {
            worker.run(stop).await;
            Ok(())
        });
    }
    Ok(())
}

/// A bar on a terminal, nothing elsewhere.
fn show(progress: &Arc<Progress>, runs: u64) -> tokio::task::JoinHandle<()> {
    let bar = ProgressBar::new(runs);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} [{bar:40}] {pos}/{len} runs ended{msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    let progress = progress.clone();
    tokio::spawn(async move {
        loop {
            bar.set_position(progress.ended.load(Ordering::Relaxed));
            let (accepted, refused) = (progress.accepted.load(Ordering::Relaxed), progress.refused.load(Ordering::Relaxed));
            bar.set_message(format!(", {accepted} accepted, {refused} refused or uncertain"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
}

fn read_ledger(path: &std::path::Path) -> anyhow::Result<Vec<LedgerEntry>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))).collect()
}

fn report(args: &Args, evidence: &Evidence, compared: &verify::Compared) -> anyhow::Result<ExitCode> {
    anstream::println!(
        "{} operations, {} lines of ledger; {} runs compared with what was foreseen ({} steps), {} set aside, {} not ended",
        evidence.operations.len(),
        evidence.ledger.len(),
        compared.runs,
        compared.steps,
        compared.set_aside,
        compared.unfinished,
    );
    for miss in &compared.misses {
        anstream::println!("not as foreseen: {miss}");
    }
    for error in &evidence.harness_errors {
        anstream::println!("the workload's own fault: {error}");
    }
    anstream::println!("results: {}", args.results.display());
    Ok(match (compared.misses.is_empty(), evidence.harness_errors.is_empty() && compared.unfinished == 0 && compared.runs > 0) {
        (false, _) => ExitCode::from(1),
        (true, false) => ExitCode::from(2),
        (true, true) => ExitCode::SUCCESS,
    })
}
