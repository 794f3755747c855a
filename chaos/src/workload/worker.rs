//! `quorus-chaos worker`: a worker as a process of its own, for game days.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use quorus_client::{Ledger, Worker};

use super::{
    site::Clock,
    tasks::{self, Scribe},
};

/// Executes the tasks of a workload, and writes down what it really does
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Nodes, separated by commas
    #[arg(long, env = "QUORUS_ENDPOINTS", value_delimiter = ',', required = true, value_name = "ADDRESS")]
    pub endpoints: Vec<String>,
    /// Queue from which it takes tasks
    #[arg(long, default_value = tasks::QUEUE)]
    pub queue: String,
    /// How many tasks it executes at a time
    #[arg(long, default_value_t = 16)]
    pub concurrency: usize,
    /// File that it appends to; the line is on disk before the task goes on
    #[arg(long, value_name = "FILE")]
    pub ledger: PathBuf,
    /// Its name, which must be unique
    #[arg(long, env = "QUORUS_WORKER_NAME")]
    pub name: String,
    /// Factor for the recorded times of imported scientific workflows
    #[arg(long, default_value_t = 0.01, value_name = "FACTOR")]
    pub time_scale: f64,
}

/// Works until it is told to stop.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let scribe = Scribe { ledger: Ledger::open(&args.ledger)?, clock: Clock::of_machine(), worker: Arc::from(args.name.as_str()) };
    let builder = Worker::builder(args.endpoints).name(args.name).queue(args.queue).concurrency(args.concurrency);
    let worker = tasks::register(builder, &scribe, args.time_scale).build()?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("listening to SIGTERM")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    worker.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}
