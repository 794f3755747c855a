//! How a file of a node is damaged, and mended.
//!
//! A node that can't trust a file must refuse to serve, or repair it. It stays down until the fault is over.
//!
//! **Invariant:** nothing that the node promised since is taken back. If it did not even open its database, all of it is put back as it was before. If it
//! did, only the damaged file is, and only if it is still as the damage left it. Else the node stays as it is, and counts as damaged from then on: no
//! other node is damaged in the life of the stage.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::keeper::{AFTERMATH, Aim, State, Undo};
use crate::{
    disk::flip::{self, Damage, FileKind},
    stage::card::NodeCard,
};

/// What was damaged, and what is needed to mend it.
#[derive(Debug)]
pub(super) struct Flipped {
    node: u64,
    data: PathBuf,
    log: PathBuf,
    /// How long its log was when it was damaged.
    logged: u64,
    file: PathBuf,
    damaged: Vec<u8>,
    /// All files of its database before, with what was in them.
    before: BTreeMap<PathBuf, Vec<u8>>,
}

/// How a node's log begins a life, and how one says that it did not open its database.
const STARTS: &str = "\"message\":\"starts\"";
const REFUSES: &str = "can't open the data folder";

impl State {
    /// Kills a node, damages one of its files, and starts it again.
    pub(super) async fn flip(&mut self, aim: &Aim) -> anyhow::Result<(Undo, String)> {
        let &[node] = &aim.chosen[..] else { bail!("one node at a time: {} were chosen", aim.chosen.len()) };
        self.must_live(&[node])?;
        let (kind, damage) = (kind_of(aim.settled.text("file"))?, damage_of(aim.settled.text("damage"))?);
        let (own, others): (Vec<_>, Vec<_>) = self.plant.nodes()?.into_iter().partition(|card| card.id == node);
        let own = own.into_iter().next().context("the node is gone")?;
        let others: Vec<PathBuf> = others.into_iter().map(|card| card.data).collect();
        self.plant.kill(node).await?;
        let flipped = damage_one(&own, &others, kind, damage, aim.seed);
        // Whether it was damaged or not: it starts.
        self.plant.start(node).await?;
        let (flipped, note) = flipped?;
        Ok((Undo::Unflip(Box::new(flipped)), note))
    }

    /// Puts the file back, if it is still as the damage left it; says what was seen.
    pub(super) async fn unflip(&mut self, flipped: &Flipped) -> anyhow::Result<String> {
        let node = flipped.node;
        // First: a node that has refused is known then.
        self.look_after().await?;
        let mut seen = vec![match self.plant.pid_of(node)? {
            Some(_) => format!("node {node} lives"),
            None if self.is_kept_down(node) => format!("node {node} is kept down"),
            None => format!("node {node} refuses"),
        }];
        if flipped.was_only_refused()? {
            flipped.put_all_back()?;
            seen.push("it opened nothing, and has its files again".to_owned());
        } else if is_as(&flipped.file, &flipped.damaged) {
            if self.plant.pid_of(node)?.is_some() {
                self.plant.kill(node).await?;
            }
            // Looked at again, now that nobody writes.
            if is_as(&flipped.file, &flipped.damaged) {
                flipped.put_file_back()?;
                seen.push("the file is whole again".to_owned());
            }
        } else {
            seen.push("it has replaced the file".to_owned());
        }
        if !self.is_kept_down(node) {
            self.plant.start(node).await?;
        }
        self.excuse(node, AFTERMATH);
        Ok(seen.join(", "))
    }
}

impl Flipped {
    /// True if the node ended each time without having opened its database, so that it can't have promised anything.
    fn was_only_refused(&self) -> anyhow::Result<bool> {
        let log = fs::read(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        let since = String::from_utf8_lossy(log.get(usize::try_from(self.logged)?..).unwrap_or_default()).into_owned();
        let count = |words: &str| since.lines().filter(|line| line.contains(words)).count();
        Ok(count(STARTS) > 0 && count(STARTS) == count(REFUSES))
    }

    fn put_all_back(&self) -> anyhow::Result<()> {
        for path in files_of(&self.data.join("db"))?.into_keys().filter(|path| !self.before.contains_key(path)) {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        self.before.iter().try_for_each(|(path, content)| write_synced(path, content))?;
        flip::forgive(&self.data)
    }

    fn put_file_back(&self) -> anyhow::Result<()> {
        write_synced(&self.file, self.before.get(&self.file).context("the damaged file was not there before")?)?;
        flip::forgive(&self.data)
    }
}

fn write_synced(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).and_then(|()| fs::File::open(path)?.sync_all()).with_context(|| format!("putting {} back", path.display()))
}

fn damage_one(node: &NodeCard, others: &[PathBuf], kind: FileKind, damage: Damage, seed: u64) -> anyhow::Result<(Flipped, String)> {
    let before = files_of(&node.data.join("db"))?;
    let done = flip::damage(&node.data, others, kind, damage, seed)?;
    let damaged = fs::read(&done.file).with_context(|| format!("reading {}", done.file.display()))?;
    let note = format!("{} at {} of {}", done.file.file_name().unwrap_or_default().to_string_lossy(), done.offset, done.size);
    let logged = fs::metadata(&node.log).map_or(0, |data| data.len());
    let flipped = Flipped { node: node.id, data: node.data.clone(), log: node.log.clone(), logged, file: done.file, damaged, before };
    Ok((flipped, note))
}

/// All files of a folder with what is in them.
fn files_of(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_file() {
            let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            files.insert(path, content);
        }
    }
    Ok(files)
}

fn is_as(file: &Path, content: &[u8]) -> bool {
    fs::read(file).is_ok_and(|found| found == content)
}

fn kind_of(word: &str) -> anyhow::Result<FileKind> {
    <FileKind as clap::ValueEnum>::from_str(word, false).map_err(anyhow::Error::msg)
}

fn damage_of(word: &str) -> anyhow::Result<Damage> {
    <Damage as clap::ValueEnum>::from_str(word, false).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(folder: &Path, id: u64) -> NodeCard {
        let data = folder.join(format!("node-{id}"));
        fs::create_dir_all(data.join("db")).unwrap();
        fs::write(data.join("db/000004.sst"), b"a table that was written once").unwrap();
        let log = folder.join(format!("node-{id}.log"));
        fs::write(&log, "{\"message\":\"starts\"}\n").unwrap();
        NodeCard { id, pid: None, grpc: String::new(), http: String::new(), data, log }
    }

    fn damage_sst(node: &NodeCard, others: &[&NodeCard]) -> anyhow::Result<Flipped> {
        let others: Vec<PathBuf> = others.iter().map(|other| other.data.clone()).collect();
        damage_one(node, &others, kind_of("sst")?, damage_of("bit")?, 7).map(|(flipped, _)| flipped)
    }

    #[test]
    fn a_node_that_opened_nothing_has_all_of_its_files_again_and_one_that_did_only_what_nobody_touched() {
        let folder = tempfile::tempdir().unwrap();
        let nodes = [1, 2, 3].map(|id| node(folder.path(), id));
        let [one, two, three] = &nodes;
        let table = one.data.join("db/000004.sst");
        let flipped = damage_sst(one, &[two, three]).unwrap();
        // A second one would not be a minority any more.
        assert!(damage_sst(two, &[one, three]).unwrap_err().to_string().contains("minority"));
        let say = |line: &str| {
            let mut log = fs::File::options().append(true).open(&one.log).unwrap();
            std::io::Write::write_all(&mut log, line.as_bytes()).unwrap();
        };
        assert!(!flipped.was_only_refused().unwrap(), "it has not started yet");
        say("{\"message\":\"starts\"}\n{\"message\":\"the node stopped: can't open the data folder d: damaged\"}\n");
        assert!(flipped.was_only_refused().unwrap());
        fs::write(&table, b"what it left of it").unwrap();
        fs::write(one.data.join("db/000009.log"), b"a new log").unwrap();
        flipped.put_all_back().unwrap();
        assert_eq!(fs::read(&table).unwrap(), b"a table that was written once");
        assert_eq!(files_of(&one.data.join("db")).unwrap(), flipped.before);

        let flipped = damage_sst(one, &[two, three]).unwrap();
        say("{\"message\":\"starts\"}\n{\"message\":\"leads the shard\"}\n");
        assert!(!flipped.was_only_refused().unwrap() && is_as(&flipped.file, &flipped.damaged));
        flipped.put_file_back().unwrap();
        assert_eq!(fs::read(&table).unwrap(), b"a table that was written once");
        damage_sst(two, &[one, three]).unwrap();
        assert!(kind_of("letter").is_err() && damage_of("kiss").is_err());
    }
}
