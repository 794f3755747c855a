//! Every replica of every shard, exported from the nodes of a real cluster into a results folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use quorus_client::{Client, Options, export_replica};
use quorus_proto::v1::{ExportReplicaResponse, GetClusterStatusResponse};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Replica, folder::Folder};

/// How often nodes are asked how far they are.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long a node may take to say how far it is.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// What was exported.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// All replicas that could be had, by shard and node.
    pub replicas: Vec<Replica>,
    /// Replicas that could not be had, and shards whose replicas were not at the same index when the time was over; a sentence each. For
    /// [`super::Evidence::harness_errors`]: nothing can be compared there.
    pub problems: Vec<String>,
}

/// What the nodes say about themselves.
struct Asked {
    /// By node id: where it is, and its last applied index by shard.
    nodes: BTreeMap<u64, (String, BTreeMap<u32, u64>)>,
    /// Nodes that hold a replica, by shard.
    holders: BTreeMap<u32, Vec<u64>>,
    /// Endpoints that did not answer.
    silent: Vec<String>,
}

/// Waits until all replicas of each shard have applied the same index, and exports them into the folder. For a cluster that has healed and rests; after
/// `patience` it takes what there is, and says what is wrong with it.
///
/// # Errors
/// If the folder can't be written, or no node answers at all.
pub async fn export_all(endpoints: &[String], folder: &Folder, patience: Duration) -> anyhow::Result<Exported> {
    let deadline = Instant::now() + patience;
    let mut exported = Exported::default();
    let mut asked = ask(endpoints).await?;
    while !asked.silent.is_empty() && Instant::now() < deadline {
        sleep(ASK_AGAIN).await;
        asked = ask(endpoints).await?;
    }
    exported.problems.extend(asked.silent.iter().map(|endpoint| format!("{endpoint} does not answer, so its replicas are not compared")));
    for shard in asked.holders.keys().copied().collect::<Vec<_>>() {
        loop {
            let late = Instant::now() >= deadline;
            if !late && !asked.agree(shard) {
                sleep(ASK_AGAIN).await;
                asked = ask(endpoints).await?;
                continue;
            }
            let (replicas, problems) = export_shard(&asked, shard, folder, deadline.max(Instant::now() + patience)).await?;
            // Somebody may have written in between: then once more.
            let equal = problems.is_empty() && replicas.windows(2).all(|pair| pair[0].index == pair[1].index);
            if equal || late {
                if !equal {
                    let indexes: Vec<_> = replicas.iter().map(|replica| format!("node {} at {}", replica.node, replica.index)).collect();
                    exported.problems.push(format!(
                        "shard {shard} did not come to rest within {} s: {}",
                        patience.as_secs(),
                        indexes.join(", ")
                    ));
                }
                exported.replicas.extend(replicas);
                exported.problems.extend(problems);
                break;
            }
            sleep(ASK_AGAIN).await;
            asked = ask(endpoints).await?;
        }
    }
    Ok(exported)
}

impl Asked {
    fn agree(&self, shard: u32) -> bool {
        let Some(holders) = self.holders.get(&shard) else { return false };
        let mut indexes = holders.iter().map(|node| self.nodes.get(node)?.1.get(&shard));
        let Some(Some(first)) = indexes.next() else { return false };
        indexes.all(|index| index == Some(first))
    }
}

async fn ask(endpoints: &[String]) -> anyhow::Result<Asked> {
    let mut asked = Asked { nodes: BTreeMap::new(), holders: BTreeMap::new(), silent: Vec::new() };
    for endpoint in endpoints {
        match ask_one(endpoint).await {
            Some(status) => {
                let indexes = status.shards.iter().map(|shard| (shard.shard, shard.applied_index)).collect();
                asked.nodes.insert(status.answered_by, (endpoint.clone(), indexes));
                for shard in status.shards {
                    // A node that knows no cluster yet has an empty list.
                    let holders = asked.holders.entry(shard.shard).or_default();
                    holders.extend(shard.replica_nodes);
                    holders.sort_unstable();
                    holders.dedup();
                }
            }
            None => asked.silent.push(endpoint.clone()),
        }
    }
    anyhow::ensure!(!asked.nodes.is_empty(), "no node answers: {}", endpoints.join(", "));
    Ok(asked)
}

async fn ask_one(endpoint: &str) -> Option<GetClusterStatusResponse> {
    let options = Options { endpoints: vec![endpoint.to_owned()], timeout: ANSWERS_WITHIN, ..Options::default() };
    Client::new(options).ok()?.cluster_status().await.ok()
}

/// Exports the replicas of a shard; those that can't be had are problems.
async fn export_shard(asked: &Asked, shard: u32, folder: &Folder, deadline: Instant) -> anyhow::Result<(Vec<Replica>, Vec<String>)> {
    let (mut replicas, mut problems) = (Vec::new(), Vec::new());
    for node in asked.holders.get(&shard).into_iter().flatten() {
        // That one is silent, which is a problem already.
        let Some((endpoint, _)) = asked.nodes.get(node) else { continue };
        match timeout_at(deadline, fetch(endpoint, shard)).await {
            Ok(Ok(parts)) => {
                folder.write_parts(*node, shard, &parts)?;
                replicas
                    .push(Replica::from_parts(parts.into_iter().map(Ok)).with_context(|| format!("export of node {node}, shard {shard}"))?);
            }
            Ok(Err(error)) => problems.push(format!("node {node}, shard {shard}: {error:#}")),
            Err(_) => problems.push(format!("node {node}, shard {shard}: the export took too long")),
        }
    }
    Ok((replicas, problems))
}

async fn fetch(endpoint: &str, shard: u32) -> anyhow::Result<Vec<ExportReplicaResponse>> {
    let mut stream = export_replica(endpoint, shard).await?;
    let mut parts = Vec::new();
    while let Some(part) = stream.message().await? {
        parts.push(part);
    }
    Ok(parts)
}

/// Exports every replica of every shard of a running cluster into a results folder.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The results folder
    dir: std::path::PathBuf,
    /// Every node's address
    #[arg(long = "endpoint", required = true, value_delimiter = ',')]
    endpoints: Vec<String>,
    /// How long replicas may take to come to the same index, in seconds
    #[arg(long, default_value_t = 30)]
    patience: u64,
}

/// Exit code 0 if all replicas of each shard came to the same index with the same digest, 1 if digests differ, 2 if they can't be compared.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let exported = export_all(&args.endpoints, &Folder::create(args.dir)?, Duration::from_secs(args.patience)).await?;
    let mut differ = false;
    for pair in exported.replicas.windows(2) {
        let [one, other] = pair else { continue };
        if one.shard == other.shard && one.index == other.index && one.digest != other.digest {
            differ = true;
            anstream::println!("shard {}: nodes {} and {} differ at index {}", one.shard, one.node, other.node, one.index);
        }
    }
    exported.problems.iter().for_each(|problem| anstream::println!("{problem}"));
    let shards: BTreeSet<u32> = exported.replicas.iter().map(|replica| replica.shard).collect();
    anstream::println!("{} replicas of {} shards", exported.replicas.len(), shards.len());
    Ok(match (differ, exported.problems.is_empty()) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(2),
    })
}
