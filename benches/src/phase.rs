//! One measurement: a warm-up, then runs of one workload at one pace, and what they cost.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use quorus_bench_options::Configuration;
use serde::Serialize;

use crate::{
    clients::Clients,
    latency::Summary,
    load::Load,
    nodes::{self, Node},
    pace::{self, Outcome, Pace},
    target::Target,
    worker::{StepClock, Working},
    workload::Workload,
};

/// What is measured.
#[derive(Debug)]
pub(crate) struct Phase {
    /// For people who wait.
    pub(crate) name: &'static str,
    pub(crate) workload: Workload,
    pub(crate) pace: Pace,
    /// Runs that count.
    pub(crate) runs: usize,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Measured {
    pub(crate) runs: usize,
    pub(crate) steps: usize,
    pub(crate) seconds: f64,
    pub(crate) runs_per_second: f64,
    pub(crate) steps_per_second: f64,
    pub(crate) run_latency_ms: Option<Summary>,
    pub(crate) step_latency_ms: Option<Summary>,
    /// Calls that had to be repeated, by reason.
    pub(crate) retries: BTreeMap<String, u64>,
    /// CPU time of this process: clients and, unless it is elsewhere, worker.
    pub(crate) client_cpu_seconds: Option<f64>,
    pub(crate) nodes: Vec<Node>,
}

/// A load that is ready to be driven: connected, its workflows known, a worker at work.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) load: Arc<Load>,
    clock: Arc<StepClock>,
    working: Option<Working>,
    workload: Workload,
}

impl Ready {
    /// Prepares a load of runs with numbers below `runs`, of which `at_a_time` are open at a time.
    pub(crate) async fn prepare(
        configuration: &Configuration,
        target: &Target,
        workload: Workload,
        runs: usize,
        at_a_time: usize,
    ) -> anyhow::Result<Self> {
        let options = &configuration.options;
        let clients = Clients::new(target.endpoints(), &configuration.namespace, at_a_time, options.connections)?;
        let workflows = workload.apply(clients.of(0)).await?;
        let prefix = format!("bench-{}-", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let clock = Arc::new(StepClock::new(&prefix, workload.clone(), runs)?);
        let working = if options.no_worker || !workload.has_tasks() {
            None
        } else {
            Some(Working::start(target.endpoints(), &options.queue, options.capacity, Some(clock.clone()))?)
        };
        let load = Load { clients, workflows, prefix, patience: Duration::from_secs(options.patience), wait: workload.has_tasks() };
        Ok(Self { load: Arc::new(load), clock, working, workload })
    }

    /// Does the runs with these numbers.
    pub(crate) async fn drive(&self, pace: Pace, numbers: Range<usize>, bar: &ProgressBar) -> anyhow::Result<Outcome> {
        let load = self.load.clone();
        let run = move |turn| {
            let load = load.clone();
            async move { load.run(turn).await }
        };
        pace::drive(pace, numbers, bar, run).await
    }

    /// From now on what happens counts.
    pub(crate) async fn begin(&self, target: &Target) -> anyhow::Result<Cost> {
        let nodes = nodes::look(&target.sources()).await?;
        self.load.clients.forget_retries();
        self.clock.measure();
        Ok(Cost { nodes, own: nodes::own_cpu_seconds() })
    }

    /// The figures of runs that were done since a beginning.
    pub(crate) async fn end(&self, target: &Target, begin: &Cost, outcome: &Outcome, numbers: Range<usize>) -> anyhow::Result<Measured> {
        let own = nodes::own_cpu_seconds();
        let nodes = nodes::look(&target.sources()).await?;
        let nodes = nodes.into_iter().enumerate().map(|(index, node)| node.since(begin.nodes.get(index)));
        let (runs, steps) = (numbers.len(), numbers.map(|number| self.workload.tasks_of(number)).sum());
        let seconds = outcome.elapsed.as_secs_f64();
        Ok(Measured {
            runs,
            steps,
            seconds,
            runs_per_second: runs as f64 / seconds,
            steps_per_second: steps as f64 / seconds,
            run_latency_ms: outcome.latencies.summary(),
            step_latency_ms: self.clock.latencies().summary(),
            retries: self.load.clients.retries(),
            client_cpu_seconds: own.zip(begin.own).map(|(after, before)| after - before),
            nodes: nodes.collect(),
        })
    }

    /// Stops the worker.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        match self.working {
            Some(working) => working.stop().await,
            None => Ok(()),
        }
    }
}

/// What had been used when a measurement began.
#[derive(Debug)]
pub(crate) struct Cost {
    nodes: Vec<Node>,
    own: Option<f64>,
}

impl Phase {
    /// Measures.
    pub(crate) async fn measure(self, configuration: &Configuration, target: &mut Target) -> anyhow::Result<Measured> {
        let Self { name, workload, pace, runs } = self;
        let warm_up = configuration.options.warm_up.unwrap_or(pace.at_a_time());
        let ready = Ready::prepare(configuration, target, workload, warm_up + runs, pace.at_a_time()).await?;
        let bar = progress(configuration, name, warm_up + runs);
        ready.drive(pace, 0..warm_up, &bar).await.context("warming up")?;
        let begin = ready.begin(target).await?;
        let numbers = warm_up..warm_up + runs;
        let outcome = ready.drive(pace, numbers.clone(), &bar).await;
        bar.finish_and_clear();
        // A node that has died is the better reason for a run that failed.
        target.must_live()?;
        let measured = ready.end(target, &begin, &outcome?, numbers).await?;
        ready.stop().await?;
        Ok(measured)
    }
}

/// Shown on a terminal only.
pub(crate) fn progress(configuration: &Configuration, name: &'static str, length: usize) -> ProgressBar {
    if configuration.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg:>8} [{bar:40}] {pos}/{len} runs  {per_sec}  {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(name);
    bar
}
