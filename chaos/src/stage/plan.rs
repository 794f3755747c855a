//! What a stage is to be.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::network::Network;
use crate::{process::Programs, workers::WorkerProgram};

/// What differs from a cluster for work: people try approvals with names that nobody vouches for, and steps call stubs on the same machine.
const FLAG_DEFAULTS: [[&str; 2]; 2] = [["--unverified-approvals", "allow"], ["--http-allow-private", "127.0.0.0/8,::1/128"]];

/// What nodes keep their data on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum DiskKind {
    /// The machine's own disk
    #[default]
    Plain,
    /// A disk each that can lose power, be full, be slow, and fail (FUSE; Linux, needs root)
    Lossy,
}

impl DiskKind {
    /// As the command line calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Lossy => "lossy",
        }
    }
}

/// What a stage is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where data, logs, ledgers and the socket go.
    pub folder: PathBuf,
    /// How many nodes.
    pub nodes: u64,
    /// How many workers.
    pub workers: u64,
    /// How many tasks each worker takes at a time.
    pub concurrency: usize,
    /// Another worker than `quorus worker exec`: program and arguments.
    pub worker_command: Vec<String>,
    /// Flags for each node, as `quorusd serve` takes them.
    pub flags: Vec<String>,
    /// What nodes keep their data on.
    pub disks: DiskKind,
    /// Where `quorusd` and `quorus` are; beside this program if not said.
    pub programs: Option<PathBuf>,
    /// Between whom and what packets go.
    pub network: Network,
    /// Draws what the proxies draw.
    pub seed: u64,
}

impl Plan {
    /// The programs, under names of the stage's own.
    pub(super) fn borrow_programs(&self) -> anyhow::Result<Programs> {
        match &self.programs {
            Some(built) => Programs::borrow_from(built, &self.folder),
            None => Programs::borrow_into(&self.folder),
        }
    }

    pub(super) fn worker_program(&self, quorus: &Path) -> anyhow::Result<WorkerProgram> {
        let Some((program, arguments)) = self.worker_command.split_first() else {
            return Ok(WorkerProgram::exec(quorus, self.concurrency));
        };
        // "quorus-chaos" means this very program, wherever it is.
        let program =
            if program == "quorus-chaos" { std::env::current_exe().context("finding this program")? } else { PathBuf::from(program) };
        Ok(WorkerProgram { program, arguments: arguments.to_vec() })
    }

    /// The flags with defaults; those that were given win.
    pub(super) fn all_flags(&self) -> Vec<String> {
        let is_given =
            |name: &str| self.flags.iter().any(|flag| flag == name || flag.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
        let defaults = FLAG_DEFAULTS.into_iter().filter(|[name, _]| !is_given(name)).flatten().map(str::to_owned);
        defaults.chain(self.flags.iter().cloned()).collect()
    }
}
