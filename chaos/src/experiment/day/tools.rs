//! The command lines of this program's other parts. The only place that knows them.
//!
//! Everything that a game day does to a cluster goes through the same verbs that people and experiments use, as a process of its own: a part that hangs or
//! dies can't take the day with it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        game_day::{Load, StageSize},
        provider,
    },
    target::addresses,
};
use crate::stage::network::Network;

/// How long the small verbs may take.
const SHORT: Duration = Duration::from_secs(60);
/// How long a stage may take to come up, and to go.
const STAGE: Duration = Duration::from_secs(120);
/// How long an export or a judgement may take.
const LONG: Duration = Duration::from_secs(300);

/// This program's other parts.
#[derive(Clone, Debug)]
pub struct Tools {
    /// This program.
    pub program: PathBuf,
    /// For all processes.
    pub environment: Vec<(String, String)>,
}

/// A cluster that can be spoken to.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// As `--target` names it.
    pub target: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What clients connect to.
    pub endpoints: Vec<String>,
    /// False if it says that its nodes stay away when they end.
    pub comes_back: bool,
}

/// How a judgement came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Everything that was looked at holds.
    Valid,
    /// Something does not hold.
    Violated,
    /// Nobody can tell.
    Unknown,
}

impl Tools {
    /// Makes a stage in a folder.
    pub async fn cluster_up(&self, folder: &Path, size: &StageSize) -> anyhow::Result<()> {
        let mut arguments = vec![json!("cluster"), json!("up"), json!("--dir"), json!(folder)];
        arguments.extend([json!("--nodes"), json!(size.nodes), json!("--workers"), json!(size.workers), json!("--detach")]);
        arguments.extend([json!("--disks"), json!(size.disks.word())]);
        // Workers that do what the workload's tasks ask for, with a name and a ledger each.
        arguments.extend([json!("--worker-command"), json!(format!("{} worker", self.program.display()))]);
        if size.network == Network::Namespaces {
            arguments.extend([json!("--network"), json!("namespaces")]);
        }
        arguments.extend(size.flags.iter().map(|flag| json!(flag)));
        self.run(Value::Array(arguments), STAGE).await.context("bringing the stage up")?;
        Ok(())
    }

    /// Takes a stage down.
    pub async fn cluster_down(&self, folder: &Path) -> anyhow::Result<()> {
        self.run(json!(["cluster", "down", "--dir", folder]), STAGE).await.context("taking the stage down")?;
        Ok(())
    }

    /// What the folder of a cluster says about it.
    pub fn open(kind: &str, folder: &Path) -> anyhow::Result<Cluster> {
        let names = [format!("{kind}.json"), "cluster.json".to_owned()];
        let card = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        let card = card.with_context(|| format!("{} holds no {}: is the cluster up?", folder.display(), names.join(" and no ")))?;
        let text = std::fs::read(&card).with_context(|| format!("reading {}", card.display()))?;
        let card: Value = serde_json::from_slice(&text).with_context(|| format!("reading {}", card.display()))?;
        let comes_back = card["restart"].as_bool().unwrap_or(true);
        Ok(Cluster { target: format!("{kind}:{}", folder.display()), folder: folder.to_owned(), endpoints: addresses(&card)?, comes_back })
    }

    /// Whether all nodes are ready.
    pub async fn ready(&self, cluster: &Cluster) -> anyhow::Result<()> {
        self.run(json!(["probe", "ready", "--target", cluster.target]), SHORT).await.map(drop)
    }

    /// Whether all runs have ended, or wait for something that was not promised to come.
    pub async fn runs_ended(&self, cluster: &Cluster) -> anyhow::Result<()> {
        self.run(json!(["probe", "runs-ended", "--target", cluster.target]), SHORT).await.map(drop)
    }

    /// Ends all faults.
    pub async fn heal(&self, cluster: &Cluster) -> anyhow::Result<()> {
        self.run(json!(["heal", "--target", cluster.target, "--all"]), SHORT).await.context("healing").map(drop)
    }

    /// Starts the workload: clients that record what they ask and are told, and workers if the cluster has none of its own.
    pub fn workload(&self, cluster: &Cluster, load: &Load, workers: u64, seed: u64, results: &Path) -> anyhow::Result<Child> {
        let mut command = self.command("workload", results)?;
        command.args(["--workers", &workers.to_string()]);
        command.args(["--endpoints", &cluster.endpoints.join(",")]).args(["--seed", &seed.to_string()]);
        command
            .args(["--runs", &load.runs.to_string(), "--rate", &load.rate.to_string(), "--mix", &load.mix])
            .args(["--misbehaving", &load.misbehaving.to_string()])
            .arg("--results")
            .arg(results);
        command.spawn().context("starting the workload")
    }

    /// Exports what every replica has applied into the results folder.
    pub async fn export(&self, cluster: &Cluster, results: &Path) -> anyhow::Result<()> {
        let arguments = json!(["export", results, "--endpoint", cluster.endpoints.join(",")]);
        self.run(arguments, LONG).await.context("exporting the replicas").map(drop)
    }

    /// Judges what the results folder holds, and writes `results.json` into it.
    pub async fn judge(&self, results: &Path) -> anyhow::Result<Judgement> {
        let answer = self.answer(json!(["recheck", results]), LONG).await.context("judging")?;
        match answer["status"].as_i64() {
            Some(0) => Ok(Judgement::Valid),
            Some(1) => Ok(Judgement::Violated),
            // The tool itself fails with 2, too: then it has left no results.
            Some(2) if results.join("results.json").is_file() => Ok(Judgement::Unknown),
            _ => bail!("judging: {}", trouble(&answer)),
        }
    }

    fn command(&self, verb: &str, results: &Path) -> anyhow::Result<Command> {
        let log = results.join(format!("{verb}.log"));
        let file = std::fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(&self.program);
        command.arg(verb).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0).kill_on_drop(true);
        Ok(command)
    }

    async fn answer(&self, arguments: Value, bound: Duration) -> anyhow::Result<Value> {
        // Not under the token that stops the method: taking down must go on then.
        let never = CancellationToken::new();
        provider::run(&self.program.display().to_string(), &arguments, &self.environment, bound, &never).await
    }

    async fn run(&self, arguments: Value, bound: Duration) -> anyhow::Result<Value> {
        let answer = self.answer(arguments, bound).await?;
        if answer["status"] != 0 {
            bail!("{}", trouble(&answer));
        }
        Ok(answer)
    }
}

/// Why a verb failed, as it says itself.
fn trouble(answer: &Value) -> String {
    let said = |name: &str| answer[name].as_str().unwrap_or_default().trim().to_owned();
    let said = [said("stderr"), said("stdout")].into_iter().find(|said| !said.is_empty()).unwrap_or_default();
    format!("exit code {}: {}", answer["status"], said.trim_start_matches("error: "))
}
