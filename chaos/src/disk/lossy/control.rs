//! Orders to a mounted disk: one JSON object per line over a Unix socket, one line as the answer to each.
//!
//! A loss of power that names a process kills it in the same moment: first every request of the disk fails, then the process dies, then what was not synced is
//! taken back, then the disk has power again and the process can be started. Without a process, the disk stays without power until [`Order::PowerOn`].

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::{faults::Faults, keep::Keep};

/// How long an order may take. Taking back is a matter of milliseconds; a slow machine gets patience.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a disk can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// Say how it is.
    Show,
    /// Lose power.
    PowerLoss {
        /// What is kept of what was not synced.
        keep: Keep,
        /// Whether changes may be kept in part.
        torn: bool,
        /// Of all choices.
        seed: u64,
        /// A process that dies with the power.
        kill: Option<u32>,
    },
    /// Have power again.
    PowerOn,
    /// Have these faults, and no others.
    Faults(Faults),
    /// Unmount and end.
    Quit,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Why the order could not be followed; empty if it was.
    pub error: String,
    /// Files that a loss of power changed.
    pub files_lost: u64,
    /// Changes of files that it took, in whole or in part.
    pub changes_lost: u64,
    /// Changes of names that it took.
    pub names_lost: u64,
    /// Bytes of all files.
    pub used: u64,
    /// Faults in force.
    pub faults: Faults,
}

/// Gives an order to the disk that listens at a socket. Blocks; call it from a blocking thread.
pub fn order(socket: &Path, order: &Order) -> anyhow::Result<Answer> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("no disk listens at {}; is it mounted?", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{}\n", serde_json::to_string(order)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("the disk did not answer")?;
    let answer: Answer = serde_json::from_str(&line).with_context(|| format!("the disk answered `{}`", line.trim()))?;
    if !answer.error.is_empty() {
        bail!("the disk could not do it: {}", answer.error);
    }
    Ok(answer)
}
