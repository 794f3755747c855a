//! What was written to one file and not synced: enough to take each change back, and to make part of it again.
//!
//! The backing file always holds what a process sees. A loss of power takes everything that is not durable back, from the last change to the first, and then
//! makes those again that are kept. Files that only grow cost the copy of what is written; overwriting costs reading the old bytes, too.
//!
//! **Invariant:** taking all changes back gives the file as it was at the last sync.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::keep::Keep;
use crate::disk::chance::Chance;

/// What a disk writes as a whole.
const SECTOR: u64 = 512;
/// More changes than these without a sync: the oldest are taken as written back, as a kernel does after a while. Bounds the memory of a file that nobody
/// ever syncs.
const CHANGES_MAX: usize = 4096;

/// A change of a file.
#[derive(Debug)]
struct Change {
    /// The volume's clock when it was made.
    at: u64,
    size_before: u64,
    /// A sync covered it; it is only still here because one before it was not covered.
    durable: bool,
    /// A sync that should have covered it failed: it never becomes durable, whatever later syncs say.
    doomed: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// `old` is what was there, and may be shorter than `new`.
    Write { offset: u64, old: Vec<u8>, new: Vec<u8> },
    /// `tail` is what was cut off.
    Resize { to: u64, tail: Vec<u8> },
}

/// The changes of a file since its last sync.
#[derive(Debug, Default)]
pub(super) struct Journal {
    changes: Vec<Change>,
}

impl Journal {
    /// Writes. `size` is the file's size; the new one is returned.
    pub(super) fn write(&mut self, at: u64, file: &File, size: u64, offset: u64, data: &[u8]) -> io::Result<u64> {
        let end = offset + data.len() as u64;
        let old = read_range(file, offset.min(size), end.min(size))?;
        file.write_all_at(data, offset)?;
        self.push(Change { at, size_before: size, durable: false, doomed: false, kind: Kind::Write { offset, old, new: data.to_vec() } });
        Ok(size.max(end))
    }

    /// Cuts or lengthens.
    pub(super) fn resize(&mut self, at: u64, file: &File, size: u64, to: u64) -> io::Result<()> {
        let tail = read_range(file, to.min(size), size)?;
        file.set_len(to)?;
        self.push(Change { at, size_before: size, durable: false, doomed: false, kind: Kind::Resize { to, tail } });
        Ok(())
    }

    fn push(&mut self, change: Change) {
        self.changes.push(change);
        if self.changes.len() > CHANGES_MAX && self.changes.first().is_some_and(|oldest| !oldest.doomed) {
            self.changes.drain(..self.changes.iter().take(CHANGES_MAX / 2).take_while(|change| !change.doomed).count());
        }
    }

    /// A sync that began at `until` is done.
    pub(super) fn sync(&mut self, until: u64) {
        for change in self.changes.iter_mut().filter(|change| change.at <= until && !change.doomed) {
            change.durable = true;
        }
        let durable = self.changes.iter().take_while(|change| change.durable).count();
        self.changes.drain(..durable);
    }

    /// A sync has failed. As in Linux, the pages count as clean from now on, and what was in them is lost when power is.
    pub(super) fn doom(&mut self) {
        for change in self.changes.iter_mut().filter(|change| !change.durable) {
            change.doomed = true;
        }
    }

    /// True if there is nothing to lose.
    pub(super) fn is_clean(&self) -> bool {
        self.changes.is_empty()
    }

    /// The power is gone: the file becomes what would be found. Tells how many changes were lost or torn.
    pub(super) fn lose(&mut self, file: &File, keep: Keep, torn: bool, chance: &mut Chance) -> io::Result<u64> {
        let changes = std::mem::take(&mut self.changes);
        for change in changes.iter().rev() {
            match &change.kind {
                Kind::Write { offset, old, .. } => {
                    file.write_all_at(old, (*offset).min(change.size_before))?;
                    file.set_len(change.size_before)?;
                }
                Kind::Resize { to, tail } => {
                    file.set_len(change.size_before)?;
                    file.write_all_at(tail, (*to).min(change.size_before))?;
                }
            }
        }
        let mut lost = 0;
        let pending = changes.iter().filter(|change| !change.durable).count();
        let mut choice = keep.choose(pending, chance);
        for change in &changes {
            if change.durable || (choice.next(chance) && !change.doomed) {
                change.make(file, None)?;
                continue;
            }
            lost += 1;
            // What the disk was writing when the power went.
            if torn && !change.doomed && choice.tears(chance) {
                change.make(file, Some(chance))?;
            }
        }
        Ok(lost)
    }
}

impl Change {
    /// Makes the change again, or the first sectors of it.
    fn make(&self, file: &File, part: Option<&mut Chance>) -> io::Result<()> {
        match (&self.kind, part) {
            (Kind::Write { offset, new, .. }, None) => file.write_all_at(new, *offset),
            (Kind::Write { offset, new, .. }, Some(chance)) => {
                let (first, last) = (offset / SECTOR, (offset + new.len() as u64).div_ceil(SECTOR));
                let end = (first + chance.below(last - first + 1)) * SECTOR;
                let kept = usize::try_from(end.saturating_sub(*offset)).unwrap_or(usize::MAX).min(new.len());
                if kept == 0 { Ok(()) } else { file.write_all_at(&new[..kept], *offset) }
            }
            (Kind::Resize { to, .. }, None) => file.set_len(*to),
            (Kind::Resize { .. }, Some(_)) => Ok(()),
        }
    }
}

fn read_range(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}
