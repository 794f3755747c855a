//! One execution of the tool: a cluster if one is asked for, a worker, a warm-up, the measurement, the report.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use quorus_chaos::cluster::Cluster;
use tempfile::TempDir;

use crate::{
    clients::Clients,
    load::Load,
    nodes,
    options::{Options, Work},
    report::Report,
    worker::{StepClock, Working},
    workload::Workload,
};

/// How long an own cluster may take to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// Where the load goes.
struct Target {
    endpoints: Vec<String>,
    http: Vec<String>,
    /// Process ids in the order of `http`, where they are known.
    pids: Vec<u32>,
    own: Option<(Cluster, Option<TempDir>)>,
}

/// Does what the options say.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut target = Target::of(options).await?;
    let result = match &options.work {
        Work::Worker => serve(&target.endpoints, &options.queue, options.capacity).await,
        _ => load(options, &target).await,
    };
    if let Some((cluster, _)) = &mut target.own {
        cluster.stop().await;
    }
    result
}

impl Target {
    async fn of(options: &Options) -> anyhow::Result<Self> {
        let Some(count) = options.cluster else {
            return Ok(Self { endpoints: options.endpoints.clone(), http: options.http.clone(), pids: Vec::new(), own: None });
        };
        let quorusd = match &options.quorusd {
            Some(path) => path.clone(),
            None => std::env::current_exe().context("finding this program")?.with_file_name("quorusd"),
        };
        let (folder, temporary) = match &options.data {
            Some(folder) => (folder.clone(), None),
            None => TempDir::new().map(|temporary| (temporary.path().to_owned(), Some(temporary)))?,
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let mut cluster = Cluster::start(&quorusd, &folder, count, &[])?;
        cluster.wait_ready(READY_PATIENCE).await?;
        let (endpoints, http, pids) = (cluster.endpoints(), cluster.http_addresses(), cluster.pids().into_values().collect());
        Ok(Self { endpoints, http, pids, own: Some((cluster, temporary)) })
    }
}

/// Works for others until Ctrl-C.
async fn serve(endpoints: &[String], queue: &str, capacity: usize) -> anyhow::Result<()> {
    let working = Working::start(endpoints, queue, capacity, None)?;
    tokio::signal::ctrl_c().await?;
    working.stop().await
}

async fn load(options: &Options, target: &Target) -> anyhow::Result<()> {
    let workload = Workload::of(&options.work, &options.queue).context("there is no load in this command")?;
    let clients = Clients::new(&target.endpoints, workload.concurrency, options.connections)?;
    let workflow = workload.apply(clients.of(0)).await?;
    let prefix = format!("bench-{}-", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let warm_up = options.warm_up.unwrap_or(workload.concurrency);

    let clock = Arc::new(StepClock::new(&prefix, warm_up + workload.runs)?);
    let working = if options.no_worker || workload.tasks == 0 {
        None
    } else {
        Some(Working::start(&target.endpoints, &options.queue, options.capacity, Some(clock.clone()))?)
    };
    let load = Arc::new(Load::new(clients, workflow, prefix, Duration::from_secs(options.patience), &workload));
    let bar = progress(warm_up + workload.runs);
    load.drive(0, warm_up, workload.concurrency, &bar).await.context("warming up")?;

    let (nodes_before, own_before) = (nodes::ask(&target.http, &target.pids).await?, nodes::own_cpu_seconds());
    load.clients.forget_retries();
    clock.measure();
    let outcome = load.drive(warm_up, workload.runs, workload.concurrency, &bar).await;
    let (nodes_after, own_after) = (nodes::ask(&target.http, &target.pids).await, nodes::own_cpu_seconds());
    bar.finish_and_clear();
    let outcome = outcome?;
    if let Some(working) = working {
        working.stop().await?;
    }

    let steps = outcome.runs * workload.tasks;
    let seconds = outcome.elapsed.as_secs_f64();
    let nodes = nodes_after?.into_iter().enumerate().map(|(index, node)| node.since(nodes_before.get(index)));
    Report {
        configuration: options,
        runs: outcome.runs,
        steps,
        seconds,
        runs_per_second: outcome.runs as f64 / seconds,
        steps_per_second: steps as f64 / seconds,
        run_latency_ms: outcome.latencies.summary(),
        step_latency_ms: clock.latencies().summary().filter(|_| workload.sequential),
        retries: load.clients.retries(),
        client_cpu_seconds: own_after.zip(own_before).map(|(after, before)| after - before),
        nodes: nodes.collect(),
    }
    .print()
}

/// Shown on a terminal only.
fn progress(runs: usize) -> ProgressBar {
    let bar = ProgressBar::new(runs as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} runs  {per_sec}  {elapsed}") {
        bar.set_style(style);
    }
    bar
}
