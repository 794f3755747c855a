//! `quorus cluster`: the nodes and what they lead.

use clap::Subcommand;
use quorus_client::v1::{GetClusterStatusResponse, NodeStatus, ShardStatus, WorkerStatus};

use super::{
    args::Globals,
    client,
    failure::Failure,
    render,
    table::{facts, table},
    term,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show nodes, shards and workers, as the node that answers sees them
    Status,
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    let Command::Status = command;
    let status = client::connect(globals)?.cluster_status().await?;
    term::print_as(globals, || render::value(&status), || tables(&status))
}

fn tables(status: &GetClusterStatusResponse) -> String {
    let head = facts([("Cluster", status.cluster_id.clone()), ("Answered by", format!("node {}", status.answered_by))]);
    let nodes = table(["NODE", "ADDRESS", "REACHABLE", "LEADS", "VERSION"], status.nodes.iter().map(node));
    let shards = table(["SHARD", "LEADER", "TERM", "APPLIED", "REPLICAS", "HEALTHY"], status.shards.iter().map(shard));
    let workers = table(["WORKER", "QUEUES", "TASKS", "CAPACITY"], status.workers.iter().map(worker));
    let parts = [head, nodes, shards, workers];
    parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("\n")
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn node(node: &NodeStatus) -> [String; 5] {
    let leads = node.shards_led.to_string();
    [node.node_id.to_string(), node.address.clone(), yes(node.reachable), leads, node.version.clone()]
}

fn shard(shard: &ShardStatus) -> [String; 6] {
    let number = if shard.shard == 0 { "0 (system)".to_owned() } else { shard.shard.to_string() };
    let leader = if shard.leader_node == 0 { "-".to_owned() } else { shard.leader_node.to_string() };
    let replicas: Vec<_> = shard.replica_nodes.iter().map(u64::to_string).collect();
    [number, leader, shard.term.to_string(), shard.applied_index.to_string(), replicas.join(","), yes(shard.healthy)]
}

fn worker(worker: &WorkerStatus) -> [String; 4] {
    [worker.name.clone(), worker.queues.join(","), worker.tasks.to_string(), worker.capacity.to_string()]
}
