//! The volume loses its power: what was not synced is taken back, but for what is kept.

use std::{fs, io};

use super::{Lost, Volume};
use crate::disk::{
    chance::Chance,
    lossy::{keep::Keep, names::NameChange},
};

impl Volume {
    /// The power goes: from now on everything fails.
    pub fn power_off(&mut self) {
        self.off = true;
        self.epoch += 1;
    }

    /// The power is back.
    pub fn power_on(&mut self) {
        self.off = false;
    }

    /// Takes back what was not synced, but for what is kept.
    pub fn lose_power(&mut self, keep: Keep, torn: bool, chance: &mut Chance) -> io::Result<Lost> {
        self.power_off();
        let mut lost = Lost::default();
        let dirty: Vec<u64> = self.nodes.iter().filter(|(_, node)| !node.journal.is_clean()).map(|(number, _)| *number).collect();
        for number in dirty {
            let file = self.file(number)?;
            let node = self.node_mut(number)?;
            let changes = node.journal.lose(&file, keep, torn, chance)?;
            let (before, after, gone) = (node.size, file.metadata()?.len(), node.gone);
            node.size = after;
            if !gone {
                self.used = self.used - before + after;
            }
            lost.changes += changes;
            lost.files += u64::from(changes > 0);
        }
        let kept = keep.names(self.names.len(), chance);
        let (kept, undone) = self.names.lose(kept);
        lost.names = undone.len() as u64;
        for change in undone.into_iter().rev() {
            self.take_back(change)?;
        }
        for change in kept {
            self.forget_removed(&change)?;
        }
        Ok(lost)
    }

    fn take_back(&mut self, change: NameChange) -> io::Result<()> {
        match change {
            NameChange::Created { node, .. } => self.forget_tree(node),
            NameChange::Removed { at, node } => self.show(node, at),
            NameChange::Renamed { from, to, node, replaced } => {
                self.move_to(node, from)?;
                match replaced {
                    Some(replaced) => self.show(replaced, to),
                    None => Ok(()),
                }
            }
        }
    }

    /// A file or folder that never was, with all in it.
    fn forget_tree(&mut self, number: u64) -> io::Result<()> {
        let children = self.tree.iter().filter(|((parent, _), _)| *parent == number).map(|(_, child)| *child).collect::<Vec<_>>();
        for child in children {
            self.forget_tree(child)?;
        }
        let path = self.path(number)?;
        let Some(node) = self.nodes.remove(&number) else { return Ok(()) };
        self.tree.remove(&(node.parent, node.name));
        if node.folder {
            fs::remove_dir(path)
        } else {
            self.used -= node.size;
            fs::remove_file(path)
        }
    }
}
