//! What happens, in order.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use quorus_client::Client;
use quorus_proto::v1::{
    self, EventType, GetRunRequest, Payload, Run, StartRunRequest, WatchRunRequest, apply_workflow_request::Definition,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, interval, sleep, timeout},
};

use super::{Options, Outcome, Stage, show};
use crate::{
    audit,
    cluster::Cluster,
    probe::{self, Probe},
    process::Programs,
    workers::Workers,
};

const FAN: &str = include_str!("../../../examples/fan.yaml");
const HELLO: &str = include_str!("../../../examples/hello.yaml");

/// How long processes may take to start, on a machine that does other things, too.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// The leader dies when so many attempts of the big run have been handed out: the first step and a part of the fan.
const KILL_AFTER_LEASES: usize = 4;
/// How long the dead node stays away: the rest of the fan, the retry and the wait happen without it.
const ABSENCE: Duration = Duration::from_secs(3);
/// Pause between two small runs, so that some start before, some during and some after the failure.
const SMALL_RUN_INTERVAL: Duration = Duration::from_millis(250);

/// Tells the story; what it starts is left on the stage.
pub(super) async fn tell(stage: &mut Stage, folder: &Path, options: &Options) -> anyhow::Result<Outcome> {
    show::begin();
    let programs = Programs::borrow_into(folder)?;
    let cluster = stage.cluster.insert(Cluster::start(&programs.quorusd, folder, 3, &options.flags)?);
    cluster.wait_ready(READY_PATIENCE).await.context("starting the nodes")?;
    let endpoints = cluster.endpoints();
    for (id, pid) in cluster.pids() {
        show::note(&format!("node {id} is ready (pid {pid})"));
    }
    let client = Client::with_endpoints(endpoints.clone())?;
    let workers = stage.workers.insert(Workers::start(&programs.quorus, folder, &endpoints, 2, 4)?);
    show::note(&format!("two workers, four tasks at a time each (pids {:?})", workers.pids()));

    let hello_revision = apply(&client, "examples/hello.yaml", HELLO).await?;
    let fan_revision = apply(&client, "examples/fan.yaml", FAN).await?;
    let probe_ids = probe::ids_by_shard(&client).await.context("preparing the probe")?;
    let input = serde_json::json!({ "dir": folder.join("files") });
    let big = start(&client, "fan", "big", &input, fan_revision).await?;
    show::note(&format!("run 'big' of workflow 'fan': {} steps on real files, owned by shard {}", big.steps_total, big.shard));
    let (mut leases, big_ended) = follow(&client);
    let probe = Probe::start(&endpoints, probe_ids.get(&big.shard).context("no probe for the shard")?)?;
    let small = tokio::spawn(start_small_runs(client.clone(), options.small_runs, hello_revision));

    leases.wait_for(|count| *count >= KILL_AFTER_LEASES).await.context("the big run ended before anybody could disturb it")?;
    let leader = leader_of(&client, big.shard).await?;
    if big_ended.is_finished() {
        bail!("the big run ended before anybody could disturb it");
    }
    cluster.kill(leader).await?;
    show::shout(&format!("kill -9 node {leader}, the leader of shard {}", big.shard));
    sleep(ABSENCE).await;
    let pid = cluster.start_node(leader)?;
    show::shout(&format!("node {leader} starts again (pid {pid})"));

    big_ended.await?.context("following the big run")?;
    let mut accepted = small.await?.context("starting small runs")?;
    accepted.insert(big.run_id);
    let mut runs = Vec::new();
    for id in &accepted {
        runs.push(client.wait_run("default", id).await.with_context(|| format!("waiting for run {id}"))?);
    }
    show::note(&format!("all {} runs have ended", runs.len()));
    let probe = probe.finish().await?;
    cluster.wait_ready(READY_PATIENCE).await.context("waiting for the node that was killed")?;
    cluster.must_live()?;
    workers.must_live()?;

    // What counts is what a quorum says at the end, not what a stream said on the way.
    let mut finals = Vec::new();
    for id in &accepted {
        finals.push(client.get_run(GetRunRequest { run_id: id.clone(), ..GetRunRequest::default() }).await?);
    }
    Ok(Outcome { audit: audit::audit(&accepted, &finals, &workers.entries()?), probe })
}

async fn apply(client: &Client, name: &str, text: &str) -> anyhow::Result<u64> {
    let source = v1::Source { text: text.to_owned(), name: name.to_owned() };
    let request = v1::ApplyWorkflowRequest { definition: Some(Definition::Source(source)), ..Default::default() };
    Ok(client.apply_workflow(request).await.with_context(|| format!("applying {name}"))?.revision)
}

async fn start(client: &Client, workflow: &str, id: &str, input: &serde_json::Value, min_revision: u64) -> anyhow::Result<Run> {
    let request = StartRunRequest {
        workflow: workflow.to_owned(),
        run_id: id.to_owned(),
        request_id: format!("demo-{id}"),
        input: Some(Payload { data: input.to_string().into(), encoding: "json".to_owned() }),
        min_revision,
        ..StartRunRequest::default()
    };
    client.start_run(request).await.with_context(|| format!("starting run {id}"))?.run.context("the answer has no run")
}

/// Starts small runs one after another; returns the ids of those that were acknowledged, which must be all.
async fn start_small_runs(client: Client, count: u32, revision: u64) -> anyhow::Result<BTreeSet<String>> {
    let mut accepted = BTreeSet::new();
    let mut pace = interval(SMALL_RUN_INTERVAL);
    for number in 1..=count {
        pace.tick().await;
        let run = start(&client, "hello", &format!("small-{number}"), &serde_json::json!({ "name": number.to_string() }), revision).await?;
        accepted.insert(run.run_id);
    }
    Ok(accepted)
}

/// Shows the big run's history as it happens. Returns how many attempts were handed out so far, and the run's end.
fn follow(client: &Client) -> (watch::Receiver<usize>, JoinHandle<anyhow::Result<()>>) {
    let (leases, counted) = watch::channel(0);
    let mut history = client.watch_run(WatchRunRequest { run_id: "big".to_owned(), ..WatchRunRequest::default() });
    let task = tokio::spawn(async move {
        while let Some(item) = history.next().await? {
            for event in &item.events {
                show::event(event);
                if event.r#type() == EventType::StepLeased {
                    leases.send_modify(|count| *count += 1);
                }
            }
        }
        Ok(())
    });
    (counted, task)
}

async fn leader_of(client: &Client, shard: u32) -> anyhow::Result<u64> {
    let deadline = Instant::now() + READY_PATIENCE;
    while Instant::now() < deadline {
        let status = timeout(READY_PATIENCE, client.cluster_status()).await.context("asking for the cluster's status")??;
        if let Some(leader) = status.shards.iter().find(|one| one.shard == shard).map(|one| one.leader_node).filter(|node| *node > 0) {
            return Ok(leader);
        }
        sleep(Duration::from_millis(50)).await;
    }
    bail!("shard {shard} has no leader")
}
