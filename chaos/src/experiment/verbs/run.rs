//! `quorus-chaos run`: a game day with one command.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::super::{
    activity::Dry,
    day::{
        collect::{self, About},
        show::Show,
        stages::{Day, Outcome},
        target::Target,
        tools::{Judgement, Tools},
    },
    journal::{Journal, now},
    library,
    model::{Experiment, HypothesisStrategy, RollbackStrategy},
    player::{Options, Stops},
    read,
    scope::convert,
};
use crate::{
    record::folder::Folder,
    report,
    stage::network::{self, Network},
};

/// Nothing was proven.
const UNKNOWN: u8 = 2;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// A file, or the name of a shipped experiment (see `list`)
    pub experiment: String,
    /// Whom to break: stage (a private cluster of its own), stage:DIR, dev:DIR (a cluster of `quorusd dev`), or none (only the activities)
    #[arg(long, default_value = "stage")]
    pub target: Target,
    /// Folder for results; each day gets its own in it
    #[arg(long, default_value = "results")]
    pub results: PathBuf,
    /// Seed of all that is drawn: workload, victims, moments
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Runs of the workload, instead of what the experiment says
    #[arg(long)]
    pub runs: Option<u64>,
    /// Starts per second of the workload, instead of what the experiment says
    #[arg(long)]
    pub rate: Option<u64>,
    /// Which mix of workflows, instead of what the experiment says
    #[arg(long, value_parser = ["small", "default", "heavy"])]
    pub mix: Option<String>,
    /// Nodes of a private stage, instead of what the experiment says
    #[arg(long)]
    pub nodes: Option<u64>,
    /// What connects the nodes of a private stage, instead of what the experiment says
    #[arg(long, value_enum)]
    pub network: Option<Network>,
    /// Makes no workload: somebody else does. There is no verdict then
    #[arg(long)]
    pub no_workload: bool,
    /// Keeps a private stage
    #[arg(long)]
    pub keep: bool,
    /// Targets outside of this machine are meant
    #[arg(long)]
    pub allow_remote: bool,
    /// Writes the journal to this file, too
    #[arg(long)]
    pub journal_path: Option<PathBuf>,
    /// Leaves something out: probes, actions, activities (both), pause
    #[arg(long, num_args = 0..=1, default_missing_value = "activities")]
    pub dry: Option<Dry>,
    /// When rollbacks are done [default: as the file says]
    #[arg(long)]
    pub rollback_strategy: Option<RollbackStrategy>,
    /// When the hypothesis is tested [default: as the file says]
    #[arg(long)]
    pub hypothesis_strategy: Option<HypothesisStrategy>,
    /// Seconds between two tests of the hypothesis during the method
    #[arg(long, default_value_t = 1.0)]
    pub hypothesis_frequency: f64,
    /// The first test that fails during the method ends it
    #[arg(long)]
    pub fail_fast: bool,
    /// A value for the configuration: name=value, or name:type=value with str, int, float, bool or json
    #[arg(long = "var", value_parser = variable)]
    pub vars: Vec<(String, Value)>,
}

fn variable(text: &str) -> anyhow::Result<(String, Value)> {
    let (name, value) = text.split_once('=').with_context(|| format!("`{text}` is not name=value"))?;
    let (name, kind) = name.split_once(':').unwrap_or((name, ""));
    Ok((name.to_owned(), convert(value, kind)?))
}

/// Holds a game day. 0: everything holds; 1: a promise was broken, or the hypothesis no longer held; 2: nothing was proven.
pub async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let entry = library::find(&args.experiment)?;
    let (experiment, findings) = read::read(&entry.text);
    anstream::eprint!("{}", findings.render(&entry.label()));
    let Some(mut experiment) = experiment else { bail!("{} can't be run; mend what is said above", entry.label()) };
    let day = &mut experiment.game_day;
    day.workload.runs = args.runs.unwrap_or(day.workload.runs);
    day.workload.rate = args.rate.unwrap_or(day.workload.rate);
    if let Some(mix) = &args.mix {
        day.workload.mix.clone_from(mix);
    }
    day.stage.nodes = args.nodes.unwrap_or(day.stage.nodes);
    day.stage.network = args.network.unwrap_or(day.stage.network);
    if args.target == Target::Private && day.stage.network == Network::Namespaces && !network::is_inside() {
        match network::enter()? {}
    }
    let results = new_folder(&args.results, &entry.name)?;
    std::fs::write(results.file("experiment.json"), serde_json::to_vec_pretty(&experiment.raw)?).context("writing experiment.json")?;
    let this = std::env::current_exe().context("finding this program")?;
    let environment = vec![("QUORUS_CHAOS_SEED".to_owned(), args.seed.to_string())];
    let show = Arc::new(Show::new(false));
    show.part(&format!("{}: {}", entry.name, experiment.title));
    show.say(&format!("results: {}", results.path().display()));
    let mut about = About {
        experiment: entry.name.clone(),
        seed: args.seed,
        git_sha: collect::git_sha(),
        programs: collect::programs(&this),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).unwrap_or_default(),
        game_day: experiment.game_day.clone(),
        again: again(&args),
        begun: now(),
        ..About::default()
    };
    std::fs::write(results.file("git-sha"), format!("{}\n", about.git_sha)).context("writing git-sha")?;
    std::fs::write(results.file("seed"), format!("{}\n", args.seed)).context("writing seed")?;
    let stops = Stops::default();
    let signals = tokio::spawn(listen(stops.clone(), show.clone()));
    let day = Day {
        options: options(&args, &experiment, environment.clone()),
        experiment,
        target: args.target.clone(),
        allow_remote: args.allow_remote,
        no_workload: args.no_workload,
        keep: args.keep,
        results: results.clone(),
        about: about.clone(),
        tools: Tools { program: this, environment },
        stops,
        show: show.clone(),
    };
    let outcome = day.hold().await;
    signals.abort();
    if let Some(journal) = &outcome.journal {
        results.write_json("journal.json", journal)?;
        if let Some(path) = &args.journal_path {
            std::fs::write(path, serde_json::to_vec_pretty(journal)?).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    results.write_lines("harness.jsonl", &outcome.harness_errors)?;
    let judged = outcome.judgement.is_some() || (args.target == Target::None || args.no_workload || args.dry.is_some());
    let code = conclude(&outcome, judged, &show);
    about.seconds = show.elapsed().as_secs_f64();
    about.lines = show.lines();
    results.write_json("about.json", &about)?;
    match report::write(results.path()) {
        Ok(path) => show.say(&format!("report: {}", path.display())),
        Err(error) => show.warn(&format!("no report: {error:#}")),
    }
    Ok(ExitCode::from(code))
}

fn options(args: &RunArgs, experiment: &Experiment, environment: Vec<(String, String)>) -> Options {
    Options {
        rollbacks: args.rollback_strategy.or(experiment.rollback_strategy).unwrap_or(RollbackStrategy::Default),
        hypothesis: args.hypothesis_strategy.or(experiment.hypothesis_strategy).unwrap_or(HypothesisStrategy::Default),
        frequency: Duration::from_secs_f64(args.hypothesis_frequency.clamp(0.05, 3600.0)),
        fail_fast: args.fail_fast,
        dry: args.dry,
        vars: args.vars.iter().cloned().collect::<BTreeMap<_, _>>(),
        environment,
    }
}

/// `results/<experiment>/<utc>`; two days in the same second get different names.
fn new_folder(results: &std::path::Path, name: &str) -> anyhow::Result<Folder> {
    let at = chrono::Utc::now().format("%Y-%m-%dT%H-%M-%SZ").to_string();
    let parent = results.join(name);
    let path =
        (0..).map(|number| if number == 0 { parent.join(&at) } else { parent.join(format!("{at}-{number}")) }).find(|path| !path.exists());
    let path = path.with_context(|| format!("finding a free name in {}", parent.display()))?;
    Folder::create(std::path::absolute(path)?)
}

/// The command line that does it again.
fn again(args: &RunArgs) -> String {
    let mut line = format!("quorus-chaos run {} --seed {}", args.experiment, args.seed);
    for (name, value) in [("runs", args.runs), ("rate", args.rate), ("nodes", args.nodes)] {
        if let Some(value) = value {
            line.push_str(&format!(" --{name} {value}"));
        }
    }
    if args.network == Some(Network::Namespaces) {
        line.push_str(" --network namespaces");
    }
    if let Some(mix) = &args.mix {
        line.push_str(&format!(" --mix {mix}"));
    }
    line
}

/// The first Ctrl-C ends the method, the second the rollbacks, too.
async fn listen(stops: Stops, show: Arc<Show>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else { return };
    for stop in [&stops.method, &stops.rollbacks] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        show.bad("interrupted: ending in order; once more to leave the rest out");
        stop.cancel();
    }
}

/// Says how it came out, and with which code that ends.
fn conclude(outcome: &Outcome, judged: bool, show: &Show) -> u8 {
    let deviated = outcome.journal.as_ref().is_some_and(|journal: &Journal| journal.deviated);
    let (code, text) = match outcome.judgement {
        Some(Judgement::Violated) => (1, "VIOLATED: a promise was broken; see the report for who said what"),
        _ if deviated => (1, "DEVIATED: the hypothesis no longer held after the method"),
        Some(Judgement::Unknown) => (UNKNOWN, "UNKNOWN: nothing was proven; see the report for the reasons"),
        _ if !outcome.harness_errors.is_empty() => (UNKNOWN, "UNKNOWN: the day itself had faults, listed above"),
        Some(Judgement::Valid) => (0, "VALID: everything that was looked at holds"),
        None if judged => (0, "DONE: the experiment was carried out; there was no workload to judge"),
        None => (UNKNOWN, "UNKNOWN: there was nothing to judge"),
    };
    match code {
        0 => show.good(text),
        1 => show.bad(text),
        _ => show.warn(text),
    }
    code
}
