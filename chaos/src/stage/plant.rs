//! What faults act on: a stage of our own, or somebody else's cluster.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::{Stage, card::NodeCard, dev::Dev, disks::Disks};
use crate::process::Signal;

/// A cluster that faults act on.
#[derive(Debug)]
pub enum Plant {
    /// Ours.
    Stage(Box<Stage>),
    /// Of `quorusd dev`.
    Dev(Dev),
}

impl Plant {
    /// As the catalogue names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stage(_) => "stage",
            Self::Dev(_) => "dev",
        }
    }

    /// What kinds of faults may need of it.
    pub fn offers(&self) -> Vec<&'static str> {
        let Self::Stage(stage) = self else { return vec!["dev"] };
        let lossy = stage.disks.is_some().then_some("lossy");
        let cables = stage.cables.is_some().then_some("namespaces");
        ["stage"].into_iter().chain(lossy).chain(cables).collect()
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Stage(stage) => stage.folder(),
            Self::Dev(dev) => dev.folder(),
        }
    }

    /// All nodes, living or not.
    pub fn nodes(&self) -> anyhow::Result<Vec<NodeCard>> {
        match self {
            Self::Stage(stage) => Ok(stage.card().nodes),
            Self::Dev(dev) => Ok(dev.card()?.nodes),
        }
    }

    /// Addresses for clients, by which clients of faults (overload) come.
    pub fn endpoints(&self) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Stage(stage) => Ok(stage.endpoints()),
            Self::Dev(dev) => Ok(dev.card()?.nodes.iter().map(|node| format!("http://{}", node.grpc)).collect()),
        }
    }

    /// All workers.
    pub fn workers(&self) -> Vec<u64> {
        match self {
            Self::Stage(stage) => stage.workers.numbers(),
            Self::Dev(_) => Vec::new(),
        }
    }

    /// Kills a node with signal 9.
    pub async fn kill(&mut self, id: u64) -> anyhow::Result<()> {
        match self {
            Self::Stage(stage) => stage.cluster.kill(id).await,
            Self::Dev(dev) => dev.must_restart().and_then(|()| dev.signal(id, Signal::Kill)),
        }
    }

    /// Asks a node to stop in order.
    pub fn ask_to_stop(&mut self, id: u64) -> anyhow::Result<()> {
        match self {
            Self::Stage(stage) => stage.cluster.ask_to_stop(id),
            Self::Dev(dev) => dev.must_restart().and_then(|()| dev.signal(id, Signal::Stop)),
        }
    }

    /// Makes sure that a node lives again, if it is ours; somebody else's starts by itself, which is waited for. Says what was seen.
    pub async fn start(&mut self, id: u64) -> anyhow::Result<String> {
        let stage = match self {
            Self::Stage(stage) => stage,
            Self::Dev(dev) => return dev.must_come_back(id).await,
        };
        let left = match stage.cluster.left(id).await {
            Some(true) => format!("node {id} had stopped in order"),
            Some(false) => format!("node {id} HAD NOT STOPPED IN ORDER"),
            None => String::new(),
        };
        if !stage.cluster.pids().contains_key(&id) {
            stage.cluster.start_node(id)?;
        }
        Ok(left)
    }

    /// True if a node was asked to stop and has not yet.
    pub fn is_leaving(&self, id: u64) -> bool {
        matches!(self, Self::Stage(stage) if stage.cluster.is_leaving(id))
    }

    /// Sends a node a signal.
    pub fn signal(&self, id: u64, signal: Signal) -> anyhow::Result<()> {
        match self {
            Self::Stage(stage) => stage.cluster.signal(id, signal),
            Self::Dev(dev) => dev.signal(id, signal),
        }
    }

    /// The process of a node, if it lives.
    pub fn pid_of(&self, id: u64) -> anyhow::Result<Option<u32>> {
        match self {
            Self::Stage(stage) => Ok(stage.cluster.pids().get(&id).copied()),
            Self::Dev(dev) => dev.pid_of(id),
        }
    }

    /// The stage, for faults that only a stage can have.
    pub fn stage(&mut self) -> anyhow::Result<&mut Stage> {
        match self {
            Self::Stage(stage) => Ok(stage),
            Self::Dev(_) => bail!("this fault needs a cluster with proxies; make one with: quorus-chaos cluster up"),
        }
    }

    /// The disks that can be broken, if there are such.
    pub fn disks(&mut self) -> anyhow::Result<&mut Disks> {
        let disks = self.stage()?.disks.as_mut();
        disks.context("this fault needs disks that can be broken; make such a cluster with: quorus-chaos cluster up --disks lossy")
    }

    /// Processes that have ended without anybody having asked for it.
    pub fn bury(&mut self) -> BTreeMap<String, String> {
        let Self::Stage(stage) = self else { return BTreeMap::new() };
        let nodes = stage.cluster.bury().into_iter().map(|(id, how)| (format!("node-{id}"), how));
        let workers = stage.workers.bury().into_iter().map(|(number, how)| (format!("worker-{number}"), how));
        let disks = stage.disks.iter_mut().flat_map(Disks::bury).map(|(id, how)| (format!("disk-{id}"), how));
        nodes.collect::<Vec<_>>().into_iter().chain(workers).chain(disks).collect()
    }

    /// Writes down who lives now, where others look for it.
    pub fn publish(&self) -> anyhow::Result<()> {
        match self {
            Self::Stage(stage) => stage.card().write(stage.folder()).context("saying who lives"),
            Self::Dev(_) => Ok(()),
        }
    }

    /// Where faults are written down.
    pub fn nemesis(&self) -> PathBuf {
        self.folder().join(super::card::NEMESIS)
    }
}
