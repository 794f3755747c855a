//! The way to the process that owns a cluster: a unix socket in its folder, a JSON value per line, an answer per question in their order.
//!
//! ```text
//! {"do": "make", "kind": "pause", "target": "leader:3", "for_ms": 10000, "seed": 7}
//! {"ok": true, "value": {"fault": 12, "targets": ["node-2"], …}}
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    fault::{Made, Order, Report},
    record::Fault,
};

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Ask {
    /// Make a fault.
    Make(Order),
    /// Undo a fault.
    Heal {
        /// Which.
        fault: u64,
    },
    /// Undo all faults.
    HealAll,
    /// Answer when a fault is over.
    Wait {
        /// Which.
        fault: u64,
    },
    /// What is going on?
    Report,
    /// Write down a fault that somebody else makes.
    Note {
        /// The line. Its id is 0 for a new fault.
        line: Fault,
    },
    /// End everything.
    Down,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// True if it was done.
    pub ok: bool,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

impl Reply {
    /// The reply to a question with this result.
    pub fn of(result: anyhow::Result<Value>) -> Self {
        match result {
            Ok(value) => Self { ok: true, value, error: String::new() },
            Err(error) => Self { ok: false, value: Value::Null, error: format!("{error:#}") },
        }
    }
}

/// A connection to the process that owns a cluster.
#[derive(Debug)]
pub struct Remote {
    socket: PathBuf,
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

impl Remote {
    /// Connects to a socket.
    pub async fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).await.with_context(|| format!("reaching {}: is the stage up?", socket.display()))?;
        let (read, write) = stream.into_split();
        Ok(Self { socket: socket.to_owned(), lines: BufReader::new(read).lines(), write })
    }

    /// Makes a fault.
    pub async fn make(&mut self, order: &Order) -> anyhow::Result<Made> {
        self.ask(&Ask::Make(order.clone())).await
    }

    /// Undoes a fault.
    pub async fn heal(&mut self, fault: u64) -> anyhow::Result<Made> {
        self.ask(&Ask::Heal { fault }).await
    }

    /// Undoes all faults; says which there were.
    pub async fn heal_all(&mut self) -> anyhow::Result<Vec<Made>> {
        self.ask(&Ask::HealAll).await
    }

    /// Waits until a fault is over.
    pub async fn wait(&mut self, fault: u64) -> anyhow::Result<()> {
        self.ask::<Value>(&Ask::Wait { fault }).await.map(|_| ())
    }

    /// What is going on.
    pub async fn report(&mut self) -> anyhow::Result<Report> {
        self.ask(&Ask::Report).await
    }

    /// Writes down a fault that somebody else makes; returns its id, for the line about its end.
    pub async fn note(&mut self, line: Fault) -> anyhow::Result<u64> {
        self.ask(&Ask::Note { line }).await
    }

    /// Ends everything.
    pub async fn down(&mut self) -> anyhow::Result<()> {
        self.ask::<Value>(&Ask::Down).await.map(|_| ())
    }

    async fn ask<T: DeserializeOwned>(&mut self, ask: &Ask) -> anyhow::Result<T> {
        let lost = || format!("{}: the stage is gone", self.socket.display());
        self.write.write_all((serde_json::to_string(ask)? + "\n").as_bytes()).await.with_context(lost)?;
        let line = self.lines.next_line().await.with_context(lost)?.with_context(lost)?;
        let reply: Reply = serde_json::from_str(&line).with_context(|| format!("not an answer: {line}"))?;
        if !reply.ok {
            bail!(anyhow!(reply.error));
        }
        Ok(serde_json::from_value(reply.value)?)
    }
}
