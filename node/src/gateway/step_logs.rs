//! Lines that steps wrote, kept in files by the node that holds the worker's stream: they are for people, and no part of a run's state.
//!
//! `<data folder>/logs/<run uid>/<hash of the step>-<attempt>`: a line of JSON with step and attempt, then one for each line. One thread writes. What
//! comes faster than it can write is dropped, so that nobody waits for it.
//!
//! Bounds: [`ATTEMPT_BYTES_MAX`] of an attempt, then nothing more; [`BYTES_MAX`] in all, then the runs go first whose last line is oldest.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::SystemTime,
};

use quorus_engine::{RunUid, StepId};
use quorus_proto::v1;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What is kept of an attempt.
const ATTEMPT_BYTES_MAX: u64 = 256 * 1024;
/// What is kept in all.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How often the sum is looked at: at the beginning, and after so many writes.
const TRIM_EVERY: u32 = 500;
/// Writes that may wait.
const WAITING_MAX: usize = 1024;

/// The lines. Cheap to clone.
#[derive(Clone)]
pub struct StepLogs {
    kept: Option<Kept>,
}

#[derive(Clone)]
struct Kept {
    folder: PathBuf,
    writes: SyncSender<Append>,
}

struct Append {
    uid: RunUid,
    step: StepId,
    attempt: u32,
    lines: Vec<v1::LogLine>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    step: String,
    attempt: u32,
}

#[derive(Serialize, Deserialize)]
struct Line {
    t: i64,
    s: String,
    l: String,
}

impl StepLogs {
    /// Keeps lines below a data folder.
    ///
    /// # Errors
    /// If the folder can't be made, or the thread not be started.
    pub fn open(data: &Path) -> io::Result<Self> {
        let folder = data.join("logs");
        fs::create_dir_all(&folder)?;
        let (writes, waiting) = sync_channel(WAITING_MAX);
        let into = folder.clone();
        std::thread::Builder::new().name("step-logs".to_owned()).spawn(move || write_all(&into, &waiting))?;
        Ok(Self { kept: Some(Kept { folder, writes }) })
    }

    /// Keeps nothing: for a node without a folder.
    pub fn none() -> Self {
        Self { kept: None }
    }

    /// Keeps lines of an attempt, if there is room.
    pub fn append(&self, uid: RunUid, step: StepId, attempt: u32, lines: Vec<v1::LogLine>) {
        let Some(kept) = &self.kept else { return };
        if kept.writes.try_send(Append { uid, step, attempt, lines }).is_err() {
            tracing::debug!(%uid, "lines of a step came too fast, and were dropped");
        }
    }

    /// Lines of a run, or of one of its steps, as this node has them; at most `bytes_max`. True if there are more. Reads files.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn read(&self, uid: RunUid, step: &str, node: u64, bytes_max: usize) -> io::Result<(Vec<v1::StepLogLine>, bool)> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        let Some(kept) = &self.kept else { return Ok((lines, false)) };
        let files = match fs::read_dir(kept.folder.join(uid.to_string())) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((lines, false)),
            Err(error) => return Err(error),
        };
        for file in files {
            let mut texts = BufReader::new(File::open(file?.path())?).lines();
            let Some(header) = texts.next().transpose()?.and_then(|text| serde_json::from_str::<Header>(&text).ok()) else { continue };
            if !step.is_empty() && header.step != step {
                continue;
            }
            for (position, text) in (0..).zip(texts) {
                // A line that a crash cut.
                let Ok(Line { t, s, l }) = serde_json::from_str(&text?) else { continue };
                bytes += l.len();
                if bytes > bytes_max {
                    return Ok((lines, true));
                }
                let (step, attempt) = (header.step.clone(), header.attempt);
                lines.push(v1::StepLogLine { step, attempt, time_ms: t, stream: s, text: l, node, position });
            }
        }
        Ok((lines, false))
    }
}

fn write_all(folder: &Path, waiting: &Receiver<Append>) {
    let mut writes = 0;
    while let Ok(write) = waiting.recv() {
        if writes % TRIM_EVERY == 0
            && let Err(error) = trim(folder, BYTES_MAX)
        {
            tracing::warn!(%error, "old lines of steps can't be removed");
        }
        writes = writes.wrapping_add(1);
        if let Err(error) = append(folder, &write) {
            tracing::warn!(%error, run = %write.uid, step = %write.step, "lines of a step can't be kept");
        }
    }
}

fn append(folder: &Path, write: &Append) -> io::Result<()> {
    let run = folder.join(write.uid.to_string());
    fs::create_dir_all(&run)?;
    let hash: String = Sha256::digest(write.step.as_str()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new().create(true).append(true).open(run.join(format!("{hash}-{}", write.attempt)))?;
    let size = file.metadata()?.len();
    let mut text = Vec::new();
    let mut put = |value: serde_json::Result<String>| {
        text.extend_from_slice(value.unwrap_or_default().as_bytes());
        text.push(b'\n');
        size + text.len() as u64
    };
    let mut now = size;
    if size == 0 {
        now = put(serde_json::to_string(&Header { step: write.step.to_string(), attempt: write.attempt }));
    }
    for line in &write.lines {
        if now >= ATTEMPT_BYTES_MAX {
            break;
        }
        now = put(serde_json::to_string(&Line { t: line.time_ms, s: line.stream.clone(), l: line.text.clone() }));
    }
    file.write_all(&text)
}

/// Removes the runs whose last line is oldest until the rest fits.
fn trim(folder: &Path, bytes_max: u64) -> io::Result<()> {
    let mut runs = Vec::new();
    for run in fs::read_dir(folder)? {
        let path = run?.path();
        let (mut bytes, mut newest) = (0, SystemTime::UNIX_EPOCH);
        for file in fs::read_dir(&path)? {
            let metadata = file?.metadata()?;
            bytes += metadata.len();
            newest = newest.max(metadata.modified()?);
        }
        runs.push((newest, bytes, path));
    }
    runs.sort();
    let mut total: u64 = runs.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in runs {
        if total <= bytes_max {
            break;
        }
        fs::remove_dir_all(path)?;
        total -= bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(uid: u128, step: &str, texts: &[&str]) -> Append {
        let line = |text: &&str| v1::LogLine { time_ms: 7, stream: "stdout".into(), text: (*text).to_owned() };
        Append { uid: RunUid(uid), step: step.into(), attempt: 1, lines: texts.iter().map(line).collect() }
    }

    fn texts(logs: &StepLogs, uid: u128, step: &str) -> Vec<String> {
        logs.read(RunUid(uid), step, 1, usize::MAX).unwrap().0.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_kept_by_run_and_step_and_found_again_by_another_process() {
        let data = tempfile::tempdir().unwrap();
        let logs = StepLogs::open(data.path()).unwrap();
        let folder = data.path().join("logs");
        append(&folder, &write(1, "a[3].b", &["one", "two"])).unwrap();
        append(&folder, &write(1, "a[3].b", &["three"])).unwrap();
        append(&folder, &write(1, "../c", &["other"])).unwrap();
        append(&folder, &write(2, "a[3].b", &["another run"])).unwrap();
        assert_eq!(texts(&logs, 1, "a[3].b"), ["one", "two", "three"]);
        assert_eq!(texts(&logs, 1, "").len(), 4);
        assert!(texts(&logs, 9, "").is_empty());
        assert!(logs.read(RunUid(1), "", 1, 5).unwrap().1, "more than fits is said");
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "no step's name leaves the folder");
    }

    #[test]
    fn an_attempt_and_all_together_are_bounded() {
        let data = tempfile::tempdir().unwrap();
        let long = "x".repeat(4000);
        for _ in 0..100 {
            append(data.path(), &write(1, "s", &[long.as_str()])).unwrap();
        }
        let size = |uid: u128| -> u64 {
            let files = fs::read_dir(data.path().join(RunUid(uid).to_string()));
            files.map_or(0, |files| files.map(|file| file.unwrap().metadata().unwrap().len()).sum())
        };
        assert!(size(1) >= ATTEMPT_BYTES_MAX && size(1) < ATTEMPT_BYTES_MAX + 5000);
        append(data.path(), &write(2, "s", &["new"])).unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        for file in fs::read_dir(data.path().join(RunUid(2).to_string())).unwrap() {
            File::options().append(true).open(file.unwrap().path()).unwrap().set_modified(later).unwrap();
        }
        trim(data.path(), 1000).unwrap();
        assert_eq!((size(1), size(2) > 0), (0, true));
    }
}
