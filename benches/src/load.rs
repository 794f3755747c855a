//! One run after another, as a client sees it: start it, wait for its end.
//!
//! A client waits for its run on a watch stream that begins after any event that there will be, so that the node sends the end and
//! nothing else. The watch is opened after the start was answered, as every client does that waits for what it started.

use std::time::Duration;

use anyhow::{Context as _, bail};
use quorus_client::Client;
use quorus_proto::v1::{RunStatus, StartRunRequest, WatchRunRequest};

use crate::{clients::Clients, pace::Turn, workload::Applied};

/// What is needed to do the runs of a load.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) clients: Clients,
    /// The workflows; runs take turns.
    pub(crate) workflows: Vec<Applied>,
    /// What run ids begin with; the run's number follows.
    pub(crate) prefix: String,
    pub(crate) patience: Duration,
    /// Wait for the end of each run, not only for the answer of its start.
    pub(crate) wait: bool,
}

impl Load {
    /// The id of a run.
    pub(crate) fn run_id(&self, number: usize) -> String {
        format!("{}{number}", self.prefix)
    }

    /// Does a run.
    pub(crate) async fn run(&self, turn: Turn) -> anyhow::Result<()> {
        let run_id = self.run_id(turn.number);
        let run = tokio::time::timeout(self.patience, self.start(self.clients.of(turn.client), turn.number, &run_id)).await;
        run.unwrap_or_else(|_| bail!("no end after {} s; --patience gives it more", self.patience.as_secs()))
            .with_context(|| format!("run {run_id}"))
    }

    async fn start(&self, client: &Client, number: usize, run_id: &str) -> anyhow::Result<()> {
        let workflow = self.workflows.get(number % self.workflows.len().max(1)).context("there is no workflow")?;
        let request = StartRunRequest {
            workflow: workflow.name.clone(),
            workflow_version: workflow.version,
            run_id: run_id.to_owned(),
            min_revision: workflow.revision,
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
        let mut last = None;
        while let Some(item) = watch.next().await.context("waiting for its end")? {
            last = item.run.or(last);
        }
        let last = last.context("its end came without the run")?;
        if last.status() == RunStatus::Succeeded {
            return Ok(());
        }
        let status = last.status();
        let failure = client.whole_run(last).await.failure.map(|failure| format!(": {} ({})", failure.message, failure.r#type));
        bail!("it ended as {}{}", status.as_str_name(), failure.unwrap_or_default())
    }
}
