//! `failover`: a node goes under load. For how long does each client get no answer?
//!
//! Each client has a connection and a schedule of its own and one run open at a time, as a service that does one thing after another. Runs
//! belong to all shards, so every client meets those that the node led. Calls are repeated on other nodes as the client library does it.
//! What comes due while a run is open starts right after it, and its latency counts from when it was due.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use quorus_bench_options::{Configuration, Failover};
use quorus_client::Client;
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    gaps::Gaps,
    latency::{Latencies, Summary},
    pace::{Outcome, Pace, Schedule, Turn},
    phase::{self, Measured, Ready},
    target::{READY_PATIENCE, Target},
    workload::Workload,
};

/// Leaders that have not moved for so long have settled.
const STILL: Duration = Duration::from_secs(2);
/// How often they are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Fewer nodes have no majority without one of them.
const NODES_MIN: u64 = 3;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Failovers {
    pub(crate) measured: Measured,
    /// Of each client and event.
    pub(crate) gaps: Option<Summary>,
    pub(crate) events: Vec<Event>,
}

/// A node went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Event {
    pub(crate) node: u64,
    /// How many shards it led.
    pub(crate) shards_led: usize,
    /// Whether a node that was asked to stop did so in order; none after `kill -9`.
    pub(crate) stopped_in_order: Option<bool>,
    /// The longest time from one answered run to the next, for each client.
    pub(crate) gap_ms: Vec<f64>,
    /// The same in the time before the node went, the worst of all clients: what is no failover.
    pub(crate) gap_before_ms: f64,
    /// Runs that were done.
    pub(crate) done: usize,
    /// Runs that were due and had no answer when the watch ended; their latencies are not known. More than one a client: a backlog.
    pub(crate) unanswered: usize,
    /// Runs that the client library gave up.
    pub(crate) failed: usize,
    /// The first reason for that.
    pub(crate) failure: Option<String>,
}

/// Refuses what would kill nodes of somebody else, or more of its own than it can bear.
pub(crate) fn check(configuration: &Configuration, failover: &Failover) -> Result<(), String> {
    match configuration.options.cluster {
        None => Err("failover kills nodes, and only those that it started itself: add --cluster 3".to_owned()),
        Some(nodes) if nodes < NODES_MIN => Err(format!("of {nodes} nodes there is no majority without one: use --cluster 3 or more")),
        Some(nodes) if failover.node.is_some_and(|node| !(1..=nodes).contains(&node)) => {
            Err(format!("--node is a number from 1 to {nodes}"))
        }
        Some(_) => Ok(()),
    }
}

/// Measures.
pub(crate) async fn run(configuration: &Configuration, failover: &Failover, target: &mut Target) -> anyhow::Result<Failovers> {
    let workload = match usize::from(failover.steps) {
        0 => Workload::start(),
        steps => Workload::chain(steps, &configuration.options.queue),
    };
    // Each client has a connection of its own, unless the options say otherwise.
    let mut connected = configuration.clone();
    connected.options.connections.get_or_insert(failover.clients);
    let warm_up = configuration.options.warm_up.unwrap_or(failover.clients);
    // Steps are timed for as many runs as are due in time; those that a longer watch adds are not.
    let due = failover.rate * (failover.before + failover.after) as f64 * (failover.clients * failover.events) as f64;
    let ready = Ready::prepare(&connected, target, workload, warm_up + due.ceil() as usize, failover.clients).await?;
    let bar = phase::progress(configuration, "failover", warm_up + due.ceil() as usize);
    ready.drive(Pace::Closed(failover.clients), 0..warm_up, &bar).await.context("warming up")?;
    let ready = Arc::new(ready);
    let begin = ready.begin(target).await?;
    let next = Arc::new(AtomicUsize::new(warm_up));

    let (mut latencies, mut gaps, mut elapsed) = (Latencies::new()?, Latencies::new()?, Duration::ZERO);
    let mut events = Vec::new();
    for number in 0..failover.events {
        bar.println(format!("event {} of {}", number + 1, failover.events));
        let (event, seen) = event(failover, target, &ready, &next, &bar).await.with_context(|| format!("event {}", number + 1))?;
        seen.clients.iter().for_each(|client| gaps.record(client.gaps.after));
        latencies.add(&seen.latencies);
        elapsed += seen.elapsed;
        events.push(event);
    }
    bar.finish_and_clear();
    let done = events.iter().map(|event| event.done).sum::<usize>();
    let outcome = Outcome { elapsed, latencies };
    // Each run has the same steps, so the numbers do not matter.
    let measured = ready.end(target, &begin, &outcome, 0..done).await?;
    if let Some(ready) = Arc::into_inner(ready) {
        ready.stop().await?;
    }
    Ok(Failovers { measured, gaps: gaps.summary(), events })
}

/// What the clients saw of an event.
struct Seen {
    clients: Vec<Witness>,
    latencies: Latencies,
    elapsed: Duration,
}

async fn event(
    failover: &Failover,
    target: &mut Target,
    ready: &Arc<Ready>,
    next: &Arc<AtomicUsize>,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<(Event, Seen)> {
    // Leaders go home after an event; one in the middle of that would measure two things.
    let leaders = settled(ready.load.clients.of(0)).await?;
    let node = failover.node.or_else(|| leads_most(&leaders)).context("no shard has a leader")?;
    let cluster = target.own().context("the nodes are not of this tool")?;
    let (stop, happened, began) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)), Instant::now());
    let mut loops = JoinSet::new();
    for client in 0..failover.clients {
        let schedule = Schedule::begin(failover.rate).shifted(client as f64 / failover.clients as f64);
        let watched = Watched { ready: ready.clone(), next: next.clone(), stop: stop.clone(), happened: happened.clone() };
        let bar = bar.clone();
        loops.spawn(async move { watched.client(client, schedule, &bar).await });
    }
    sleep(Duration::from_secs(failover.before)).await;
    happened.store(true, Ordering::Release);
    if failover.graceful {
        cluster.ask_to_stop(node)?;
    } else {
        cluster.kill(node).await?;
    }
    sleep(Duration::from_secs(failover.after)).await;
    stop.cancel();
    let mut seen = Seen { clients: Vec::new(), latencies: Latencies::new()?, elapsed: Duration::ZERO };
    while let Some(one) = loops.join_next().await {
        let (one, latencies) = one.context("a client panicked")??;
        seen.latencies.add(&latencies);
        seen.clients.push(one);
    }
    seen.elapsed = began.elapsed();
    let stopped_in_order = cluster.left(node).await;
    cluster.must_live()?;
    cluster.start_node(node)?;
    cluster.wait_ready(READY_PATIENCE).await.with_context(|| format!("node {node} after its end"))?;

    let millis = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    seen.clients.sort_by_key(|client| client.client);
    let event = Event {
        node,
        shards_led: leaders.values().filter(|leader| **leader == node).count(),
        stopped_in_order,
        gap_ms: seen.clients.iter().map(|client| millis(client.gaps.after)).collect(),
        gap_before_ms: seen.clients.iter().map(|client| millis(client.gaps.before)).fold(0.0, f64::max),
        done: seen.clients.iter().map(|client| client.done).sum(),
        unanswered: seen.clients.iter().map(|client| client.unanswered).sum(),
        failed: seen.clients.iter().map(|client| client.failed).sum(),
        failure: seen.clients.iter().find_map(|client| client.failure.clone()),
    };
    if event.done == 0 {
        bail!("no run was done in {:.1} s; {}", seen.elapsed.as_secs_f64(), event.failure.as_deref().unwrap_or("none failed either"));
    }
    Ok((event, seen))
}

/// What one client saw.
#[derive(Debug)]
struct Witness {
    client: usize,
    gaps: Gaps,
    done: usize,
    unanswered: usize,
    failed: usize,
    failure: Option<String>,
}

/// A client at work.
struct Watched {
    ready: Arc<Ready>,
    next: Arc<AtomicUsize>,
    stop: CancellationToken,
    happened: Arc<AtomicBool>,
}

impl Watched {
    async fn client(self, client: usize, schedule: Schedule, bar: &indicatif::ProgressBar) -> anyhow::Result<(Witness, Latencies)> {
        let mut latencies = Latencies::new()?;
        let mut seen = Witness { client, gaps: Gaps::begin(schedule.due(0)), done: 0, unanswered: 0, failed: 0, failure: None };
        for index in 0.. {
            let due = schedule.due(index);
            let run = async {
                sleep_until(due).await;
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                self.ready.load.run(Turn { client, number }).await
            };
            let answer = tokio::select! {
                answer = run => answer,
                () = self.stop.cancelled() => {
                    let now = Instant::now();
                    seen.unanswered = (index..).take_while(|index| schedule.due(*index) <= now).count();
                    break;
                }
            };
            match answer {
                Ok(()) => {
                    seen.gaps.answered(Instant::now(), self.happened.load(Ordering::Acquire));
                    seen.done += 1;
                    latencies.record(due.elapsed());
                    bar.inc(1);
                }
                Err(error) => {
                    seen.failed += 1;
                    seen.failure.get_or_insert_with(|| format!("{error:#}"));
                }
            }
        }
        seen.gaps.end(Instant::now(), self.happened.load(Ordering::Acquire));
        Ok((seen, latencies))
    }
}

/// Waits until every shard has a leader, and leaders have stopped moving.
async fn settled(client: &Client) -> anyhow::Result<BTreeMap<u32, u64>> {
    let deadline = Instant::now() + READY_PATIENCE;
    let mut last = (BTreeMap::new(), Instant::now());
    loop {
        let status = client.cluster_status().await.context("asking who leads")?;
        let leaders: BTreeMap<u32, u64> = status.shards.iter().map(|shard| (shard.shard, shard.leader_node)).collect();
        if leaders != last.0 || leaders.is_empty() || leaders.values().any(|leader| *leader == 0) {
            last = (leaders, Instant::now());
        } else if last.1.elapsed() >= STILL {
            // The system group has no part in runs.
            return Ok(last.0.into_iter().filter(|(shard, _)| *shard > 0).collect());
        }
        if Instant::now() > deadline {
            bail!("leaders have not settled after {} s: {:?}", READY_PATIENCE.as_secs(), last.0);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// The node that leads the most shards, the first of several.
fn leads_most(leaders: &BTreeMap<u32, u64>) -> Option<u64> {
    let mut led = BTreeMap::<u64, usize>::new();
    leaders.values().for_each(|node| *led.entry(*node).or_default() += 1);
    led.into_iter().max_by_key(|(node, led)| (*led, std::cmp::Reverse(*node))).map(|(node, _)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_that_leads_the_most_goes() {
        assert_eq!(leads_most(&BTreeMap::from([(1, 3), (2, 2), (3, 2), (4, 3)])), Some(2));
        assert_eq!(leads_most(&BTreeMap::new()), None);
    }
}
