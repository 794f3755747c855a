//! The results folder: one file per witness, JSON or JSON lines, so that people, scripts and later checkers can read it.
//!
//! | file | what |
//! |---|---|
//! | `setup.json` | [`Setup`] |
//! | `shapes.json` | [`Shape`]s |
//! | `history.jsonl` | [`Operation`]s |
//! | `ledger.jsonl` | [`LedgerEntry`]s |
//! | `nemesis.jsonl` | [`Fault`]s |
//! | `audit/node-N-shard-M.binpb` | [`Replica`]s: the messages of the audit export as they came, each with its length in front |
//! | `harness.jsonl` | what went wrong with the runner itself, a JSON string a line |

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use prost::Message as _;
use quorus_client::LedgerEntry;
use quorus_proto::v1::ExportReplicaResponse;
use serde::{Serialize, de::DeserializeOwned};

use super::{Evidence, Fault, Operation, Replica, Shape, evidence::Setup};

/// Where the replicas are.
const AUDIT: &str = "audit";

/// A folder with what an experiment left.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if it is not there.
    pub fn create(path: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path })
    }

    /// A folder that is there.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it.
    pub fn write(&self, evidence: &Evidence) -> anyhow::Result<()> {
        self.write_json("setup.json", &evidence.setup)?;
        self.write_json("shapes.json", &evidence.shapes.values().collect::<Vec<_>>())?;
        self.write_lines("history.jsonl", &evidence.operations)?;
        self.write_lines("ledger.jsonl", &evidence.ledger)?;
        self.write_lines("nemesis.jsonl", &evidence.faults)?;
        for replica in &evidence.replicas {
            // What came over the wire says more than what was read from it, so it stays as it is.
            if !self.replica_file(replica.node, replica.shard).exists() {
                self.write_parts(replica.node, replica.shard, &replica.to_parts().collect::<Vec<_>>())?;
            }
        }
        self.write_lines("harness.jsonl", &evidence.harness_errors)
    }

    /// Reads all of it back. A file that is not there counts as empty, except for the setup.
    pub fn read(&self) -> anyhow::Result<Evidence> {
        let setup: Setup = self.read_json("setup.json")?.with_context(|| format!("{} has no setup.json", self.path.display()))?;
        let shapes: Vec<Shape> = self.read_json("shapes.json")?.unwrap_or_default();
        let operations: Vec<Operation> = self.read_lines("history.jsonl")?;
        let ledger: Vec<LedgerEntry> = self.read_lines("ledger.jsonl")?;
        let faults: Vec<Fault> = self.read_lines("nemesis.jsonl")?;
        let replicas = self.read_replicas()?;
        let harness_errors = self.read_lines("harness.jsonl")?;
        let shapes = shapes.into_iter().map(|shape| (shape.workflow.clone(), shape)).collect();
        Ok(Evidence { setup, shapes, operations, ledger, faults, replicas, harness_errors })
    }

    /// The file of a replica.
    pub fn replica_file(&self, node: u64, shard: u32) -> PathBuf {
        self.file(AUDIT).join(format!("node-{node}-shard-{shard}.binpb"))
    }

    /// Writes an export of a replica.
    pub fn write_parts(&self, node: u64, shard: u32, parts: &[ExportReplicaResponse]) -> anyhow::Result<()> {
        let path = self.replica_file(node, shard);
        let write = || -> anyhow::Result<()> {
            fs::create_dir_all(self.file(AUDIT))?;
            let mut file = std::io::BufWriter::new(fs::File::create(&path)?);
            for part in parts {
                file.write_all(&part.encode_length_delimited_to_vec())?;
            }
            Ok(file.flush()?)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    /// All replicas, by shard and node.
    fn read_replicas(&self) -> anyhow::Result<Vec<Replica>> {
        let folder = self.file(AUDIT);
        let mut replicas = Vec::new();
        if !folder.exists() {
            return Ok(replicas);
        }
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "binpb") {
                replicas.push(read_replica(&path).with_context(|| format!("reading {}", path.display()))?);
            }
        }
        replicas.sort_by_key(|replica| (replica.shard, replica.node));
        Ok(replicas)
    }

    /// Writes a value as indented JSON.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        let path = self.file(name);
        fs::write(&path, serde_json::to_vec_pretty(value)?).with_context(|| format!("writing {}", path.display()))
    }

    /// Writes a value per line.
    pub fn write_lines<T: Serialize>(&self, name: &str, values: &[T]) -> anyhow::Result<()> {
        let path = self.file(name);
        let mut file = std::io::BufWriter::new(fs::File::create(&path).with_context(|| format!("creating {}", path.display()))?);
        for value in values {
            serde_json::to_writer(&mut file, value)?;
            file.write_all(b"\n")?;
        }
        file.flush().with_context(|| format!("writing {}", path.display()))
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.file(name);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        serde_json::from_str(&text).with_context(|| format!("reading {}", path.display())).map(Some)
    }

    fn read_lines<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Vec<T>> {
        let path = self.file(name);
        let text = read_if_there(&path)?.unwrap_or_default();
        let line = |(number, line): (usize, &str)| serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), number + 1));
        text.lines().enumerate().map(line).collect()
    }
}

fn read_replica(path: &Path) -> anyhow::Result<Replica> {
    let mut bytes = bytes::Bytes::from(fs::read(path)?);
    let parts = std::iter::from_fn(|| (!bytes.is_empty()).then(|| Ok(ExportReplicaResponse::decode_length_delimited(&mut bytes)?)));
    // An error does not end the bytes, so it has to end the reading.
    Replica::from_parts(parts)
}

fn read_if_there(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::HistoryEvent;

    use super::*;
    use crate::record::{Answer, Call, Ending, FaultPhase, RecordedRun};

    #[test]
    fn what_was_written_is_read_back() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::create(temporary.path().join("results")).unwrap();
        assert!(folder.read().unwrap_err().to_string().contains("setup.json"));
        let operation = Operation {
            id: 1,
            client: "client-1".to_owned(),
            call: Call::Get { run_id: "r".to_owned(), stale: false },
            invoked_us: 5,
            ended_us: Some(9),
            ending: Some(Ending::Ok(Answer { status: "RUN_STATUS_RUNNING".to_owned(), ..Answer::default() })),
        };
        let fault = Fault {
            id: 1,
            kind: "kill".to_owned(),
            targets: vec!["node-1".to_owned()],
            phase: FaultPhase::Installed,
            at_us: 7,
            led_shards: vec![3],
            note: String::new(),
        };
        let run = RecordedRun {
            run_uid: "u".to_owned(),
            status: "RUN_STATUS_RUNNING".to_owned(),
            events: vec![HistoryEvent { sequence: 1, ..HistoryEvent::default() }],
            ..RecordedRun::default()
        };
        let shape = Shape { workflow: "w".to_owned(), ..Shape::default() };
        let evidence = Evidence {
            setup: Setup { title: "t".to_owned(), seed: 4, ..Setup::default() },
            shapes: [("w".to_owned(), shape)].into(),
            operations: vec![operation],
            faults: vec![fault],
            replicas: vec![
                Replica { node: 2, shard: 0, digest: "a".to_owned(), ..Replica::default() },
                Replica { node: 1, shard: 1, digest: "b".to_owned(), runs: vec![run], ..Replica::default() },
            ],
            harness_errors: vec!["a probe did not start".to_owned()],
            ..Evidence::default()
        };
        folder.write(&evidence).unwrap();
        let read = folder.read().unwrap();
        assert_eq!(format!("{read:?}"), format!("{evidence:?}"));
    }

    #[test]
    fn a_replica_that_was_cut_off_is_an_error() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::create(temporary.path()).unwrap();
        let replica = Replica { node: 1, shard: 2, digest: "abc".to_owned(), ..Replica::default() };
        let evidence = Evidence { replicas: vec![replica], ..Evidence::default() };
        folder.write(&evidence).unwrap();
        assert_eq!(folder.read().unwrap().replicas, evidence.replicas);
        let whole = fs::read(folder.replica_file(1, 2)).unwrap();
        for length in 0..whole.len() {
            fs::write(folder.replica_file(1, 2), &whole[..length]).unwrap();
            assert!(format!("{:#}", folder.read().unwrap_err()).contains("node-1-shard-2.binpb"));
        }
    }

    #[test]
    fn a_line_that_is_not_json_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::create(temporary.path()).unwrap();
        folder.write_json("setup.json", &Setup::default()).unwrap();
        fs::write(folder.file("nemesis.jsonl"), "nonsense\n").unwrap();
        assert!(format!("{:#}", folder.read().unwrap_err()).contains("nemesis.jsonl:1"));
    }
}
