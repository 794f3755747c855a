//! Questions with a yes or a no, and a number: what an experiment's steady state is made of.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use quorus_client::{Client, Options};
use quorus_proto::v1;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::view::View;
use crate::{cluster::serves, probe::WORKFLOW, stage::target::TargetArgs};

/// Pause before a question is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What can be asked.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Question {
    /// Are nodes ready to serve?
    Ready {
        /// Only these, as numbers [default: all]
        #[arg(long, value_delimiter = ',')]
        node: Vec<u64>,
        /// So many are enough [default: all that are asked]
        #[arg(long)]
        at_least: Option<usize>,
    },
    /// Does a shard have a leader, and who is it?
    Leader {
        /// The shard
        #[arg(long)]
        shard: u32,
    },
    /// Has every shard a leader that says so itself?
    NoLeaderlessShard,
    /// Have all runs ended or do they wait for people, except for those that a filter leaves out?
    RunsEnded {
        /// Only runs that meet it, as `quorus runs list --filter` takes it
        #[arg(long, default_value = "")]
        filter: String,
    },
    /// How long does it take to start a small run? Yes if the slowest but one in a hundred is below the bound
    Latency {
        /// The bound, in milliseconds
        #[arg(long, default_value_t = 1000)]
        max_ms: u64,
        /// How many are started
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        samples: u64,
    },
    /// What does the cluster say of itself? Yes if every node answers
    Status,
    /// Did no process end that nobody had ended? Only for stages
    NoneDied,
    /// Is no fault in force? Only for stages and `quorusd dev`
    Quiet,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Yes or no.
    pub yes: bool,
    /// With what.
    pub value: Value,
}

impl Question {
    /// Asks until the answer is yes, or the time is over; then the last answer counts.
    pub async fn ask(&self, target: &TargetArgs, within: Duration) -> anyhow::Result<Answer> {
        let deadline = Instant::now() + within;
        loop {
            let answer = self.ask_once(target).await;
            let is_yes = answer.as_ref().is_ok_and(|answer| answer.yes);
            if is_yes || Instant::now() >= deadline {
                return answer;
            }
            sleep(ASK_AGAIN).await;
        }
    }

    async fn ask_once(&self, target: &TargetArgs) -> anyhow::Result<Answer> {
        let nodes = target.nodes()?;
        let view = || View::take(nodes.iter().cloned());
        Ok(match self {
            Self::Ready { node, at_least } => {
                let mut ready = BTreeMap::new();
                for (id, address) in nodes.iter().filter(|(id, _)| node.is_empty() || node.contains(id)) {
                    ready.insert(id.to_string(), serves(&format!("http://{address}")).await);
                }
                let count = ready.values().filter(|ready| **ready).count();
                let needed = at_least.unwrap_or(ready.len());
                Answer { yes: !ready.is_empty() && count >= needed, value: json!({ "ready": count, "nodes": ready }) }
            }
            Self::Leader { shard } => {
                let leader = view().await.leaders().get(shard).copied();
                Answer { yes: leader.is_some(), value: json!(leader) }
            }
            Self::NoLeaderlessShard => {
                let view = view().await;
                let (leaderless, leaders) = (view.leaderless(), view.leaders().len());
                Answer { yes: leaders > 0 && leaderless.is_empty(), value: json!({ "leaderless": leaderless, "led": leaders }) }
            }
            Self::RunsEnded { filter } => runs_ended(&target.endpoints()?, filter).await?,
            Self::Latency { max_ms, samples } => latency(&target.endpoints()?, *max_ms, *samples).await?,
            Self::Status => {
                let view = view().await;
                let answered = view.answers.iter().filter(|(_, answer)| answer.is_some()).map(|(id, _)| *id).collect::<Vec<_>>();
                let leaders: BTreeMap<String, u64> = view.leaders().into_iter().map(|(shard, node)| (shard.to_string(), node)).collect();
                let value = json!({ "answered": answered, "leaders": leaders, "leaderless": view.leaderless() });
                Answer { yes: !nodes.is_empty() && answered.len() == nodes.len(), value }
            }
            Self::NoneDied => {
                let report = target.remote().await?.report().await?;
                Answer { yes: report.ended_by_themselves.is_empty(), value: json!(report.ended_by_themselves) }
            }
            Self::Quiet => {
                let report = target.remote().await?.report().await?;
                Answer { yes: report.active.is_empty(), value: json!(report.active) }
            }
        })
    }
}

/// A run that waits for people was not promised to end by itself.
fn is_open(status: v1::RunStatus) -> bool {
    !quorus_client::is_final(status) && status != v1::RunStatus::NeedsAttention
}

async fn runs_ended(endpoints: &[String], filter: &str) -> anyhow::Result<Answer> {
    let client = client(endpoints)?;
    let request = v1::CountRunsRequest { filter: filter.to_owned(), max: 1_000_000, ..Default::default() };
    let counted = client.count_runs(request).await.context("counting runs")?;
    let open: u64 = counted.by_status.iter().filter(|one| is_open(one.status())).map(|one| one.count).sum();
    let by_status: BTreeMap<&str, u64> = counted.by_status.iter().map(|one| (one.status().as_str_name(), one.count)).collect();
    Ok(Answer { yes: open == 0 && !counted.more, value: json!({ "open": open, "all": counted.count, "by_status": by_status }) })
}

async fn latency(endpoints: &[String], max_ms: u64, samples: u64) -> anyhow::Result<Answer> {
    let client = client(endpoints)?;
    let source = v1::Source { text: WORKFLOW.to_owned(), name: "probe".to_owned() };
    let definition = Some(v1::apply_workflow_request::Definition::Source(source));
    let min_revision = client.apply_workflow(v1::ApplyWorkflowRequest { definition, ..Default::default() }).await?.revision;
    let mut took = Vec::new();
    for _ in 0..samples {
        let begin = Instant::now();
        // No run id: the cluster makes one, on any shard.
        let request = v1::StartRunRequest { workflow: "probe".to_owned(), min_revision, ..Default::default() };
        client.start_run(request).await.context("starting a small run")?;
        took.push(begin.elapsed());
    }
    took.sort_unstable();
    let ms = |part: f64| percentile(&took, part).as_secs_f64() * 1000.0;
    let value = json!({ "samples": samples, "p50_ms": ms(0.50), "p99_ms": ms(0.99), "max_ms": ms(1.0) });
    Ok(Answer { yes: percentile(&took, 0.99) <= Duration::from_millis(max_ms), value })
}

fn client(endpoints: &[String]) -> anyhow::Result<Client> {
    Ok(Client::new(Options { endpoints: endpoints.to_vec(), ..Options::default() })?)
}

/// The value that a part of all are not above, by nearest rank. Values are in rising order.
pub fn percentile(values: &[Duration], part: f64) -> Duration {
    let rank = (part * values.len() as f64).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_waits_for_people_holds_nobody_up() {
        let open = [v1::RunStatus::Running, v1::RunStatus::Compensating, v1::RunStatus::Failing, v1::RunStatus::Queued];
        assert!(open.into_iter().all(is_open));
        assert!(!is_open(v1::RunStatus::NeedsAttention) && !is_open(v1::RunStatus::Succeeded) && !is_open(v1::RunStatus::Failed));
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!([0.5, 0.99, 1.0, 0.0].map(|part| percentile(&values, part).as_millis()), [50, 99, 100, 1]);
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
