//! What the results folder says about its making, beside the evidence itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::game_day::GameDay;
use crate::{
    fault::overload,
    record::{Operation, evidence::Setup, folder::Folder},
};

/// How long a lease lives if nobody says otherwise.
const LEASE_MS: u64 = 30_000;
/// The bound between two clocks if nobody says otherwise.
const CLOCK_BOUND_MS: u64 = 500;
/// How much of a folder of a failure is kept.
const DATA_MAX: u64 = 512 * 1024 * 1024;

/// With what, where and how: `about.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The experiment's name.
    pub experiment: String,
    /// Seed of all that was drawn.
    pub seed: u64,
    /// Commit of the working copy, if there is one.
    pub git_sha: String,
    /// SHA-256 of the programs by name.
    pub programs: BTreeMap<String, String>,
    /// The machine's processors.
    pub processors: usize,
    /// The machine's kernel.
    pub kernel: String,
    /// The extension `quorus` as it was used.
    pub game_day: GameDay,
    /// The command line that does it again.
    pub again: String,
    /// When it began, in wall time.
    pub begun: String,
    /// Seconds it took.
    pub seconds: f64,
    /// What people saw.
    pub lines: Vec<String>,
}

/// The commit of the working copy, or nothing.
pub fn git_sha() -> String {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output();
    output
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// The hashes of this program and of those beside it that are under test.
pub fn programs(this: &Path) -> BTreeMap<String, String> {
    let beside = |name: &str| this.parent().map(|folder| folder.join(name)).unwrap_or_default();
    let paths: [PathBuf; 3] = [this.to_owned(), beside("quorusd"), beside("quorus")];
    let hash = |path: PathBuf| Some((path.file_name()?.to_string_lossy().into_owned(), sha256(&path).ok()?));
    paths.into_iter().filter_map(hash).collect()
}

fn sha256(path: &Path) -> anyhow::Result<String> {
    let (mut file, mut hash, mut buffer) = (fs::File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&buffer[..length]);
    }
}

/// Completes `setup.json`: the workload knows its part of it, the day the rest.
pub fn complete_setup(folder: &Folder, title: &str, about: &About, healed_us: u64, exported_us: u64) -> anyhow::Result<()> {
    let path = folder.file("setup.json");
    let mut setup: Setup = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Setup::default(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    title.clone_into(&mut setup.title);
    setup.seed = about.seed;
    setup.commit.clone_from(&about.git_sha);
    let or = |value: u64, default: u64| if value == 0 { default } else { value };
    setup.lease_ms = or(setup.lease_ms, LEASE_MS);
    setup.clock_bound_ms = or(setup.clock_bound_ms, CLOCK_BOUND_MS);
    setup.healed_us = healed_us;
    setup.exported_us = exported_us;
    if setup.wall_at_zero_ms == 0 {
        let since_zero = i64::try_from(quorus_client::monotonic_us() / 1_000).unwrap_or(0);
        setup.wall_at_zero_ms = chrono::Utc::now().timestamp_millis() - since_zero;
    }
    for (name, least) in &about.game_day.expects {
        setup.expects.entry(name.clone()).or_insert(*least);
    }
    folder.write_json("setup.json", &setup)
}

/// Gathers what others wrote in the cluster's folder: lines about faults, ledgers of workers, logs of nodes.
pub fn gather(cluster: &Path, folder: &Folder) -> anyhow::Result<()> {
    let mut ledgers = Vec::new();
    for path in files_below(cluster, 3) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name == "nemesis.jsonl" {
            append(&path, &folder.file("nemesis.jsonl"))?;
        } else if name == overload::RECORD {
            append_operations(&path, &folder.file("history.jsonl"))?;
        } else if name.contains("ledger") && name.ends_with(".jsonl") {
            ledgers.push(path);
        } else if let Some(node) = node_of_log(&path) {
            let target = folder.file("nodes").join(node);
            fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
            append(&path, &target.join("log"))?;
        }
    }
    for path in ledgers {
        append(&path, &folder.file("ledger.jsonl"))?;
    }
    sort_lines(&folder.file("ledger.jsonl"), "mono_us")?;
    sort_lines(&folder.file("nemesis.jsonl"), "at_us")
}

/// Appends what other clients asked for, once; their operations get numbers behind those that are there.
fn append_operations(from: &Path, to: &Path) -> anyhow::Result<()> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let operations = |text: &str| text.lines().map(serde_json::from_str::<Operation>).collect::<Result<Vec<_>, _>>();
    let mut text = if to.exists() { read(to)? } else { String::new() };
    let known = operations(&text)?;
    let last = known.iter().map(|operation| operation.id).max().unwrap_or(0);
    let known: BTreeSet<(&str, u64)> = known.iter().map(|operation| (operation.client.as_str(), operation.invoked_us)).collect();
    let new = operations(&read(from)?)?.into_iter().filter(|operation| !known.contains(&(operation.client.as_str(), operation.invoked_us)));
    for (id, operation) in (last + 1..).zip(new) {
        text.push_str(&serde_json::to_string(&Operation { id, ..operation })?);
        text.push('\n');
    }
    fs::write(to, text).with_context(|| format!("writing {}", to.display()))
}

/// Keeps the whole folder of a cluster that broke a promise, if it is not too large.
pub fn keep_data(cluster: &Path, folder: &Folder) -> anyhow::Result<bool> {
    // What is behind a disk that can be broken shows in the node's folder, too.
    let is_behind = |path: &PathBuf| path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("backing-"));
    let files: Vec<PathBuf> = files_below(cluster, 8).into_iter().filter(|path| !is_behind(path)).collect();
    let size: u64 = files.iter().filter_map(|path| fs::metadata(path).ok()).map(|data| data.len()).sum();
    if size > DATA_MAX {
        return Ok(false);
    }
    for path in files {
        let target = folder.file("data").join(path.strip_prefix(cluster)?);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        // Nodes go on: a file may be gone by now. The rest is worth keeping all the same.
        let _ = fs::copy(&path, &target);
    }
    Ok(true)
}

/// `node-3.log`, `node-3/log`, `3.log` are logs of node 3.
fn node_of_log(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    let stem = match name.strip_suffix(".log") {
        Some(stem) => stem.to_owned(),
        None if name == "log" => path.parent()?.file_name()?.to_string_lossy().into_owned(),
        None => return None,
    };
    let number = stem.strip_prefix("node-").unwrap_or(&stem);
    // `000012.log` is a part of a node's database.
    number.parse::<u64>().ok().map(|number| number.to_string()).filter(|plain| plain == number)
}

/// Regular files, not deeper than so many folders, in the order of their names.
fn files_below(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        match fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() && depth > 0 => files.extend(files_below(&path, depth - 1)),
            Ok(data) if data.is_file() => files.push(path),
            _ => {}
        }
    }
    files
}

fn append(from: &Path, to: &Path) -> anyhow::Result<()> {
    let text = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(to).with_context(|| format!("opening {}", to.display()))?;
    std::io::Write::write_all(&mut file, &text).with_context(|| format!("writing {}", to.display()))
}

/// Sorts JSON lines by a number in them, and takes out what stands there twice. A torn last line stays where it is read and complained about.
fn sort_lines(path: &Path, by: &str) -> anyhow::Result<()> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(()) };
    let key = |line: &str| serde_json::from_str::<Value>(line).ok().and_then(|value| value[by].as_u64()).unwrap_or(u64::MAX);
    let mut lines: Vec<(u64, &str)> = text.lines().filter(|line| !line.trim().is_empty()).map(|line| (key(line), line)).collect();
    lines.sort();
    lines.dedup();
    let sorted: String = lines.iter().flat_map(|(_, line)| [*line, "\n"]).collect();
    fs::write(path, sorted).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Call;

    #[test]
    fn what_others_left_is_gathered_sorted_and_once() {
        let temporary = tempfile::tempdir().unwrap();
        let (cluster, results) = (temporary.path().join("c"), Folder::create(temporary.path().join("r")).unwrap());
        fs::create_dir_all(cluster.join("node-2")).unwrap();
        fs::write(cluster.join("nemesis.jsonl"), "{\"at_us\":1}\n").unwrap();
        fs::write(cluster.join("node-1.log"), "one\n").unwrap();
        fs::write(cluster.join("node-2/log"), "two\n").unwrap();
        fs::write(cluster.join("worker-1.log"), "no\n").unwrap();
        fs::write(cluster.join("node-2/000011.log"), "a part of its database\n").unwrap();
        fs::create_dir_all(cluster.join("backing-2")).unwrap();
        fs::write(cluster.join("backing-2/data"), "once is enough").unwrap();
        fs::write(cluster.join("ledger-1.jsonl"), "{\"mono_us\":5}\n{\"mono_us\":9}\n").unwrap();
        fs::write(cluster.join("ledger-2.jsonl"), "{\"mono_us\":7}\n").unwrap();
        fs::write(results.file("ledger.jsonl"), "{\"mono_us\":9}\n").unwrap();
        let asked = |id: u64, client: &str| {
            let call = Call::Get { run_id: "r".to_owned(), stale: false };
            serde_json::to_string(&Operation { id, client: client.to_owned(), call, invoked_us: 3, ended_us: None, ending: None }).unwrap()
                + "\n"
        };
        fs::write(results.file("history.jsonl"), asked(7, "client-1")).unwrap();
        fs::write(cluster.join(overload::RECORD), asked(1, "overload-1") + &asked(2, "overload-2")).unwrap();
        gather(&cluster, &results).unwrap();
        append_operations(&cluster.join(overload::RECORD), &results.file("history.jsonl")).unwrap();
        let read = |name: &str| fs::read_to_string(results.file(name)).unwrap();
        assert_eq!(read("history.jsonl"), asked(7, "client-1") + &asked(8, "overload-1") + &asked(9, "overload-2"));
        assert_eq!(read("ledger.jsonl"), "{\"mono_us\":5}\n{\"mono_us\":7}\n{\"mono_us\":9}\n");
        assert_eq!((read("nodes/1/log"), read("nodes/2/log")), ("one\n".into(), "two\n".into()));
        assert!(!results.file("nodes/11").exists());
        assert_eq!(read("nemesis.jsonl"), "{\"at_us\":1}\n");
        assert!(keep_data(&cluster, &results).unwrap());
        assert_eq!(read("data/node-2/log"), "two\n");
        assert!(!results.file("data/backing-2").exists());
    }

    #[test]
    fn the_setup_keeps_what_the_workload_wrote_and_gets_the_rest() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::create(temporary.path()).unwrap();
        folder.write_json("setup.json", &Setup { lease_ms: 5_000, wall_at_zero_ms: 7, ..Setup::default() }).unwrap();
        let mut about = About { seed: 9, git_sha: "abc".into(), ..About::default() };
        about.game_day.expects.insert("kill".into(), 2);
        complete_setup(&folder, "t", &about, 100, 200).unwrap();
        let setup = folder.read().unwrap().setup;
        assert_eq!((setup.lease_ms, setup.clock_bound_ms, setup.wall_at_zero_ms), (5_000, 500, 7));
        assert_eq!((setup.seed, setup.healed_us, setup.exported_us, setup.expects["kill"]), (9, 100, 200, 2));
    }
}
