//! How a file of a node is damaged, and mended.
//!
//! A node that can't trust a file must refuse to serve, or repair it. It stays down until the fault is over; then the file is put back, if it is still as
//! the damage left it: nothing was written on top of it, so nothing that was promised since is taken back. If the node has replaced the file by then, it
//! stays as it is, and counts as damaged from then on: no other node is damaged in the life of the stage.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::time::Instant;

use super::keeper::{Aim, State, Undo};
use crate::disk::flip::{self, Damage, FileKind};

/// How long after the end of such a fault a node may still stop itself because of it.
const AFTERMATH: Duration = Duration::from_secs(10);

/// What was damaged, and what is needed to mend it.
#[derive(Debug)]
pub(super) struct Flipped {
    node: u64,
    data: PathBuf,
    file: PathBuf,
    whole: Vec<u8>,
    damaged: Vec<u8>,
}

impl State {
    /// Kills a node, damages one of its files, and starts it again.
    pub(super) async fn flip(&mut self, aim: &Aim) -> anyhow::Result<(Undo, String)> {
        let &[node] = &aim.chosen[..] else { bail!("one node at a time: {} were chosen", aim.chosen.len()) };
        self.must_live(&[node])?;
        let (kind, damage) = (kind_of(aim.settled.text("file"))?, damage_of(aim.settled.text("damage"))?);
        let (own, others): (Vec<_>, Vec<_>) = self.plant.nodes()?.into_iter().partition(|card| card.id == node);
        let data = own.into_iter().next().context("the node is gone")?.data;
        let others: Vec<PathBuf> = others.into_iter().map(|card| card.data).collect();
        self.plant.kill(node).await?;
        let flipped = damage_one(node, &data, &others, kind, damage, aim.seed);
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
        if is_as(&flipped.file, &flipped.damaged) {
            if self.plant.pid_of(node)?.is_some() {
                self.plant.kill(node).await?;
            }
            // Looked at again, now that nobody writes.
            if is_as(&flipped.file, &flipped.damaged) {
                let file = &flipped.file;
                fs::write(file, &flipped.whole).with_context(|| format!("putting {} back", file.display()))?;
                fs::File::open(file).and_then(|file| file.sync_all()).with_context(|| format!("putting {} back", file.display()))?;
                flip::forgive(&flipped.data)?;
                seen.push("the file is whole again".to_owned());
            }
        } else {
            seen.push("it has replaced the file".to_owned());
        }
        if !self.is_kept_down(node) {
            self.plant.start(node).await?;
        }
        self.excuse(node, Instant::now() + AFTERMATH);
        Ok(seen.join(", "))
    }
}

fn damage_one(node: u64, data: &Path, others: &[PathBuf], kind: FileKind, damage: Damage, seed: u64) -> anyhow::Result<(Flipped, String)> {
    // The damage is drawn from the seed over the files that are there: they are read before, to know what the chosen one was.
    let before = files_below(&data.join("db"))?;
    let done = flip::damage(data, others, kind, damage, seed)?;
    let whole = before.into_iter().find(|(path, _)| *path == done.file).context("the damaged file was not there before")?.1;
    let damaged = fs::read(&done.file).with_context(|| format!("reading {}", done.file.display()))?;
    let note = format!("{} at {} of {}", done.file.file_name().unwrap_or_default().to_string_lossy(), done.offset, done.size);
    Ok((Flipped { node, data: data.to_owned(), file: done.file, whole, damaged }, note))
}

/// All files of a folder with what is in them.
fn files_below(folder: &Path) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_file() {
            let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            files.push((path, content));
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

    #[test]
    fn what_was_damaged_is_remembered_as_it_was_and_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("node-1");
        fs::create_dir_all(data.join("db")).unwrap();
        fs::write(data.join("db/000004.sst"), b"a table that was written once").unwrap();
        let others = [folder.path().join("node-2"), folder.path().join("node-3")];
        let (flipped, note) = damage_one(1, &data, &others, kind_of("sst").unwrap(), damage_of("bit").unwrap(), 7).unwrap();
        assert_eq!(flipped.whole, b"a table that was written once");
        assert_ne!(flipped.damaged, flipped.whole);
        assert!(is_as(&flipped.file, &flipped.damaged) && note.starts_with("000004.sst at "), "{note}");
        // A second one on another node would not be a minority any more.
        fs::create_dir_all(folder.path().join("node-2/db")).unwrap();
        fs::write(folder.path().join("node-2/db/000004.sst"), b"table").unwrap();
        let others = [data.clone(), folder.path().join("node-3")];
        let refused = damage_one(2, &folder.path().join("node-2"), &others, FileKind::Sst, Damage::Bit, 7).unwrap_err();
        assert!(refused.to_string().contains("minority"), "{refused}");
        assert!(kind_of("letter").is_err() && damage_of("kiss").is_err());
    }
}
