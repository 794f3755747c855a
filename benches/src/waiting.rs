//! `waiting`: what do runs cost that only wait? The chain load without them, then with them.

use std::time::Instant;

use anyhow::{Context as _, bail};
use quorus_bench_options::{Configuration, Waiting, WaitsFor};
use quorus_client::is_final;
use quorus_proto::v1::{GetRunRequest, TerminateRunRequest};
use serde::Serialize;

use crate::{
    nodes::{self, Node},
    pace::{self, Pace},
    phase::{self, Measured, Phase, Ready},
    target::Target,
    workload::Workload,
};

/// How many of the waiting runs are looked at in the end.
const SAMPLES: usize = 100;
/// Why they are terminated.
const REASON: &str = "the load tool has measured with it";

/// The runs that wait.
#[derive(Debug)]
pub(crate) struct Parking {
    ready: Ready,
    waiting: Waiting,
}

/// What it took to let runs wait.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Parked {
    pub(crate) runs: usize,
    pub(crate) waits_for: WaitsFor,
    pub(crate) starts_per_second: f64,
    /// The nodes once they waited, before the load on top.
    pub(crate) nodes: Vec<Node>,
}

/// The load on top against the load without them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Compared {
    /// Steps a second, with to without.
    pub(crate) step_rate: f64,
    /// Median of the step latency, with to without.
    pub(crate) step_latency_p50: Option<f64>,
    /// What the waiting runs added to the memory of each node.
    pub(crate) rss_bytes_more: Vec<Option<i64>>,
}

impl Parking {
    /// Lets the runs wait.
    pub(crate) async fn prepare(configuration: &Configuration, target: &Target, waiting: Waiting) -> anyhow::Result<Self> {
        let workload = Workload::waiting(waiting.waits_for);
        let ready = Ready::prepare(configuration, target, workload, 0, waiting.parking).await?;
        Ok(Self { ready, waiting })
    }

    /// Starts them.
    pub(crate) async fn park(&self, configuration: &Configuration, target: &Target) -> anyhow::Result<Parked> {
        let Waiting { parked: runs, waits_for, parking, .. } = self.waiting;
        let bar = phase::progress(configuration, "parking", runs);
        let began = Instant::now();
        self.ready.drive(Pace::Closed(parking), 0..runs, &bar).await.context("starting the runs that wait")?;
        let seconds = began.elapsed().as_secs_f64();
        bar.finish_and_clear();
        Ok(Parked { runs, waits_for, starts_per_second: runs as f64 / seconds, nodes: nodes::look(&target.sources()).await? })
    }

    /// Fails if runs that are to wait do not: the figures would be those of an empty cluster.
    pub(crate) async fn must_wait(&self) -> anyhow::Result<()> {
        let runs = self.waiting.parked;
        for number in (0..runs).step_by(runs.div_ceil(SAMPLES)).chain([runs - 1]) {
            let run_id = self.ready.load.run_id(number);
            let request = GetRunRequest { run_id: run_id.clone(), ..Default::default() };
            let run = self.ready.load.clients.of(number).get_run(request).await.with_context(|| format!("looking at run {run_id}"))?;
            if is_final(run.status()) {
                bail!("run {run_id} was to wait, but ended as {}", run.status().as_str_name());
            }
        }
        Ok(())
    }

    /// Removes them from a cluster that goes on.
    pub(crate) async fn terminate(&self, configuration: &Configuration) -> anyhow::Result<()> {
        let bar = phase::progress(configuration, "ending", self.waiting.parked);
        let load = self.ready.load.clone();
        let end = move |turn: pace::Turn| {
            let load = load.clone();
            async move {
                let request = TerminateRunRequest { run_id: load.run_id(turn.number), reason: REASON.to_owned(), ..Default::default() };
                match load.clients.of(turn.client).terminate_run(request).await {
                    // It was never started, or somebody else was faster.
                    Err(error) if matches!(error.reason(), "RUN_NOT_FOUND" | "RUN_ENDED") => Ok(()),
                    answer => answer.map(drop).context("terminating a run that waits"),
                }
            }
        };
        pace::drive(Pace::Closed(self.waiting.parking), 0..self.waiting.parked, &bar, end).await?;
        bar.finish_and_clear();
        Ok(())
    }
}

/// The chain load of `waiting`.
pub(crate) fn chain(name: &'static str, waiting: Waiting, queue: &str) -> Phase {
    let chain = waiting.chain;
    Phase { name, workload: Workload::chain(chain.steps, queue), pace: Pace::of(chain.pace, super::session::CLIENTS), runs: chain.runs }
}

/// Compares the loads.
pub(crate) fn compare(empty: &Measured, parked: &Parked, on_top: &Measured) -> Compared {
    let more = |(then, now): (&Node, &Node)| Some(i64::try_from(now.rss_bytes?).ok()? - i64::try_from(then.rss_bytes?).ok()?);
    let latencies = on_top.step_latency_ms.zip(empty.step_latency_ms);
    Compared {
        step_rate: on_top.steps_per_second / empty.steps_per_second,
        step_latency_p50: latencies.map(|(with, without)| with.p50 / without.p50),
        rss_bytes_more: empty.nodes.iter().zip(&parked.nodes).map(more).collect(),
    }
}
