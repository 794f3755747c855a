//! `quorusd dev`: a ready cluster of real processes on loopback.
//!
//! Each node is a child that runs `quorusd serve`, so that what people try here is what they will run, and a `kill -9` of one of them is a
//! real failure. This process only starts, watches, and stops them: see [`cluster`].

mod card;
mod child;
mod cluster;
mod console;
mod layout;
mod ports;
pub mod probe;

use std::path::PathBuf;

use anyhow::Context as _;

/// What `quorusd dev` was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes.
    pub nodes: u16,
    /// Where their data and logs go; `None` for a folder that is deleted at the end.
    pub data: Option<PathBuf>,
    /// gRPC port of the first node.
    pub port: u16,
    /// HTTP port of the first node.
    pub http_port: u16,
    /// Start nodes again that died.
    pub restart: bool,
    /// Logs go to files only.
    pub quiet: bool,
    /// More flags for each node.
    pub flags: Vec<String>,
}

/// Runs a cluster until somebody stops it.
pub fn run(options: Options) -> anyhow::Result<()> {
    // One thread: the kernel ties a child's life to the thread that started it, and this one lives as long as the process.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(cluster::run(options))
}
