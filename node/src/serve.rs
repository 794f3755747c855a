//! `quorusd serve`: one node in this process, from its configuration to its last breath.

use anyhow::Context as _;
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{config::Config, node, observe::logging, version::Version};

/// Exit code after a second signal: what a shell reports for an interrupted program.
const INTERRUPTED: i32 = 130;

/// Runs a node until it is told to stop, or can't go on; then the process ends.
pub(crate) fn run(config: Config) -> ! {
    logging::init(&config.log);
    match live(config) {
        Ok(()) => {
            tracing::info!("stopped");
            leave(0)
        }
        Err(error) => {
            tracing::error!("{error:#}");
            leave(1)
        }
    }
}

fn live(config: Config) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().thread_name("quorusd").build().context("starting the runtime")?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(stop_on_signal(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, shutdown.clone()));
        tracing::info!(
            node = config.node.id,
            version = %Version::current(),
            listen = %config.listen,
            http = %config.http_listen,
            data = %config.node.data_dir.display(),
            "starts"
        );
        node::run(config, shutdown).await.context("the node stopped")
    })
}

/// Ends the process without the destructors of C++ statics: RocksDB's background threads may still use what those destroy, which would turn an
/// orderly stop into an abort. Nothing is lost: the log is synced before it is acknowledged, and standard error is not buffered.
#[expect(unsafe_code, reason = "the standard library can only exit with those destructors")]
fn leave(code: i32) -> ! {
    // SAFETY: _exit ends the process; no Rust code runs after it.
    unsafe { libc::_exit(code) }
}

/// The first signal asks the node to stop in order; the second one does not ask.
async fn stop_on_signal(mut terminate: Signal, mut interrupt: Signal, shutdown: CancellationToken) {
    for count in 1.. {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        if count == 1 {
            tracing::info!(signal = name, "stops: a second signal stops at once");
            shutdown.cancel();
        } else {
            tracing::warn!(signal = name, "stops at once");
            leave(INTERRUPTED);
        }
    }
}
