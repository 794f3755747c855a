//! The command line of the load tool, apart from the tool.
//!
//! Why a crate of its own: `quorus bench` has to know every option (help, completion, errors), but must not be built with the tool, which
//! stands on everything. It reads the command line, and hands a [`Configuration`] to `quorus-bench`, which does the work.
//!
//! - `work.rs` has the workloads and their options.
//! - `help.rs` has what the help says beyond single options.
//!
//! Invariant: a configuration is a part of every result, and is read back from it as it was written. So a result can be repeated.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod help;
mod work;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

pub use help::{EXAMPLES, FIGURES};
pub use work::{Chain, Failover, Fanout, Mixed, Pace, Start, Waiting, WaitsFor, Work};

/// The program that does the work; `quorus bench` looks for it beside itself.
pub const PROGRAM: &str = "quorus-bench";

/// The option by which the program takes a whole configuration as JSON, in place of everything else.
pub const CONFIGURATION: &str = "--configuration";

/// Everything that the tool is told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Configuration {
    /// The nodes' gRPC addresses; unused with a cluster of its own.
    pub endpoints: Vec<String>,
    /// The namespace of workflows and runs.
    pub namespace: String,
    /// How to print the result.
    pub output: Format,
    /// Show no progress.
    pub quiet: bool,
    /// The rest.
    #[serde(flatten)]
    pub options: Options,
}

/// What the tool is told, beyond what every command of Quorus takes.
#[derive(Args, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[command(next_help_heading = "Options of every load")]
pub struct Options {
    /// Start a cluster of this many nodes on free ports of loopback, and stop it at the end
    #[arg(long, global = true, value_name = "NODES", value_parser = clap::value_parser!(u64).range(1..=9))]
    pub cluster: Option<u64>,
    /// The node program for --cluster [default: the `quorusd` beside this program]
    #[arg(long, global = true, value_name = "PATH")]
    pub quorusd: Option<PathBuf>,
    /// A flag for each node of --cluster, for example --node-flag=--shards=4; can be given several times
    #[arg(long = "node-flag", global = true, value_name = "FLAG", allow_hyphen_values = true)]
    pub node_flags: Vec<String>,
    /// Where --cluster puts its data and logs, and leaves them [default: a temporary folder, deleted at the end]
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The nodes' HTTP addresses (host:port), for memory and CPU time of nodes that this tool did not start
    #[arg(long, global = true, value_delimiter = ',', value_name = "LIST")]
    pub http: Vec<String>,
    /// The queue of the tasks
    #[arg(long, global = true, default_value = "bench")]
    pub queue: String,
    /// Tasks that the worker takes at a time. The default gives the leader of every shard room for more tasks than there are
    #[arg(long, global = true, value_name = "TASKS", default_value_t = 4_096, value_parser = at_least_one)]
    pub capacity: usize,
    /// Execute no tasks in this process: `quorus bench worker` runs elsewhere
    #[arg(long, global = true)]
    pub no_worker: bool,
    /// Runs before the measurement, at the same pace [default: one for each concurrent client, or one second of --rate]
    #[arg(long, global = true, value_name = "RUNS")]
    pub warm_up: Option<usize>,
    /// Connections of the clients, spread over the nodes [default: one for every 64 runs that go on at a time, at least one a node]
    #[arg(long, global = true, value_name = "COUNT", value_parser = at_least_one)]
    pub connections: Option<usize>,
    /// Give up when a run has not ended after so many seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 120)]
    pub patience: u64,
    /// What to do.
    #[command(subcommand)]
    pub work: Work,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// For both
    Yaml,
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("expected a whole number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.options)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_go_before_or_after_the_workload() {
        let options = parse("bench --cluster 3 chain --steps 2 --queue q --node-flag=--shards=4").unwrap();
        assert_eq!(
            (options.cluster, options.queue.as_str(), options.node_flags.as_slice()),
            (Some(3), "q", &["--shards=4".to_owned()][..])
        );
        assert!(matches!(options.work, Work::Chain(Chain { steps: 2, .. })));
    }

    #[test]
    fn a_configuration_is_read_back_as_it_was_written() {
        let loads = [
            "chain --rate 12.5",
            "fanout --items 7 --plain",
            "mixed --seed 18446744073709551615",
            "waiting --for timer --concurrency 3",
            "start",
            "failover --graceful --cluster 3",
            "worker",
        ];
        for load in loads {
            let options = parse(&format!("bench {load} --data /some/where --warm-up 0")).unwrap();
            let given =
                Configuration { endpoints: vec!["a:1".to_owned()], namespace: "n".to_owned(), output: Format::Json, quiet: true, options };
            let text = serde_json::to_string(&given).unwrap();
            assert_eq!(serde_json::from_str::<Configuration>(&text).unwrap(), given, "{text}");
        }
    }

    #[test]
    fn what_makes_no_load_is_refused_with_a_reason() {
        for (line, reason) in [
            ("chain --steps 0", "1 to 10000 steps"),
            ("chain --concurrency 0", "at least 1"),
            ("chain --rate 0", "above 0"),
            ("chain --rate inf", "above 0"),
            ("chain --rate 5 --concurrency 5", "cannot be used with"),
            ("fanout --items 0", "at least 1"),
            ("mixed --steps 1", "2 to 1000"),
            ("failover --clients 0", "at least 1"),
        ] {
            let error = parse(&format!("bench {line}")).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
