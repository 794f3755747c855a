//! `quorus worker`: executes tasks.

use std::{path::PathBuf, time::Duration};

use clap::Subcommand;
use quorus_client::{
    Ledger, Secrets, Worker, WorkerBuilder, WorkerError,
    executors::{self, Exec, exec::CAPTURE_BYTES_DEFAULT},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{
    args::{Globals, duration, host_name, key_value},
    failure::{Failure, INTERRUPTED},
    term,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run commands: executes tasks of type `exec`
    Exec {
        #[command(flatten)]
        common: Common,
        /// How much of stdout and of stderr is kept, in bytes
        #[arg(long, default_value_t = CAPTURE_BYTES_DEFAULT, value_name = "BYTES")]
        capture_bytes: usize,
    },
    /// Stand in for the programs of an imported workflow: executes tasks of type `replay` by waiting
    Replay {
        #[command(flatten)]
        common: Common,
        /// Factor from recorded to waited time
        #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
        time_scale: f64,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Queues to take tasks from, separated by commas [default: default; for replay: replay]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    queue: Vec<String>,
    /// How many tasks to execute at a time
    #[arg(long, short, default_value_t = 1, value_name = "NUMBER")]
    concurrency: usize,
    /// Name for people, which must be unique in the cluster [default: host, process id and a random part]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Write the begin and end of every attempt there, durably
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Folder with a file for each secret that tasks may refer to; `QUORUS_SECRET_<NAME>` in the environment comes first
    #[arg(long, env = "QUORUS_SECRETS_DIR", value_name = "DIR", hide_env_values = true)]
    secrets_dir: Option<PathBuf>,
    /// Label of the worker, as key=value; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
    label: Vec<(String, String)>,
    /// How long running tasks may take to end when the worker is stopped
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    shutdown_grace: Duration,
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    start_log();
    let builder = match command {
        Command::Exec { common, capture_bytes } => {
            let settings = Exec { capture_bytes };
            builder(common, globals, "default")?.register(executors::exec::TASK_TYPE, move |context| executors::exec(context, settings))
        }
        Command::Replay { common, time_scale } => {
            if !time_scale.is_finite() || time_scale < 0.0 {
                return Err(Failure::usage(format!("--time-scale is {time_scale}, expected 0 or more")));
            }
            builder(common, globals, executors::replay::TASK_TYPE)?
                .register(executors::replay::TASK_TYPE, move |context| executors::replay(context, time_scale))
        }
    };
    let worker = builder.build()?;
    let (stop, forced) = stop_signals()?;
    tokio::select! {
        result = worker.run(stop.cancelled_owned()) => Ok(result?),
        // Dropping the worker kills what it runs.
        () = forced.cancelled_owned() => Err(Failure::new(INTERRUPTED, "stopped without waiting for running tasks")),
    }
}

fn builder(common: Common, globals: &Globals, default_queue: &str) -> Result<WorkerBuilder, Failure> {
    let name = common.name.unwrap_or_else(|| format!("{}-{}-{:04x}", host_name(), std::process::id(), rand::random::<u16>()));
    let mut builder =
        Worker::builder(globals.endpoints.iter().cloned()).name(name).concurrency(common.concurrency).shutdown_grace(common.shutdown_grace);
    let queues = if common.queue.is_empty() { vec![default_queue.to_owned()] } else { common.queue };
    for queue in queues {
        builder = builder.queue(queue);
    }
    for (key, value) in common.label {
        builder = builder.label(key, value);
    }
    builder = builder.secrets(Secrets::with_folder(common.secrets_dir));
    if let Some(path) = common.ledger {
        builder = builder.ledger(Ledger::open(path).map_err(|error| Failure::error(error.to_string()))?);
    }
    Ok(builder)
}

/// The first SIGTERM or Ctrl-C asks to stop, the second one does not wait.
fn stop_signals() -> Result<(CancellationToken, CancellationToken), Failure> {
    let (stop, forced) = (CancellationToken::new(), CancellationToken::new());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let tokens = [stop.clone(), forced.clone()];
    tokio::spawn(async move {
        for token in tokens {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
    });
    Ok((stop, forced))
}

/// For people on a terminal, as JSON elsewhere. `QUORUS_LOG` says how much.
fn start_log() {
    let filter = EnvFilter::try_from_env("QUORUS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let terminal = term::stderr_is_terminal();
    if terminal { builder.with_target(false).init() } else { builder.json().flatten_event(true).init() }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Invalid(message) => Self::usage(message),
            WorkerError::Endpoint(error) => error.into(),
            WorkerError::Refused(error) => Self::new(error.exit_code(), format!("the node refused the worker: {error}")),
        }
    }
}
