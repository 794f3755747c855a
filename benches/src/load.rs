//! The closed loop: so many clients, each with one run at a time.
//!
//! A client waits for its run on a watch stream that begins after any event that there will be, so that the node sends the end and
//! nothing else. The watch is opened after the start was answered, as every client does that waits for what it started.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use quorus_client::Client;
use quorus_proto::v1::{RunStatus, StartRunRequest, WatchRunRequest};
use tokio::task::JoinSet;

use crate::{
    clients::Clients,
    latency::Latencies,
    workload::{Applied, Workload},
};

/// What a load needs to know.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) clients: Clients,
    pub(crate) workflow: Applied,
    /// What run ids begin with; the run's number follows.
    pub(crate) prefix: String,
    pub(crate) patience: Duration,
    /// Wait for the end of each run, not only for the answer of its start.
    pub(crate) wait: bool,
}

/// What a load came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) runs: usize,
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Latencies,
}

impl Load {
    pub(crate) fn new(clients: Clients, workflow: Applied, prefix: String, patience: Duration, workload: &Workload) -> Self {
        Self { clients, workflow, prefix, patience, wait: workload.tasks > 0 }
    }

    /// Executes `runs` runs, numbered from `first` on, and ends with the first error.
    pub(crate) async fn drive(
        self: &Arc<Self>,
        first: usize,
        runs: usize,
        concurrency: usize,
        bar: &ProgressBar,
    ) -> anyhow::Result<Outcome> {
        let next = Arc::new(AtomicUsize::new(first));
        let began = Instant::now();
        let mut clients = JoinSet::new();
        for client in 0..concurrency.min(runs) {
            let (load, next, bar) = (self.clone(), next.clone(), bar.clone());
            clients.spawn(async move { load.client(client, &next, first + runs, &bar).await });
        }
        let mut latencies = Latencies::new()?;
        while let Some(client) = clients.join_next().await {
            latencies.add(&client.context("a client panicked")??);
        }
        Ok(Outcome { runs, elapsed: began.elapsed(), latencies })
    }

    async fn client(&self, client: usize, next: &AtomicUsize, end: usize, bar: &ProgressBar) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::new()?;
        let client = self.clients.of(client);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return Ok(latencies);
            }
            let run_id = format!("{}{number}", self.prefix);
            let began = Instant::now();
            let run = tokio::time::timeout(self.patience, self.run(client, &run_id)).await;
            run.unwrap_or_else(|_| bail!("no end after {} s", self.patience.as_secs())).with_context(|| format!("run {run_id}"))?;
            latencies.record(began.elapsed());
            bar.inc(1);
        }
    }

    async fn run(&self, client: &Client, run_id: &str) -> anyhow::Result<()> {
        let request = StartRunRequest {
            workflow: self.workflow.name.clone(),
            workflow_version: self.workflow.version,
            run_id: run_id.to_owned(),
            min_revision: self.workflow.revision,
            ..Default::default()
        };
        let started = client.start_run(request).await.context("starting it")?;
        let Some(run) = started.run.filter(|_| self.wait) else { return Ok(()) };
        let mut watch = client.watch_run(WatchRunRequest {
            run_id: run_id.to_owned(),
            run_uid: run.run_uid,
            from_sequence: u64::MAX,
            ..Default::default()
        });
        let mut last = RunStatus::Unspecified;
        while let Some(item) = watch.next().await.context("waiting for its end")? {
            last = item.run.map_or(last, |run| run.status());
        }
        if last == RunStatus::Succeeded { Ok(()) } else { bail!("it ended as {}", last.as_str_name()) }
    }
}
