//! What a worker really did, written outside the system, so that the system's history can be checked against it.
//!
//! One JSON object per line. `begin` is on disk before the attempt can have any effect, `end` before its outcome is sent, each behind an
//! fsync. One thread writes for all attempts of the process: what arrives while an fsync is running shares the next one. Lines are appended
//! with a single write each batch under `O_APPEND`, so several processes may share a file.
//!
//! Invariant: [`Ledger::write`] returns `Ok` only after the line is durable.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// How many lines share an fsync at most; bounds the memory of a batch, not the throughput.
const BATCH_MAX: usize = 4096;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LedgerEvent {
    /// The attempt is about to start.
    Begin,
    /// The attempt has ended.
    End,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// What it tells.
    pub event: LedgerEvent,
    /// The run.
    pub namespace: String,
    /// The run.
    pub run_id: String,
    /// The run, never reused.
    pub run_uid: String,
    /// The step.
    pub step: String,
    /// 1 for the first.
    pub attempt: u32,
    /// The fencing token of the lease.
    pub token: u64,
    /// The worker's name and incarnation.
    pub worker: String,
    /// When the line was made, in milliseconds since 1970 on the worker's clock.
    pub time_ms: u64,
    /// At the end: `succeeded`, `failed`, `cancelled`, `released`, or `lost` when the lease was over before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub outcome: String,
}

/// Why a line is not durable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file can't be opened.
    #[error("can't open the ledger `{}`: {source}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// Writing or syncing failed.
    #[error("can't write the ledger: {0}")]
    Write(Arc<io::Error>),
    /// The writing thread is gone.
    #[error("the ledger is closed")]
    Closed,
}

struct Line {
    text: Vec<u8>,
    done: oneshot::Sender<Result<(), LedgerError>>,
}

/// A handle on the file's writer; clones share it.
#[derive(Clone, Debug)]
pub struct Ledger {
    lines: Sender<Line>,
}

impl Ledger {
    /// Opens or creates the file, and makes its name durable.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        let failed = |source: io::Error| LedgerError::Open { path: path.to_owned(), source: Arc::new(source) };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        let (lines, receiver) = channel();
        thread::Builder::new().name("ledger".to_owned()).spawn(move || write_all(file, &receiver)).map_err(failed)?;
        Ok(Self { lines })
    }

    /// Appends a line; returns when it is durable.
    pub async fn write(&self, entry: &LedgerEntry) -> Result<(), LedgerError> {
        let mut text = serde_json::to_vec(entry).map_err(|error| LedgerError::Write(Arc::new(error.into())))?;
        text.push(b'\n');
        let (done, receiver) = oneshot::channel();
        self.lines.send(Line { text, done }).map_err(|_| LedgerError::Closed)?;
        receiver.await.unwrap_or(Err(LedgerError::Closed))
    }
}

/// Runs until every handle is dropped.
fn write_all(mut file: File, lines: &Receiver<Line>) {
    while let Ok(first) = lines.recv() {
        let batch: Vec<Line> = std::iter::once(first).chain(lines.try_iter().take(BATCH_MAX - 1)).collect();
        let text = batch.iter().map(|line| line.text.as_slice()).collect::<Vec<_>>().concat();
        let result = file.write_all(&text).and_then(|()| file.sync_data()).map_err(|error| LedgerError::Write(Arc::new(error)));
        for line in batch {
            // Whoever does not wait any more does not need the answer.
            let _ = line.done.send(result.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(event: LedgerEvent, step: &str) -> LedgerEntry {
        LedgerEntry {
            event,
            namespace: "default".to_owned(),
            run_id: "r1".to_owned(),
            run_uid: "u1".to_owned(),
            step: step.to_owned(),
            attempt: 1,
            token: 7,
            worker: "w".to_owned(),
            time_ms: 1,
            outcome: String::new(),
        }
    }

    #[tokio::test]
    async fn lines_have_the_documented_form_and_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        Ledger::open(&path).unwrap().write(&entry(LedgerEvent::Begin, "a")).await.unwrap();
        let mut end = entry(LedgerEvent::End, "a");
        end.outcome = "succeeded".to_owned();
        Ledger::open(&path).unwrap().write(&end).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"event":"begin","namespace":"default","run_id":"r1","run_uid":"u1","step":"a","attempt":1,"token":7,"worker":"w","time_ms":1}"#,
                "\n",
                r#"{"event":"end","namespace":"default","run_id":"r1","run_uid":"u1","step":"a","attempt":1,"token":7,"worker":"w","time_ms":1,"outcome":"succeeded"}"#,
                "\n"
            )
        );
    }

    #[tokio::test]
    async fn concurrent_writers_lose_and_mix_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let (one, two) = (Ledger::open(&path).unwrap(), Ledger::open(&path).unwrap());
        let writes = (0..200).map(|number| {
            let ledger = if number % 2 == 0 { one.clone() } else { two.clone() };
            async move { ledger.write(&entry(LedgerEvent::Begin, &format!("s{number}"))).await }
        });
        futures::future::try_join_all(writes).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut steps: Vec<_> = text.lines().map(|line| serde_json::from_str::<LedgerEntry>(line).unwrap().step).collect();
        steps.sort();
        steps.dedup();
        assert_eq!(steps.len(), 200);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(Ledger::open("/nonexistent/folder/ledger").unwrap_err().to_string().contains("/nonexistent/folder/ledger"));
    }
}
