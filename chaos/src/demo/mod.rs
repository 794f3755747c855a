//! `make demo`: three nodes, two workers, one `kill -9`, and the proof that nothing was lost, orphaned or done twice.
//!
//! The last line of its output is the verdict; the exit code is 0 only if the verdict is clean. What it started, it stops and deletes, also
//! when somebody presses Ctrl-C.

mod show;
mod story;

use std::{fs, path::Path, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::{audit::Audit, cluster::Cluster, probe::Report, workers::Workers};

/// Upper bound of the whole story; it takes about twenty seconds.
const PATIENCE: Duration = Duration::from_secs(110);
/// How much of each log is shown when something went wrong.
const LOG_TAIL_LINES: usize = 25;
/// What a shell reports for an interrupted program.
const INTERRUPTED: u8 = 130;

/// What the demo can be told.
#[derive(Clone, Debug, Parser)]
#[command(name = "quorus-demo", about = "Kills the leader of a running workflow's shard and proves that nothing happened to the work")]
pub struct Options {
    /// Small runs besides the big one.
    #[arg(long, default_value_t = 20)]
    pub small_runs: u32,
    /// Keep the folder with data, logs and ledgers.
    #[arg(long)]
    pub keep: bool,
    /// Flags for each node, as `quorusd serve` takes them.
    #[arg(last = true)]
    pub flags: Vec<String>,
}

/// What has to be taken down at the end.
#[derive(Debug, Default)]
struct Stage {
    cluster: Option<Cluster>,
    workers: Option<Workers>,
}

/// What came out.
#[derive(Debug)]
struct Outcome {
    audit: Audit,
    probe: Report,
}

/// Tells the story.
pub fn main(options: &Options) -> ExitCode {
    // One thread: the kernel ties a child's life to the thread that started it, and this one lives as long as the process.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.context("starting the runtime").and_then(|runtime| runtime.block_on(tell(options))) {
        Ok(code) => code,
        Err(error) => {
            show::problem(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn tell(options: &Options) -> anyhow::Result<ExitCode> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let folder = tempfile::Builder::new().prefix("quorus-demo-").tempdir().context("making a folder")?;
    let mut stage = Stage::default();
    let result = tokio::select! {
        result = tokio::time::timeout(PATIENCE, story::tell(&mut stage, folder.path(), options)) => {
            Some(result.unwrap_or_else(|_| Err(anyhow::anyhow!("not at its end after {} s", PATIENCE.as_secs()))))
        }
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    if let Some(Err(_)) = &result {
        // Before the nodes are told to stop: what they say about that hides what happened.
        show_logs(folder.path());
    }
    stage.clear().await;
    let code = match result {
        None => {
            show::problem("interrupted");
            ExitCode::from(INTERRUPTED)
        }
        Some(Ok(outcome)) => {
            let clean = show::verdict(&outcome);
            if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Some(Err(error)) => {
            show::problem(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    };
    if options.keep {
        show::note(&format!("kept {}", folder.keep().display()));
    }
    Ok(code)
}

impl Stage {
    async fn clear(&mut self) {
        if let Some(mut workers) = self.workers.take() {
            workers.stop().await;
        }
        if let Some(mut cluster) = self.cluster.take() {
            cluster.stop().await;
        }
    }
}

/// The ends of all logs: the folder is about to go.
fn show_logs(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else { return };
    let mut logs: Vec<_> =
        files.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    logs.sort();
    for log in logs {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default();
        show::log(&log, tail);
    }
}
