//! The workloads.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::{at_least_one, help};

/// Most steps of a plan.
const STEPS_MAX: usize = 10_000;
/// Most steps of a random plan: more would make definitions large rather than mixed.
const MIXED_STEPS_MAX: usize = 1_000;
/// Most items at a time, as the language has it.
const PARALLEL_MAX: u32 = 1_000;

/// What to do.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Runs of sequential tasks
    #[command(after_help = help::CHAIN)]
    Chain(Chain),
    /// Runs of many tasks that don't wait for each other: for_each over items
    #[command(after_help = help::FANOUT)]
    Fanout(Fanout),
    /// Runs of random plans, drawn from a seed
    #[command(after_help = help::MIXED)]
    Mixed(Mixed),
    /// Runs that wait for a signal or a timer, then sequential tasks on top, compared with the same before
    #[command(after_help = help::WAITING)]
    Waiting(Waiting),
    /// Starts only: runs of one `set` step, which end with their start; one committed record a run, no task
    #[command(after_help = help::START)]
    Start(Start),
    /// Kill a node under load, and measure for how long each client got no answer
    #[command(after_help = help::FAILOVER)]
    Failover(Failover),
    /// Execute the tasks of load tools that run with --no-worker, until Ctrl-C
    #[command(after_help = help::WORKER)]
    Worker,
    /// Do again what led to a result: takes the configuration from a result in JSON
    #[command(after_help = help::REPEAT)]
    Repeat {
        /// A file with what `-o json` printed
        #[arg(value_name = "RESULT")]
        result: PathBuf,
    },
}

/// How runs follow each other. Without either, a closed loop.
#[derive(Args, Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Pace {
    /// Closed loop: so many clients, each starts its next run when its last one has ended [default: 64; for `fanout` 1]
    #[arg(long, value_name = "CLIENTS", value_parser = at_least_one)]
    pub concurrency: Option<usize>,
    /// Open loop: so many runs start each second, however many have not ended yet
    #[arg(long, value_name = "RUNS_A_SECOND", value_parser = rate, conflicts_with = "concurrency")]
    pub rate: Option<f64>,
}

/// `chain`.
#[derive(Args, Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Chain {
    /// How many runs
    #[arg(long, default_value_t = 1_000, value_parser = at_least_one)]
    pub runs: usize,
    /// Tasks of each run
    #[arg(long, default_value_t = 10, value_parser = steps)]
    pub steps: usize,
    /// How runs follow each other.
    #[command(flatten)]
    pub pace: Pace,
}

/// `fanout`.
#[derive(Args, Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Fanout {
    /// How many runs
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub runs: usize,
    /// Tasks of each run
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub items: usize,
    /// Items that a run executes at a time, at most 1,000
    #[arg(long, default_value_t = PARALLEL_MAX, value_parser = clap::value_parser!(u32).range(1..=i64::from(PARALLEL_MAX)))]
    pub parallel: u32,
    /// Steps of the plan in place of items of one step; all are ready at once
    #[arg(long, conflicts_with = "parallel")]
    pub plain: bool,
    /// How runs follow each other.
    #[command(flatten)]
    pub pace: Pace,
}

/// `mixed`.
#[derive(Args, Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Mixed {
    /// How many runs
    #[arg(long, default_value_t = 1_000, value_parser = at_least_one)]
    pub runs: usize,
    /// What the plans are drawn from: the same seed gives the same plans
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many different plans; runs take turns
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    pub plans: usize,
    /// Most steps of a plan
    #[arg(long, default_value_t = 20, value_parser = mixed_steps)]
    pub steps: usize,
    /// How runs follow each other.
    #[command(flatten)]
    pub pace: Pace,
}

/// `waiting`.
#[derive(Args, Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Waiting {
    /// How many runs wait
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub parked: usize,
    /// What they wait for
    #[arg(long = "for", value_enum, default_value_t)]
    pub waits_for: WaitsFor,
    /// How many start at a time
    #[arg(long, value_name = "CLIENTS", default_value_t = 256, value_parser = at_least_one)]
    pub parking: usize,
    /// The load on top, and the same before they are there.
    #[command(flatten)]
    pub chain: Chain,
}

/// What runs wait for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// For a signal that never comes
    #[default]
    Signal,
    /// For a time that is far away
    Timer,
}

/// `start`.
#[derive(Args, Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Start {
    /// How many runs
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub runs: usize,
    /// How runs follow each other.
    #[command(flatten)]
    pub pace: Pace,
}

/// `failover`.
#[derive(Args, Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Failover {
    /// How many times a node goes, and comes back
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub events: usize,
    /// Ask the node to stop (SIGTERM) in place of `kill -9`
    #[arg(long)]
    pub graceful: bool,
    /// The node that goes [default: the one that leads the most shards]
    #[arg(long, value_name = "ID")]
    pub node: Option<u64>,
    /// How many clients, each with a connection and a schedule of its own
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    pub clients: usize,
    /// How many runs each client starts a second
    #[arg(long, value_name = "RUNS_A_SECOND", default_value_t = 20.0, value_parser = rate)]
    pub rate: f64,
    /// Tasks of each run, one after another; 0: starts only, as with `start`
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    pub steps: u16,
    /// Seconds of load before the node goes
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub before: u64,
    /// Seconds of load after it
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub after: u64,
}

fn steps(text: &str) -> Result<usize, String> {
    within(text, 1, STEPS_MAX, "a plan has 1 to 10000 steps")
}

fn mixed_steps(text: &str) -> Result<usize, String> {
    within(text, 2, MIXED_STEPS_MAX, "a random plan has 2 to 1000 steps")
}

fn within(text: &str, least: usize, most: usize, reason: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|_| "expected a whole number".to_owned())?;
    if (least..=most).contains(&count) { Ok(count) } else { Err(reason.to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    // A schedule has room for a run each microsecond.
    if rate > 0.0 && rate <= 1e6 { Ok(rate) } else { Err("expected a rate above 0, and at most 1000000".to_owned()) }
}
