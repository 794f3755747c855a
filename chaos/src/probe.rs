//! Measures for how long a small request could not be completed.
//!
//! The probe starts a run of one `set` step, over and over, on one shard: the one whose leader is going to die. It asks every node in turn until one
//! completes the start, and then goes on with the next. The gap is the longest time from one completed start to the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

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
/// How many ids are tried side by side.
const IDS_AT_A_TIME: u32 = 32;
/// More rounds than these would be needed only if shards were chosen unfairly.
const ROUNDS_MAX: u32 = 100;

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
    /// Begins, with a run id on the shard that is to be watched.
    pub fn start(endpoints: &[String], run_id: &str) -> anyhow::Result<Self> {
        let channels = endpoints.iter().map(|endpoint| channel(endpoint)).collect::<Result<Vec<_>, _>>()?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(probe(channels, run_id.to_owned(), stop.clone()));
        Ok(Self { stop, task })
    }

    /// Ends and tells.
    pub async fn finish(self) -> anyhow::Result<Report> {
        self.stop.cancel();
        self.task.await.context("the probe failed")
    }
}

/// Applies the probe's workflow and finds a run id for every shard, since only the cluster knows which shard owns which id.
pub async fn ids_by_shard(client: &Client) -> anyhow::Result<BTreeMap<u32, String>> {
    let source = v1::Source { text: WORKFLOW.to_owned(), name: "probe".to_owned() };
    let definition = Some(v1::apply_workflow_request::Definition::Source(source));
    let applied = client.apply_workflow(v1::ApplyWorkflowRequest { definition, ..Default::default() }).await?;
    // A node that has just started answers before it knows the shards.
    let shards: BTreeSet<u32> = loop {
        let shards: BTreeSet<u32> = client.cluster_status().await?.shards.iter().map(|one| one.shard).filter(|shard| *shard > 0).collect();
        if !shards.is_empty() {
            break shards;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let mut ids = BTreeMap::new();
    for round in 0..ROUNDS_MAX {
        let numbers = (0..IDS_AT_A_TIME).map(|number| round * IDS_AT_A_TIME + number);
        let starts = numbers.map(|number| {
            let (client, run_id) = (client.clone(), format!("probe-{number}"));
            let request = StartRunRequest { min_revision: applied.revision, ..request(&run_id, 0) };
            tokio::spawn(async move { client.start_run(request).await })
        });
        for start in starts.collect::<Vec<_>>() {
            let run = start.await?.context("starting a probe's run")?.run.context("the answer has no run")?;
            ids.insert(run.shard, run.run_id);
        }
        if shards.iter().all(|shard| ids.contains_key(shard)) {
            return Ok(ids);
        }
    }
    let missing: Vec<&u32> = shards.iter().filter(|shard| !ids.contains_key(shard)).collect();
    bail!("shards {missing:?} own none of {} run ids", ROUNDS_MAX * IDS_AT_A_TIME)
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
