//! How faults of disks are done, and undone.
//!
//! A node whose disk is full or fails may stop itself: that is what it should do, and no finding. It stays down until the fault is over.

use anyhow::{Context as _, anyhow};

use super::{
    dice::Dice,
    keeper::{Aim, State, Undo},
};
use crate::{
    disk::lossy::{
        control::{Answer, Order},
        faults::Faults,
        keep::Keep,
    },
    stage::disks::Disks,
};

impl State {
    /// The disks of these nodes lose power, all at once, and the nodes die in the same moment. If one can't, all start again.
    pub(super) async fn lose_power(&mut self, aim: &Aim) -> anyhow::Result<String> {
        self.must_live(&aim.chosen)?;
        let keep: Keep = aim.settled.text("keep").parse().map_err(|error: String| anyhow!(error))?;
        let (torn, mut dice) = (aim.settled.is_yes("torn"), Dice::new(aim.seed));
        let mut orders = Vec::new();
        for node in &aim.chosen {
            let kill = self.plant.pid_of(*node)?;
            orders.push((*node, Order::PowerLoss { keep, torn, seed: dice.draw(), kill }));
        }
        let answers = self.plant.disks()?.tell(orders).await;
        let lost: anyhow::Result<Vec<Answer>> = answers.into_iter().collect();
        for node in &aim.chosen {
            // It is dead already, and this takes it off the list. If its disk failed to kill it, this does.
            let _ = self.plant.kill(*node).await;
        }
        match lost {
            Ok(lost) => {
                let sum = |of: fn(&Answer) -> u64| lost.iter().map(of).sum::<u64>();
                let (changes, files, names) =
                    (sum(|answer| answer.changes_lost), sum(|answer| answer.files_lost), sum(|answer| answer.names_lost));
                Ok(format!("lost {changes} writes in {files} files and {names} names"))
            }
            Err(error) => {
                for node in &aim.chosen {
                    // All are tried; the first failure is the one that is told.
                    let _ = self.plant.disks()?.tell_one(*node, Order::PowerOn).await;
                    let _ = self.plant.start(*node).await;
                }
                Err(error)
            }
        }
    }

    /// Something is wrong with the disks of these nodes from now on.
    pub(super) async fn break_disks(&mut self, aim: &Aim) -> anyhow::Result<Undo> {
        self.must_live(&aim.chosen)?;
        let settled = &aim.settled;
        for node in &aim.chosen {
            let disks = self.plant.disks()?;
            let faults = match aim.kind.name {
                "disk-full" => {
                    let used = disks.tell_one(*node, Order::Show).await?.used;
                    Faults { full_at: Some(used + settled.number("room-bytes")), ..Faults::default() }
                }
                "disk-fails" => Faults { eio_on_fsync: true, ..Faults::default() },
                _ => {
                    let (slow_fsync_ms, slow_write_ms) = (settled.number("fsync-ms"), settled.number("write-ms"));
                    Faults { slow_fsync_ms, slow_write_ms, ..Faults::default() }
                }
            };
            disks.impose(aim.fault, *node, faults).await?;
        }
        let power = (aim.kind.name == "disk-fails").then_some(aim.seed);
        Ok(Undo::MendDisks { nodes: aim.chosen.clone(), power, may_stop: aim.kind.may_stop })
    }

    /// The disks are whole again. With a seed for it, they lose power before: what a failed sync should have covered is gone then, as on a real disk.
    pub(super) async fn mend_disks(&mut self, fault: u64, nodes: &[u64], power: Option<u64>) -> anyhow::Result<String> {
        // First: nodes that have stopped themselves are known then.
        self.look_after().await?;
        self.plant.disks()?.lift(fault).await?;
        let mut seen = Vec::new();
        let mut dice = Dice::new(power.unwrap_or_default());
        for node in nodes {
            let pid = self.plant.pid_of(*node)?;
            if pid.is_none() && !self.is_kept_down(*node) {
                seen.push(format!("node {node} had stopped itself"));
            }
            if power.is_some() {
                let loss = Order::PowerLoss { keep: Keep::Nothing, torn: false, seed: dice.draw(), kill: pid };
                lose_and_have_power(self.plant.disks()?, *node, loss).await?;
                if pid.is_some() {
                    // Killed by the loss: this takes it off the list.
                    let _ = self.plant.kill(*node).await;
                }
            }
            if !self.is_kept_down(*node) {
                self.plant.start(*node).await?;
            }
        }
        Ok(seen.join(", "))
    }
}

async fn lose_and_have_power(disks: &Disks, node: u64, loss: Order) -> anyhow::Result<()> {
    let lost = disks.tell_one(node, loss).await;
    // Also after a failure: without power nothing could be tried again.
    disks.tell_one(node, Order::PowerOn).await?;
    lost.map(drop).with_context(|| format!("taking the power of node {node}'s disk"))
}
