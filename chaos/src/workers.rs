//! Workers as real processes, each with a ledger.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use quorus_client::LedgerEntry;
use tokio::process::Command;

use crate::process::{Process, Signal};

/// How long a worker may take to stop: it has nothing to do any more.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What a worker is: a program that takes the nodes' addresses from `QUORUS_ENDPOINTS`, its name from `QUORUS_WORKER_NAME`, and `--ledger FILE`.
#[derive(Clone, Debug)]
pub struct WorkerProgram {
    /// The program.
    pub program: PathBuf,
    /// What it is told beside the ledger.
    pub arguments: Vec<String>,
}

/// Workers of one queue.
#[derive(Debug)]
pub struct Workers {
    folder: PathBuf,
    program: WorkerProgram,
    /// Addresses of the nodes as each worker sees them.
    endpoints: BTreeMap<u64, Vec<String>>,
    alive: BTreeMap<u64, Process>,
}

impl WorkerProgram {
    /// Executes commands, `concurrency` at a time.
    pub fn exec(program: &Path, concurrency: usize) -> Self {
        let arguments = ["worker", "exec", "--queue", "default", "--concurrency", &concurrency.to_string()].map(str::to_owned).to_vec();
        Self { program: program.to_owned(), arguments }
    }
}

impl Workers {
    /// Starts `count` workers that execute commands, `concurrency` at a time each.
    pub fn start(program: &Path, folder: &Path, endpoints: &[String], count: usize, concurrency: usize) -> anyhow::Result<Self> {
        let endpoints = (1..=count as u64).map(|number| (number, endpoints.to_vec())).collect();
        Self::start_each(WorkerProgram::exec(program, concurrency), folder, endpoints)
    }

    /// Starts a worker for each list of addresses.
    pub fn start_each(program: WorkerProgram, folder: &Path, endpoints: BTreeMap<u64, Vec<String>>) -> anyhow::Result<Self> {
        let mut workers = Self { folder: folder.to_owned(), program, endpoints, alive: BTreeMap::new() };
        workers.numbers().into_iter().try_for_each(|number| workers.start_worker(number).map(|_| ()))?;
        Ok(workers)
    }

    /// Starts a worker, for the first time or again; it goes on with its ledger.
    pub fn start_worker(&mut self, number: u64) -> anyhow::Result<u32> {
        let endpoints = self.endpoints.get(&number).with_context(|| format!("there is no worker {number}"))?;
        if self.alive.contains_key(&number) {
            bail!("worker {number} lives already");
        }
        let mut command = Command::new(&self.program.program);
        command.env("QUORUS_WORKER_NAME", format!("worker-{number}"));
        command.env("QUORUS_ENDPOINTS", endpoints.join(",")).args(&self.program.arguments).arg("--ledger").arg(self.ledger_of(number));
        let process = Process::start(&format!("worker {number}"), command, &self.log_of(number))?;
        let pid = process.pid();
        self.alive.insert(number, process);
        Ok(pid)
    }

    /// Kills a worker with signal 9.
    pub async fn kill(&mut self, number: u64) -> anyhow::Result<()> {
        self.alive.remove(&number).with_context(|| format!("worker {number} is not alive"))?.kill().await
    }

    /// Sends a worker a signal.
    pub fn signal(&self, number: u64, signal: Signal) -> anyhow::Result<()> {
        self.alive.get(&number).with_context(|| format!("worker {number} is not alive"))?.signal(signal)
    }

    /// Every worker's number, living or not.
    pub fn numbers(&self) -> Vec<u64> {
        self.endpoints.keys().copied().collect()
    }

    /// Process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.alive.values().map(Process::pid).collect()
    }

    /// The process id of a worker that lives.
    pub fn pid_of(&self, number: u64) -> Option<u32> {
        self.alive.get(&number).map(Process::pid)
    }

    /// The ledger of a worker.
    pub fn ledger_of(&self, number: u64) -> PathBuf {
        self.folder.join(format!("ledger-{number}.jsonl"))
    }

    /// The log of a worker.
    pub fn log_of(&self, number: u64) -> PathBuf {
        self.folder.join(format!("worker-{number}.log"))
    }

    /// Fails if a worker has ended.
    pub fn must_live(&mut self) -> anyhow::Result<()> {
        self.alive.values_mut().try_for_each(Process::must_live)
    }

    /// Takes workers that have ended by themselves off the list; which, and how.
    pub fn bury(&mut self) -> BTreeMap<u64, String> {
        let dead: BTreeMap<u64, String> = self.alive.iter_mut().filter_map(|(number, process)| Some((*number, process.ended()?))).collect();
        self.alive.retain(|number, _| !dead.contains_key(number));
        dead
    }

    /// Everything that the workers wrote down.
    pub fn entries(&self) -> anyhow::Result<Vec<LedgerEntry>> {
        let mut entries = Vec::new();
        for ledger in self.numbers().into_iter().map(|number| self.ledger_of(number)) {
            let text = fs::read_to_string(&ledger).with_context(|| format!("reading {}", ledger.display()))?;
            for line in text.lines() {
                entries.push(serde_json::from_str(line).with_context(|| format!("{}: {line}", ledger.display()))?);
            }
        }
        Ok(entries)
    }

    /// Stops all.
    pub async fn stop(&mut self) {
        let stops = std::mem::take(&mut self.alive).into_values().map(|process| tokio::spawn(process.stop(STOP_PATIENCE)));
        for stop in stops.collect::<Vec<_>>() {
            // A worker that does not stop in order is killed; its ledger is complete all the same.
            let _ = stop.await;
        }
    }
}
