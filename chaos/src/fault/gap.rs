//! How long a shard can't complete a start when its leader is killed, or leaves in order: the demo's probe, many times.
//!
//! Each event takes the shards in turn, waits until every shard has a leader and none of them moves any more, watches one shard with a probe that starts
//! small runs over and over, ends the leader, and takes the longest time between two completed starts. Nothing else uses the cluster.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use quorus_client::Client;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{probes::percentile, view::View};
use crate::{
    cluster::Cluster,
    probe::{self, Probe},
    process::Programs,
};

/// How long nodes may take to start, and a cluster to be whole.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How long the probe runs before the leader goes: what it measures without a failure is no gap.
const BEFORE: Duration = Duration::from_millis(300);
/// How long it runs after the leader has gone. A longer outage is measured to its end.
const AFTER: Duration = Duration::from_secs(4);
/// Leaders that have not moved for so long have settled: longer than a node that is back must be steady before leaders go home to it.
const STILL: Duration = Duration::from_secs(9);
/// Pause between two looks at the cluster.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Measure how long a shard is away when its leader is killed, or leaves in order
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many times
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Ask the leader to stop instead of killing it
    #[arg(long)]
    graceful: bool,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: u64,
    /// Write the figures there as JSON, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Folder with `quorusd` and `quorus` [default: that of this program]
    #[arg(long, env = "QUORUS_BIN_DIR", value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Flags for each node, as `quorusd serve` takes them
    #[arg(last = true, value_name = "SERVE FLAGS")]
    flags: Vec<String>,
}

/// One event.
#[derive(Clone, Copy, Debug)]
struct Event {
    shard: u32,
    node: u64,
    gap: Duration,
    refused: u64,
}

/// Measures and tells.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("quorus-gap-").tempdir().context("making a folder")?;
    let programs = match &args.bin_dir {
        Some(built) => Programs::borrow_from(built, folder.path())?,
        None => Programs::borrow_into(folder.path())?,
    };
    let mut cluster = Cluster::start(&programs.quorusd, folder.path(), args.nodes, &args.flags)?;
    let result = tokio::select! {
        result = measure(&args, &mut cluster) => result,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    if result.is_err() {
        anstream::eprintln!("kept {}", folder.keep().display());
    }
    cluster.stop().await;
    let events = result?;
    let what = if args.graceful { "graceful drain" } else { "kill -9" };
    let mut gaps: Vec<Duration> = events.iter().map(|event| event.gap).collect();
    gaps.sort_unstable();
    let ms = |part: f64| percentile(&gaps, part).as_millis();
    anstream::eprintln!(
        "gap at {what} of a shard's leader, {} events: p50 {} ms, p99 {} ms, max {} ms",
        gaps.len(),
        ms(0.5),
        ms(0.99),
        ms(1.0)
    );
    let one =
        |event: &Event| json!({ "shard": event.shard, "node": event.node, "gap_ms": event.gap.as_millis(), "refused": event.refused });
    let figures = json!({
        "event": if args.graceful { "drain" } else { "kill" }, "events": gaps.len(), "nodes": args.nodes, "flags": args.flags,
        "gap_ms": { "p50": ms(0.5), "p99": ms(0.99), "max": ms(1.0) }, "all": events.iter().map(one).collect::<Vec<_>>(),
    });
    if let Some(out) = &args.out {
        std::fs::write(out, serde_json::to_vec_pretty(&figures)?).with_context(|| format!("writing {}", out.display()))?;
    }
    anstream::println!("{figures}");
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &Args, cluster: &mut Cluster) -> anyhow::Result<Vec<Event>> {
    cluster.wait_ready(READY_PATIENCE).await.context("starting the nodes")?;
    let ids = probe::ids_by_shard(&Client::with_endpoints(cluster.endpoints())?).await.context("preparing the probe")?;
    let shards: Vec<u32> = ids.keys().copied().collect();
    let mut events = Vec::new();
    for number in 0..args.events {
        let shard = *shards.get(usize::try_from(number)? % shards.len()).context("there are no shards")?;
        let id = ids.get(&shard).context("no run id for the shard")?;
        // Leaders go home after a failure; an event in the middle of that would measure two things.
        let leaders = settled(cluster).await?;
        let node = *leaders.get(&shard).context("the shard has no leader")?;
        let probe = Probe::start(&cluster.endpoints(), id)?;
        sleep(BEFORE).await;
        if args.graceful {
            cluster.ask_to_stop(node)?;
        } else {
            cluster.kill(node).await?;
        }
        sleep(AFTER).await;
        let report = probe.finish().await?;
        if cluster.left(node).await == Some(false) {
            bail!("node {node} did not stop in order; see its log");
        }
        events.push(Event { shard, node, gap: report.gap, refused: report.refused });
        anstream::eprintln!("{:>4}/{}  shard {shard:<3} node {node}  {} ms", number + 1, args.events, report.gap.as_millis());
        cluster.must_live()?;
        cluster.start_node(node)?;
        cluster.wait_ready(READY_PATIENCE).await.with_context(|| format!("node {node} after its end"))?;
    }
    Ok(events)
}

/// Waits until every shard has a leader, and leaders have stopped moving.
async fn settled(cluster: &Cluster) -> anyhow::Result<BTreeMap<u32, u64>> {
    let deadline = Instant::now() + READY_PATIENCE;
    let mut last = (BTreeMap::new(), Instant::now());
    loop {
        let nodes = cluster.ids().into_iter().map(|id| (id, cluster.address_of(id).to_string()));
        let view = View::take(nodes).await;
        let leaders = if view.leaderless().is_empty() { view.leaders() } else { BTreeMap::new() };
        if leaders.is_empty() || leaders != last.0 {
            last = (leaders, Instant::now());
        } else if at_home(&last.0, cluster.ids().len()) || last.1.elapsed() >= STILL {
            return Ok(last.0);
        }
        if Instant::now() > deadline {
            bail!("leaders have not settled after {} s: shards {:?} have none", READY_PATIENCE.as_secs(), view.leaderless());
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// True if every shard is led where a new cluster puts it: shards go round the nodes. The system group has no home.
fn at_home(leaders: &BTreeMap<u32, u64>, nodes: usize) -> bool {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    leaders.iter().filter(|(shard, _)| **shard > 0).all(|(shard, node)| *node == u64::from((shard - 1) % nodes) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_are_at_home_where_a_new_cluster_puts_them() {
        assert!(at_home(&BTreeMap::from([(0, 3), (1, 1), (2, 2), (3, 3), (4, 1)]), 3));
        assert!(!at_home(&BTreeMap::from([(0, 3), (1, 1), (2, 3)]), 3));
    }
}
