//! Workers as real processes, each with a ledger.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use quorus_client::LedgerEntry;
use tokio::process::Command;

use crate::process::Process;

/// How long a worker may take to stop: it has nothing to do any more.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Workers of one queue.
#[derive(Debug)]
pub struct Workers {
    processes: Vec<Process>,
    ledgers: Vec<PathBuf>,
}

impl Workers {
    /// Starts `count` workers that execute commands, `concurrency` at a time each.
    pub fn start(program: &Path, folder: &Path, endpoints: &[String], count: usize, concurrency: usize) -> anyhow::Result<Self> {
        let mut workers = Self { processes: Vec::new(), ledgers: Vec::new() };
        for number in 1..=count {
            let ledger = folder.join(format!("ledger-{number}.jsonl"));
            let mut command = Command::new(program);
            command
                .env("QUORUS_ENDPOINTS", endpoints.join(","))
                .args(["worker", "exec", "--queue", "default", "--concurrency", &concurrency.to_string()])
                .arg("--ledger")
                .arg(&ledger);
            let log = folder.join(format!("worker-{number}.log"));
            workers.processes.push(Process::start(&format!("worker {number}"), command, &log)?);
            workers.ledgers.push(ledger);
        }
        Ok(workers)
    }

    /// Process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }

    /// Fails if a worker has ended.
    pub fn must_live(&mut self) -> anyhow::Result<()> {
        self.processes.iter_mut().try_for_each(Process::must_live)
    }

    /// Everything that the workers wrote down.
    pub fn entries(&self) -> anyhow::Result<Vec<LedgerEntry>> {
        let mut entries = Vec::new();
        for ledger in &self.ledgers {
            let text = fs::read_to_string(ledger).with_context(|| format!("reading {}", ledger.display()))?;
            for line in text.lines() {
                entries.push(serde_json::from_str(line).with_context(|| format!("{}: {line}", ledger.display()))?);
            }
        }
        Ok(entries)
    }

    /// Stops all.
    pub async fn stop(&mut self) {
        for process in std::mem::take(&mut self.processes) {
            // A worker that does not stop in order is killed; its ledger is complete all the same.
            let _ = process.stop(STOP_PATIENCE).await;
        }
    }
}
