//! Measures for how long a small request could not be completed.
//!
//! The probe starts a run of one `set` step, over and over, on one shard: the one whose leader is going to die. It asks every node in turn until one
//! completes the start, and then goes on with the next. The gap is the longest time from one completed start to the next.

use std::time::Duration;

use anyhow::{Context as _, bail};
use quorus_client::Client;
use quorus_proto::v1::{self, ConflictPolicy, ReusePolicy, StartRunRequest, run_service_client::RunServiceClient};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// The probe's workflow.
pub const WORKFLOW: &str =
    "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: probe}\nspec:\n  steps:\n    - {id: answer, set: {ok: true}}\n";
/// Pause after a completed start: the probe is to notice, not to load.
const PAUSE: Duration = Duration::from_millis(5);
/// Pause before the next node is asked.
const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// How long one node may be silent: longer than an election, so that patience is rewarded.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// More ids than this would have to be tried only if shards were chosen unfairly.
const ID_TRIES_MAX: u32 = 10_000;

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Starts completed.
    pub completed: u64,
    /// Tries refused or lost.
    pub refused: u64,
    /// Longest time from one completed start to the next.
    pub gap: Duration,
}

/// A probe at work.
#[derive(Debug)]
pub struct Probe {
    stop: CancellationToken,
    task: JoinHandle<Report>,
}

impl Probe {
    /// Applies the workflow, finds a run id on the shard, and begins.
    pub async fn start(client: &Client, endpoints: &[String], shard: u32) -> anyhow::Result<Self> {
        let source = v1::Source { text: WORKFLOW.to_owned(), name: "probe".to_owned() };
        let definition = Some(v1::apply_workflow_request::Definition::Source(source));
        let applied = client.apply_workflow(v1::ApplyWorkflowRequest { definition, ..Default::default() }).await?;
        let run_id = id_on_shard(client, shard, applied.revision).await?;
        let channels = endpoints.iter().map(|endpoint| channel(endpoint)).collect::<Result<Vec<_>, _>>()?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(probe(channels, run_id, stop.clone()));
        Ok(Self { stop, task })
    }

    /// Ends and tells.
    pub async fn finish(self) -> anyhow::Result<Report> {
        self.stop.cancel();
        self.task.await.context("the probe failed")
    }
}

fn channel(endpoint: &str) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(endpoint.to_owned())?.connect_timeout(SILENCE_MAX).timeout(SILENCE_MAX).connect_lazy())
}

fn request(run_id: &str, number: u64) -> StartRunRequest {
    StartRunRequest {
        workflow: "probe".to_owned(),
        run_id: run_id.to_owned(),
        request_id: format!("{run_id}-{number}"),
        on_conflict: ConflictPolicy::TerminateExisting.into(),
        on_reuse: ReusePolicy::Allow.into(),
        ..StartRunRequest::default()
    }
}

async fn id_on_shard(client: &Client, shard: u32, min_revision: u64) -> anyhow::Result<String> {
    for number in 0..ID_TRIES_MAX {
        let run_id = format!("probe-{number}");
        let answer = client.start_run(StartRunRequest { min_revision, ..request(&run_id, 0) }).await?;
        if answer.run.is_some_and(|run| run.shard == shard) {
            return Ok(run_id);
        }
    }
    bail!("no run id leads to shard {shard}")
}

async fn probe(channels: Vec<Channel>, run_id: String, stop: CancellationToken) -> Report {
    let mut report = Report::default();
    let mut nodes = channels.into_iter().map(RunServiceClient::new).collect::<Vec<_>>();
    let mut last = Instant::now();
    for number in 1.. {
        // Whoever answered last is asked first.
        let mut turn = 0;
        loop {
            if stop.is_cancelled() {
                // A start that is still open counts as far as it got: an outage that never ends must not look like none.
                report.gap = report.gap.max(last.elapsed());
                return report;
            }
            let Some(node) = nodes.get_mut(turn) else { return report };
            if node.start_run(request(&run_id, number)).await.is_ok() {
                break;
            }
            report.refused += 1;
            turn = (turn + 1) % nodes.len();
            sleep(RETRY_PAUSE).await;
        }
        nodes.rotate_left(turn);
        report.completed += 1;
        report.gap = report.gap.max(last.elapsed());
        last = Instant::now();
        sleep(PAUSE).await;
    }
    report
}
