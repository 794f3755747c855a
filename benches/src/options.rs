//! The command line. It is part of every result, so that a result can be repeated.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use quorus_client::DEFAULT_ENDPOINT;
use serde::Serialize;

const FIGURES: &str = "\
What the figures mean:
  runs_per_second   runs that succeeded / (first start sent .. last end received), warm-up left out
  steps_per_second  the same with steps: each is a task that a node leased to a worker process, which executed it (it does
                    nothing) and reported its outcome; every one of these changes is fsynced by a quorum of nodes
  run_latency_ms    from just before the start call to the arrival of the run's end at the client that waits for it.
                    For `start`: to the answer of the call
  step_latency_ms   at the worker, from the moment it has executed a step to the moment it begins the next step of the same
                    run: outcome sent, committed, next step decided, leased, committed, received. Only for `chain`, and only
                    with the worker in this process
  closed loop       each of the --concurrency clients starts its next run when its last one has ended. Under overload such
                    clients wait instead of sending more, so latencies tell of this concurrency and of no fixed rate
  nodes             memory at the end; CPU time from the end of the warm-up to the end";

/// Puts load on a cluster and measures it.
#[derive(Debug, Parser, Serialize)]
#[command(name = "quorus-bench", version, after_help = FIGURES)]
pub(crate) struct Options {
    /// The nodes' gRPC addresses.
    #[arg(long, global = true, value_delimiter = ',', env = "QUORUS_ENDPOINTS", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoints: Vec<String>,
    /// The nodes' HTTP addresses (host:port), for their memory and CPU time.
    #[arg(long, global = true, value_delimiter = ',', value_name = "ADDRESSES")]
    pub(crate) http: Vec<String>,
    /// Start a cluster of this many nodes on free ports of loopback, and stop it at the end.
    #[arg(long, global = true, value_name = "NODES", value_parser = clap::value_parser!(u64).range(1..=9))]
    pub(crate) cluster: Option<u64>,
    /// The node program for --cluster. Default: the `quorusd` beside this program.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) quorusd: Option<PathBuf>,
    /// Where --cluster puts its data and logs, and leaves them. Default: a temporary folder, deleted at the end.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The queue of the tasks.
    #[arg(long, global = true, default_value = "bench")]
    pub(crate) queue: String,
    /// Tasks that a worker takes at a time. The default gives the leader of every shard room for more tasks than there are.
    #[arg(long, global = true, default_value_t = 4_096)]
    pub(crate) capacity: usize,
    /// Execute no tasks in this process: `quorus-bench worker` runs elsewhere.
    #[arg(long, global = true)]
    pub(crate) no_worker: bool,
    /// Runs before the measurement. Default: one for each concurrent client.
    #[arg(long, global = true, value_name = "RUNS")]
    pub(crate) warm_up: Option<usize>,
    /// Connections of the clients, spread over the nodes. Default: one for every 64 concurrent clients, at least one a node.
    #[arg(long, global = true)]
    pub(crate) connections: Option<usize>,
    /// Give up when a run has not ended after so many seconds.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) patience: u64,
    /// How to print the result.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// What to do.
    #[command(subcommand)]
    pub(crate) work: Work,
}

/// What to do.
#[derive(Clone, Copy, Debug, Serialize, Subcommand)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Work {
    /// Runs of sequential tasks.
    Chain(Chain),
    /// Runs of parallel tasks.
    Fanout(Fanout),
    /// Starts only: each run has one `set` step, which ends with the start, so a run is one committed record and no task.
    Start(Start),
    /// Execute the tasks of load tools that run with --no-worker, until Ctrl-C.
    Worker,
}

/// `chain`.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub(crate) struct Chain {
    /// How many runs.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) runs: usize,
    /// Tasks of each run.
    #[arg(long, default_value_t = 10, value_parser = steps)]
    pub(crate) steps: usize,
    /// Runs that go on at a time.
    #[arg(long, default_value_t = 64)]
    pub(crate) concurrency: usize,
}

/// `fanout`.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub(crate) struct Fanout {
    /// How many runs.
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: usize,
    /// Tasks of each run, all ready at once.
    #[arg(long, default_value_t = 10_000, value_parser = steps)]
    pub(crate) items: usize,
    /// Runs that go on at a time.
    #[arg(long, default_value_t = 1)]
    pub(crate) concurrency: usize,
}

/// `start`.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub(crate) struct Start {
    /// How many runs.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) runs: usize,
    /// Calls that go on at a time.
    #[arg(long, default_value_t = 64)]
    pub(crate) concurrency: usize,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

fn steps(text: &str) -> Result<usize, String> {
    let steps: usize = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (1..=10_000).contains(&steps) { Ok(steps) } else { Err("a plan has 1 to 10000 steps".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn options_go_before_or_after_the_workload_and_into_the_result() {
        let options = Options::parse_from(["quorus-bench", "--cluster", "3", "chain", "--steps", "2", "--queue", "q"]);
        let json = serde_json::to_value(&options).unwrap();
        assert_eq!((json["cluster"].as_u64(), json["queue"].as_str()), (Some(3), Some("q")));
        assert_eq!(json["work"]["chain"]["steps"], 2);
    }
}
