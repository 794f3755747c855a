//! The clocks of a stage's nodes: each node adds to the machine's clock what a file of its own says.
//!
//! **Invariant:** no two clocks of a stage are further apart than the nodes allow each other. A clock beyond that is another matter: see `quorus-chaos disk trial clock`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::bail;

use crate::{cluster::Cluster, disk::clock};

/// How far apart two clocks may be. A little less than the 500 ms that nodes allow: they measure it over a network.
pub const APART_MAX_MS: u64 = 450;

/// Offsets by node and fault.
#[derive(Debug)]
pub struct Clocks {
    folder: PathBuf,
    imposed: BTreeMap<u64, BTreeMap<u64, i64>>,
}

impl Clocks {
    /// Clocks that are right, for all nodes of a cluster, from their next start on.
    pub fn wind(folder: &Path, cluster: &mut Cluster) -> anyhow::Result<Self> {
        let clocks = Self::right(folder, cluster.ids())?;
        for id in cluster.ids() {
            cluster.set_variable(id, clock::VARIABLE, &clocks.file_of(id).to_string_lossy());
        }
        Ok(clocks)
    }

    fn right(folder: &Path, ids: Vec<u64>) -> anyhow::Result<Self> {
        let clocks = Self { folder: folder.to_owned(), imposed: ids.into_iter().map(|id| (id, BTreeMap::new())).collect() };
        // An earlier life of the folder may have left them wrong.
        clocks.imposed.keys().try_for_each(|id| clocks.set(*id))?;
        Ok(clocks)
    }

    /// Sets a node's clock off from now on, beside what is in force.
    pub fn impose(&mut self, fault: u64, id: u64, offset_ms: i64) -> anyhow::Result<()> {
        self.imposed.entry(id).or_default().insert(fault, offset_ms);
        let all: Vec<i64> = self.imposed.keys().map(|id| self.offset(*id)).collect();
        let apart = all.iter().max().zip(all.iter().min()).map_or(0, |(most, least)| most.abs_diff(*least));
        if apart > APART_MAX_MS {
            self.imposed.entry(id).or_default().remove(&fault);
            bail!("clocks would be {apart} ms apart, more than {APART_MAX_MS}: another clock is off already");
        }
        self.set(id)
    }

    /// Takes a fault off every clock. Tries all, and tells the first failure.
    pub fn lift(&mut self, fault: u64) -> anyhow::Result<()> {
        let touched: Vec<u64> = self.imposed.iter_mut().filter_map(|(id, offsets)| offsets.remove(&fault).map(|_| *id)).collect();
        let failures: Vec<anyhow::Error> = touched.into_iter().filter_map(|id| self.set(id).err()).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    fn offset(&self, id: u64) -> i64 {
        self.imposed.get(&id).into_iter().flat_map(BTreeMap::values).sum()
    }

    fn set(&self, id: u64) -> anyhow::Result<()> {
        clock::set(&self.file_of(id), self.offset(id))
    }

    fn file_of(&self, id: u64) -> PathBuf {
        self.folder.join(format!("clock-{id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_set_off_together_and_never_further_apart_than_nodes_allow() {
        let folder = tempfile::tempdir().unwrap();
        let mut clocks = Clocks::right(folder.path(), vec![1, 2, 3]).unwrap();
        let read = |id: u64| std::fs::read_to_string(folder.path().join(format!("clock-{id}"))).unwrap();
        clocks.impose(1, 1, 300).unwrap();
        clocks.impose(2, 1, 100).unwrap();
        assert_eq!((read(1), read(2)), ("400\n".to_owned(), "0\n".to_owned()));
        let error = clocks.impose(3, 2, -100).unwrap_err().to_string();
        assert!(error.contains("500 ms apart"), "{error}");
        clocks.lift(1).unwrap();
        assert_eq!((read(1), read(2)), ("100\n".to_owned(), "0\n".to_owned()));
        clocks.impose(3, 2, -100).unwrap();
        clocks.lift(3).unwrap();
        clocks.lift(2).unwrap();
        assert_eq!((read(1), read(2)), ("0\n".to_owned(), "0\n".to_owned()));
    }
}
