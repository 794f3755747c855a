//! The disks of a stage's nodes, if they are such as can lose power: a mount under each data folder, served by a process each.
//!
//! **Invariant:** no mount stays behind. They are unmounted when the stage goes down, when it does not come up, and by their janitors if it is killed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{
    disk::{
        lossy::{
            control::{Answer, Order, order},
            faults::Faults,
            mount::unavailable,
            served::{mount, place_of, socket_of},
        },
        mounts::detach,
    },
    process::Process,
};

/// How long a disk may take to unmount.
const QUIT_PATIENCE: Duration = Duration::from_secs(10);

/// Disks by node.
#[derive(Debug)]
pub struct Disks {
    folder: PathBuf,
    served: BTreeMap<u64, Process>,
    /// What is wrong with each, by the number of the fault.
    imposed: BTreeMap<u64, BTreeMap<u64, Faults>>,
}

impl Disks {
    /// Mounts a disk for each node. Says why if this machine can't.
    pub async fn mount(folder: &Path, nodes: u64) -> anyhow::Result<Self> {
        if let Some(reason) = unavailable() {
            bail!("disks that lose power can't be had here: {reason}");
        }
        let mut disks = Self { folder: folder.to_owned(), served: BTreeMap::new(), imposed: BTreeMap::new() };
        for id in 1..=nodes {
            // What is mounted when one fails goes with `disks`.
            disks.served.insert(id, mount(folder, id).await.with_context(|| format!("mounting a disk for node {id}"))?);
        }
        Ok(disks)
    }

    /// Gives several disks an order each, all at once; answers in their order.
    pub async fn tell(&self, orders: Vec<(u64, Order)>) -> Vec<anyhow::Result<Answer>> {
        let told: Vec<_> = orders
            .into_iter()
            .map(|(id, what)| {
                let socket = socket_of(&self.folder, id);
                tokio::task::spawn_blocking(move || order(&socket, &what).with_context(|| format!("the disk of node {id}")))
            })
            .collect();
        let mut answers = Vec::new();
        for answer in told {
            answers.push(answer.await.map_err(anyhow::Error::from).and_then(|answer| answer));
        }
        answers
    }

    /// Gives one disk an order.
    pub async fn tell_one(&self, id: u64, what: Order) -> anyhow::Result<Answer> {
        self.tell(vec![(id, what)]).await.pop().context("a disk answers each order")?
    }

    /// Lets a fault be in force on a disk, beside those that are.
    pub async fn impose(&mut self, fault: u64, id: u64, faults: Faults) -> anyhow::Result<()> {
        self.imposed.entry(id).or_default().insert(fault, faults);
        self.renew(id).await
    }

    /// Takes a fault off every disk. Tries all, and tells the first failure.
    pub async fn lift(&mut self, fault: u64) -> anyhow::Result<()> {
        let touched: Vec<u64> = self.imposed.iter_mut().filter_map(|(id, faults)| faults.remove(&fault).map(|_| *id)).collect();
        let mut failed = None;
        for id in touched {
            if let Err(error) = self.renew(id).await {
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// A disk only knows what is wrong with it in all: several faults are put together here.
    async fn renew(&self, id: u64) -> anyhow::Result<()> {
        let all = self.imposed.get(&id).into_iter().flat_map(BTreeMap::values).copied();
        self.tell_one(id, Order::Faults(all.fold(Faults::default(), together))).await.map(drop)
    }

    /// Disks whose processes have ended; which, and how. There should be none.
    pub fn bury(&mut self) -> BTreeMap<u64, String> {
        let dead: BTreeMap<u64, String> = self.served.iter_mut().filter_map(|(id, process)| Some((*id, process.ended()?))).collect();
        self.served.retain(|id, _| !dead.contains_key(id));
        dead
    }

    /// Unmounts all, in order. Nodes have stopped before.
    pub async fn quit(&mut self) {
        for (id, process) in std::mem::take(&mut self.served) {
            // One that does not unmount in order is killed, and its mount removed.
            let _ = process.stop(QUIT_PATIENCE).await;
            let _ = detach(&place_of(&self.folder, id));
        }
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for id in self.served.keys() {
            // Its janitor tries again when the process is killed, which comes next.
            let _ = detach(&place_of(&self.folder, *id));
        }
    }
}

/// Both at once: the slower, the smaller, the worse.
fn together(one: Faults, other: Faults) -> Faults {
    Faults {
        slow_fsync_ms: one.slow_fsync_ms.max(other.slow_fsync_ms),
        slow_write_ms: one.slow_write_ms.max(other.slow_write_ms),
        full_at: one.full_at.into_iter().chain(other.full_at).min(),
        eio_on_fsync: one.eio_on_fsync || other.eio_on_fsync,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_a_disk_that_are_in_force_at_once_are_as_bad_as_the_worst_of_each() {
        let slow = Faults { slow_fsync_ms: 200, full_at: Some(9), ..Faults::default() };
        let full = Faults { slow_fsync_ms: 20, slow_write_ms: 3, full_at: Some(7), eio_on_fsync: true };
        let both = Faults { slow_fsync_ms: 200, slow_write_ms: 3, full_at: Some(7), eio_on_fsync: true };
        assert_eq!((together(slow, full), together(full, slow)), (both, both));
        assert_eq!(together(slow, Faults::default()), slow);
    }
}
