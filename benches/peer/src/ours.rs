//! Our side: a process that starts three nodes and executes the tasks, and another one with the clients, both of the load tool.

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::{Duration, timeout},
};

use crate::{
    load::Load,
    process::{Process, children, rss_bytes},
    report::Sample,
};

const PATIENCE: Duration = Duration::from_secs(90);
/// What the line begins with that names the nodes.
const ENDPOINTS: &str = "endpoints: ";

/// Our cluster and worker.
#[derive(Debug)]
pub(crate) struct Ours {
    worker: Process,
    endpoints: String,
    /// Our programs were built without optimisation; known after the first load.
    pub(crate) debug_build: bool,
}

impl Ours {
    /// Starts them.
    pub(crate) async fn start(tool: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(tool);
        command.args(["worker", "--cluster", "3", "--data"]).arg(folder.join("quorus")).stdout(Stdio::piped());
        let mut worker = Process::start("quorus-bench worker", &mut command, &folder.join("quorus.log"))?;
        let stdout = worker.child().stdout.take().context("its output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.context("our nodes took too long to start")??;
        let endpoints = line.as_deref().and_then(|line| line.strip_prefix(ENDPOINTS)).map(ToOwned::to_owned);
        let endpoints = endpoints.with_context(|| format!("our nodes did not start: see {}", folder.join("quorus.log").display()))?;
        Ok(Self { worker, endpoints, debug_build: false })
    }

    /// Does it.
    pub(crate) async fn drive(&mut self, tool: &Path, load: Load) -> anyhow::Result<Sample> {
        let mut command = Command::new(tool);
        command.args(["chain", "--no-worker", "--quiet", "-o", "json", "--endpoints", &self.endpoints]);
        for (option, value) in
            [("--runs", load.runs), ("--warm-up", load.warm_up), ("--steps", load.steps), ("--concurrency", load.concurrency)]
        {
            command.args([option, &value.to_string()]);
        }
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("starting our load")?;
        if !output.status.success() {
            bail!("our load: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        self.worker.must_live()?;
        let result: Value = serde_json::from_slice(&output.stdout).context("reading our result")?;
        self.debug_build = result["machine"]["debug_build"].as_bool().unwrap_or(false);
        let figure = |value: &Value| value.as_f64().context("a figure is absent from our result");
        let latency = &result["run_latency_ms"];
        Ok(Sample::new(load, figure(&result["seconds"])?, figure(&latency["p50"])?, figure(&latency["p99"])?))
    }

    /// Resident memory of each node.
    pub(crate) fn rss_bytes(&self) -> Vec<Option<u64>> {
        self.worker.pid().map(children).unwrap_or_default().into_iter().map(rss_bytes).collect()
    }

    /// Ends it; its nodes end with it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.worker.kill().await
    }
}
