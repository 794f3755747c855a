//! Damage in the files of a stopped node: a flipped bit, a block of zeros, a cut-off end.
//!
//! A node must refuse to start on what it can't trust, or repair it, and never serve something else than was written. Only a minority is ever damaged: no
//! system can repair what a majority forgot. Each damaged folder keeps a note of it, `damaged.jsonl`, by which the next call counts.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{chance::Chance, stopped::must_be_stopped};

/// The note in a damaged folder.
const NOTE: &str = "damaged.jsonl";
/// Bytes that are zeroed together.
const BLOCK: u64 = 512;

/// A kind of file in a node's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Tables: what was flushed from memory
    Sst,
    /// Write-ahead logs
    Wal,
    /// Which tables and logs there are
    Manifest,
    /// Which manifest is the one
    Current,
    /// How far the write-ahead log was synced
    Mark,
}

impl FileKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Sst, Self::Wal, Self::Manifest, Self::Current, Self::Mark];

    fn has(self, name: &str) -> bool {
        match self {
            Self::Sst => name.ends_with(".sst"),
            Self::Wal => name.ends_with(".log"),
            Self::Manifest => name.starts_with("MANIFEST-"),
            Self::Current => name == "CURRENT",
            Self::Mark => name == "SYNCED",
        }
    }
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// One bit is flipped
    Bit,
    /// A block of 512 bytes is zeroed
    Zero,
    /// The end is cut off
    Cut,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// Where.
    pub file: PathBuf,
    /// The file's kind.
    pub kind: FileKind,
    /// What.
    pub damage: Damage,
    /// From this byte on.
    pub offset: u64,
    /// The file's size before.
    pub size: u64,
}

/// Damages one file of a kind, chosen by the seed, in a stopped node's data folder. `others` are the data folders of the cluster's other nodes.
pub fn damage(data_dir: &Path, others: &[PathBuf], kind: FileKind, damage: Damage, seed: u64) -> anyhow::Result<Damaged> {
    must_be_stopped(data_dir)?;
    let hurt = others.iter().filter(|other| other.join(NOTE).exists()).count();
    let nodes = others.len() + 1;
    if hurt + 1 > (nodes - 1) / 2 {
        bail!("{hurt} of the other {} data folders are damaged already; one more would not be a minority of {nodes} nodes", others.len());
    }
    let mut chance = Chance::new(seed);
    let files = files_of(data_dir, kind)?;
    if files.is_empty() {
        bail!("{} has no file of the kind {kind:?} with something in it", data_dir.display());
    }
    let file = files[chance.index(files.len())].clone();
    let opened = fs::File::options().read(true).write(true).open(&file).with_context(|| format!("opening {}", file.display()))?;
    let size = opened.metadata()?.len();
    let mut offset = chance.below(size);
    match damage {
        Damage::Bit => {
            let mut byte = [0];
            opened.read_exact_at(&mut byte, offset)?;
            opened.write_all_at(&[byte[0] ^ (1 << chance.below(8))], offset)?;
        }
        Damage::Zero => {
            offset -= offset % BLOCK;
            let length = usize::try_from(BLOCK.min(size - offset))?;
            opened.write_all_at(&vec![0; length], offset)?;
        }
        Damage::Cut => opened.set_len(offset)?,
    }
    opened.sync_all()?;
    let damaged = Damaged { file, kind, damage, offset, size };
    let mut note = fs::File::options().create(true).append(true).open(data_dir.join(NOTE))?;
    writeln!(note, "{}", serde_json::to_string(&damaged)?)?;
    Ok(damaged)
}

/// Forgets that a folder is damaged: the damaged file was replaced.
pub fn forgive(data_dir: &Path) -> anyhow::Result<()> {
    let note = data_dir.join(NOTE);
    fs::remove_file(&note).with_context(|| format!("removing {}", note.display()))
}

/// Files of a kind that are not empty, in the order of their names.
fn files_of(data_dir: &Path, kind: FileKind) -> anyhow::Result<Vec<PathBuf>> {
    let folder = data_dir.join("db");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{} has no database", data_dir.display()))? {
        let entry = entry?;
        if entry.metadata()?.len() > 0 && kind.has(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(name: &str, content: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("db")).unwrap();
        fs::write(folder.path().join("db").join(name), content).unwrap();
        folder
    }

    #[test]
    fn one_bit_of_the_chosen_kind_is_flipped_and_the_seed_says_which() {
        let content = vec![7; 2000];
        let flip = |seed| {
            let node = folder_with("000007.sst", &content);
            let others = [PathBuf::from("/nowhere-a"), PathBuf::from("/nowhere-b")];
            let damaged = damage(node.path(), &others, FileKind::Sst, Damage::Bit, seed).unwrap();
            let after = fs::read(&damaged.file).unwrap();
            let changed: Vec<usize> = (0..2000).filter(|at| after[*at] != content[*at]).collect();
            assert_eq!(changed, [usize::try_from(damaged.offset).unwrap()]);
            assert_eq!((after[changed[0]] ^ 7).count_ones(), 1);
            (damaged.offset, after[changed[0]])
        };
        assert_eq!(flip(3), flip(3));
        assert_ne!(flip(3), flip(4));
    }

    #[test]
    fn never_more_than_a_minority_is_damaged() {
        let nodes = [(); 3].map(|()| folder_with("MANIFEST-000004", b"manifest"));
        let [first, second, third] = nodes.each_ref().map(|node| node.path().to_owned());
        damage(&first, &[second.clone(), third.clone()], FileKind::Manifest, Damage::Cut, 1).unwrap();
        let refused = damage(&second, &[first, third], FileKind::Manifest, Damage::Cut, 1).unwrap_err();
        assert!(refused.to_string().contains("minority"), "{refused}");
    }

    #[test]
    fn a_node_alone_or_without_such_a_file_is_not_damaged() {
        let node = folder_with("000007.sst", b"table");
        damage(node.path(), &[], FileKind::Sst, Damage::Zero, 1).unwrap_err();
        let others = [PathBuf::from("/nowhere-a"), PathBuf::from("/nowhere-b")];
        let refused = damage(node.path(), &others, FileKind::Wal, Damage::Zero, 1).unwrap_err();
        assert!(refused.to_string().contains("no file of the kind"), "{refused}");
        assert_eq!(fs::read(node.path().join("db/000007.sst")).unwrap(), b"table");
    }
}
