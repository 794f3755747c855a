//! A lossy disk that a process of its own serves under the data folder of a node.
//!
//! **Invariant:** the process ends with the one that started it, and its janitor unmounts then.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::control::{Order, order};
use crate::process::Process;

/// How long a disk may take to be mounted, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where the disk of a node takes orders.
pub fn socket_of(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("disk-{id}.sock"))
}

/// Where the disk of a node is mounted: the node's data folder.
pub fn place_of(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("node-{id}"))
}

/// Mounts a disk for a node of a folder, and waits until it takes orders.
pub async fn mount(folder: &Path, id: u64) -> anyhow::Result<Process> {
    let socket = socket_of(folder, id);
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.args(["disk", "mount", "--backing"]).arg(folder.join(format!("backing-{id}")));
    command.arg("--at").arg(place_of(folder, id)).arg("--control").arg(&socket);
    // Of an earlier life of the folder.
    let _ = fs::remove_file(&socket);
    let log = folder.join(format!("disk-{id}.log"));
    let mut process = Process::start(&format!("disk {id}"), command, &log)?;
    let deadline = Instant::now() + PATIENCE;
    while order(&socket, &Order::Show).is_err() {
        process.must_live().with_context(|| fs::read_to_string(&log).unwrap_or_default().trim().to_owned())?;
        if Instant::now() > deadline {
            bail!("disk {id} is not mounted after {} s; see {}", PATIENCE.as_secs(), log.display());
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(process)
}
