//! Changes of folders that no sync of the folder covered.
//!
//! A name is as lost as data: created, renamed and removed names are durable once their folder is synced, and not before. (Some file systems make the name
//! durable when the new file is synced; POSIX does not ask for it, and neither do we.) A sync of a folder takes along whatever was done before in folders
//! that share a rename with it, so that what is kept is always something that was once there.

use std::{collections::BTreeSet, ffi::OsString};

/// A name in a folder.
pub(super) type Place = (u64, OsString);

/// A change of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameChange {
    /// A new file or folder.
    Created { at: Place, node: u64 },
    /// A file or folder is gone; a file's content waits among the removed ones.
    Removed { at: Place, node: u64 },
    /// Another name, perhaps in place of another file.
    Renamed { from: Place, to: Place, node: u64, replaced: Option<u64> },
}

impl NameChange {
    fn folders(&self) -> [u64; 2] {
        match self {
            Self::Created { at, .. } | Self::Removed { at, .. } => [at.0, at.0],
            Self::Renamed { from, to, .. } => [from.0, to.0],
        }
    }

    /// The file that nobody can reach any more once the change is durable.
    pub(super) fn removed(&self) -> Option<u64> {
        match self {
            Self::Created { .. } => None,
            Self::Removed { node, .. } => Some(*node),
            Self::Renamed { replaced, .. } => *replaced,
        }
    }
}

/// The changes in the order in which they were made, each with the volume's clock.
#[derive(Debug, Default)]
pub(super) struct Names {
    changes: Vec<(u64, NameChange)>,
}

impl Names {
    pub(super) fn push(&mut self, at: u64, change: NameChange) {
        self.changes.push((at, change));
    }

    /// A sync of `folder` that began at `until` is done: what is durable now.
    pub(super) fn sync(&mut self, folder: u64, until: u64) -> Vec<NameChange> {
        let mut folders = BTreeSet::from([folder]);
        let mut durable = Vec::new();
        let mut pending = Vec::new();
        while let Some((at, change)) = self.changes.pop() {
            let [one, other] = change.folders();
            if at <= until && (folders.contains(&one) || folders.contains(&other)) {
                folders.extend([one, other]);
                durable.push(change);
            } else {
                pending.push((at, change));
            }
        }
        pending.reverse();
        self.changes = pending;
        durable.reverse();
        durable
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Takes all; the first `kept` are durable, the others are to be taken back from the last to the first.
    pub(super) fn lose(&mut self, kept: usize) -> (Vec<NameChange>, Vec<NameChange>) {
        let mut all: Vec<NameChange> = std::mem::take(&mut self.changes).into_iter().map(|(_, change)| change).collect();
        let lost = all.split_off(kept.min(all.len()));
        (all, lost)
    }
}
