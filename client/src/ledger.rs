//! What a worker really did, written outside the system, so that the system's history can be checked against it.
//!
//! One JSON object per line. `begin` is on disk before the attempt can have any effect, `end` before its outcome is sent, each behind an
//! fsync. One thread writes for all attempts of the process: what arrives while an fsync is running shares the next one. Lines are appended
//! with a single write each batch under `O_APPEND`, so several processes may share a file.
//!
//! Invariant: [`Ledger::write`] returns `Ok` only after the line is durable.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use quorus_proto::v1::{Payload, Task};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

/// How many lines share an fsync at most; bounds the memory of a batch, not the throughput.
const BATCH_MAX: usize = 4096;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LedgerEvent {
    /// The attempt is about to start.
    Begin,
    /// The attempt did something that the outside world can see.
    Effect,
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
    /// The same in microseconds of the machine's monotonic clock, which no change of the wall clock moves: what is compared between processes.
    #[serde(default)]
    pub mono_us: u64,
    /// At the begin: [`content_digest`] of the input.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub input_sha256: String,
    /// At the end of an attempt that succeeded: [`content_digest`] of the output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output_sha256: String,
    /// At the end: `succeeded`, `failed`, `cancelled`, `released`, or `lost` when the lease was over before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub outcome: String,
}

impl LedgerEntry {
    /// A line about an attempt. What depends on the moment (times, digests, outcome) is left empty.
    pub fn about(task: &Task, event: LedgerEvent, worker: &str) -> Self {
        Self {
            event,
            namespace: task.namespace.clone(),
            run_id: task.run_id.clone(),
            run_uid: task.run_uid.clone(),
            step: task.step.clone(),
            attempt: task.attempt,
            token: task.token,
            worker: worker.to_owned(),
            time_ms: 0,
            mono_us: 0,
            input_sha256: String::new(),
            output_sha256: String::new(),
            outcome: String::new(),
        }
    }
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

/// Where entries go.
#[derive(Clone)]
enum Sink {
    File(Sender<Line>),
    Call(Arc<dyn Fn(LedgerEntry) + Send + Sync>),
}

/// A handle on the ledger's writer; clones share it.
#[derive(Clone)]
pub struct Ledger {
    sink: Sink,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

/// SHA-256 in hex of what a payload says: JSON without regard to the order of names and to white space, anything else by its bytes. Empty if there is none.
pub fn content_digest(payload: Option<&Payload>) -> String {
    let Some(payload) = payload else { return String::new() };
    let canonical = serde_json::from_slice::<serde_json::Value>(&payload.data).map(|mut value| {
        value.sort_all_objects();
        value.to_string().into_bytes()
    });
    let digest = Sha256::digest(canonical.as_deref().unwrap_or(&payload.data));
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Microseconds of the machine's monotonic clock, the same for all its processes.
#[cfg(unix)]
#[expect(unsafe_code, reason = "the standard library's clock has no number that processes can compare")]
pub fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value that lives through the call, which only writes it.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
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
        Ok(Self { sink: Sink::File(lines) })
    }

    /// Gives each entry to a function instead of a file. For simulations, which own time: the function stamps it.
    pub fn call(sink: impl Fn(LedgerEntry) + Send + Sync + 'static) -> Self {
        Self { sink: Sink::Call(Arc::new(sink)) }
    }

    /// Appends a line, stamped with the monotonic clock; returns when it is durable.
    pub async fn write(&self, mut entry: LedgerEntry) -> Result<(), LedgerError> {
        let lines = match &self.sink {
            Sink::File(lines) => lines,
            Sink::Call(call) => {
                call(entry);
                return Ok(());
            }
        };
        entry.mono_us = monotonic_us();
        let entry = &entry;
        let mut text = serde_json::to_vec(entry).map_err(|error| LedgerError::Write(Arc::new(error.into())))?;
        text.push(b'\n');
        let (done, receiver) = oneshot::channel();
        lines.send(Line { text, done }).map_err(|_| LedgerError::Closed)?;
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
            mono_us: 0,
            input_sha256: String::new(),
            output_sha256: String::new(),
            outcome: String::new(),
        }
    }

    #[tokio::test]
    async fn lines_have_the_documented_form_and_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        Ledger::open(&path).unwrap().write(entry(LedgerEvent::Begin, "a")).await.unwrap();
        let mut end = entry(LedgerEvent::End, "a");
        end.outcome = "succeeded".to_owned();
        Ledger::open(&path).unwrap().write(end).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<LedgerEntry> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(0 < lines[0].mono_us && lines[0].mono_us <= lines[1].mono_us, "stamped in order");
        let unstamped = lines.into_iter().map(|line| serde_json::to_string(&LedgerEntry { mono_us: 0, ..line }).unwrap() + "\n");
        assert_eq!(
            unstamped.collect::<String>(),
            concat!(
                r#"{"event":"begin","namespace":"default","run_id":"r1","run_uid":"u1","step":"a","attempt":1,"token":7,"worker":"w","time_ms":1,"mono_us":0}"#,
                "\n",
                r#"{"event":"end","namespace":"default","run_id":"r1","run_uid":"u1","step":"a","attempt":1,"token":7,"worker":"w","time_ms":1,"mono_us":0,"outcome":"succeeded"}"#,
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
            async move { ledger.write(entry(LedgerEvent::Begin, &format!("s{number}"))).await }
        });
        futures::future::try_join_all(writes).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut steps: Vec<_> = text.lines().map(|line| serde_json::from_str::<LedgerEntry>(line).unwrap().step).collect();
        steps.sort();
        steps.dedup();
        assert_eq!(steps.len(), 200);
    }

    #[test]
    fn a_digest_is_of_what_json_says() {
        let payload = |data: &'static str| Payload { data: data.into(), encoding: "json".to_owned() };
        let one = content_digest(Some(&payload(r#"{"a":1,"b":[2,{"c":3,"d":4}]}"#)));
        assert_eq!(one.len(), 64);
        assert_eq!(one, content_digest(Some(&payload(r#"{ "b": [2, {"d":4, "c":3}], "a": 1 }"#))));
        assert_ne!(one, content_digest(Some(&payload(r#"{"a":1,"b":[{"c":3,"d":4},2]}"#))));
        assert_ne!(content_digest(Some(&payload("no json"))), content_digest(None));
    }

    #[tokio::test]
    async fn a_function_can_take_the_entries() {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        Ledger::call(move |entry| kept.lock().unwrap().push(entry)).write(entry(LedgerEvent::Begin, "a")).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [entry(LedgerEvent::Begin, "a")]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(Ledger::open("/nonexistent/folder/ledger").unwrap_err().to_string().contains("/nonexistent/folder/ledger"));
    }
}
