//! How each kind of the catalogue is done, and undone.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    cuts,
    keeper::{AFTERMATH, Aim, DOWN, Keeper, State, Undo},
    overload,
};
use crate::{cluster::serves, process::Signal, stage::network::Pull};

/// How long a node may take until it is ready again in a rolling restart; then the next one is not touched.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl State {
    /// Does it. Returns how it is undone, and what else there is to say.
    pub(super) async fn apply(&mut self, keeper: &Arc<Keeper>, aim: &Aim) -> anyhow::Result<(Undo, String)> {
        let nodes = aim.chosen.clone();
        let mut more = String::new();
        let undo = match aim.kind.name {
            "kill" | "kill-all" => {
                self.must_live(&nodes)?;
                for node in &nodes {
                    self.plant.kill(*node).await?;
                }
                Undo::Start(nodes)
            }
            "power-loss" => {
                more = self.lose_power(aim).await?;
                Undo::Start(nodes)
            }
            "disk-full" | "disk-slow" | "disk-fails" => self.break_disks(aim).await?,
            "bit-flip" => {
                let (undo, note) = self.flip(aim).await?;
                more = note;
                undo
            }
            "clock-offset" => {
                let by = i64::try_from(aim.settled.number("by-ms"))?;
                let by = if aim.settled.text("direction") == "behind" { -by } else { by };
                let clocks = &mut self.plant.stage()?.clocks;
                nodes.iter().try_for_each(|node| clocks.impose(aim.fault, *node, by))?;
                Undo::SetClocks
            }
            "stop" => {
                self.must_live(&nodes)?;
                for node in &nodes {
                    self.plant.ask_to_stop(*node)?;
                }
                Undo::Start(nodes)
            }
            "pause" => {
                let mut paused = Vec::new();
                for node in nodes {
                    let pid = self.plant.pid_of(node)?.with_context(|| format!("node {node} is not alive"))?;
                    self.plant.signal(node, Signal::Pause)?;
                    paused.push((node, pid));
                }
                Undo::Resume(paused)
            }
            "resume" => {
                for fault in self.active_of(&["pause"], &nodes) {
                    self.heal_early(fault).await?;
                    more = format!("{more} fault {fault} is over");
                }
                Undo::Nothing
            }
            "start" => {
                for fault in self.active_of(DOWN, &nodes) {
                    self.heal_early(fault).await?;
                    more = format!("{more} fault {fault} is over");
                }
                // One that has ended by itself is nobody's fault, but is meant, too.
                for node in nodes {
                    self.plant.start(node).await?;
                }
                Undo::Nothing
            }
            "restart" => {
                self.must_live(&nodes)?;
                for node in nodes {
                    self.end(node, aim.settled.is_yes("graceful")).await?;
                    more = format!("{more} {}", self.plant.start(node).await?);
                }
                Undo::Nothing
            }
            "rolling-restart" => {
                self.must_live(&nodes)?;
                let between = Duration::from_millis(aim.settled.number("between-ms"));
                let task = roll(Arc::downgrade(keeper), aim.fault, nodes.clone(), aim.settled.is_yes("graceful"), between);
                Undo::Stop(AbortOnDropHandle::new(tokio::spawn(task)), nodes)
            }
            "unplug" => {
                let how = if aim.settled.text("how") == "carrier" { Pull::Carrier } else { Pull::Silent };
                let cables = self.plant.stage()?.cables.as_ref().context("there are no cables")?;
                nodes.iter().try_for_each(|node| cables.pull(*node, how))?;
                Undo::Plug(nodes)
            }
            "reset" => {
                for link in self.links(aim)? {
                    self.plant.stage()?.links.get(&link).context("no such link")?.reset();
                }
                Undo::Nothing
            }
            "half-close" => {
                self.half_close(aim)?;
                Undo::Nothing
            }
            "worker-kill" => {
                for worker in &nodes {
                    self.plant.stage()?.workers.kill(*worker).await?;
                }
                Undo::StartWorkers(nodes)
            }
            "worker-pause" => {
                let mut paused = Vec::new();
                for worker in nodes {
                    let workers = &self.plant.stage()?.workers;
                    let pid = workers.pid_of(worker).with_context(|| format!("worker {worker} is not alive"))?;
                    workers.signal(worker, Signal::Pause)?;
                    paused.push((worker, pid));
                }
                Undo::ResumeWorkers(paused)
            }
            "overload" => {
                let burst = overload::Burst {
                    endpoints: self.plant.endpoints()?,
                    count: aim.settled.number("count"),
                    clients: aim.settled.number("clients"),
                    name: format!("overload-{}-{}", aim.fault, aim.seed),
                    record: self.plant.folder().join(overload::RECORD),
                };
                let (keeper, fault) = (Arc::downgrade(keeper), aim.fault);
                let task = async move {
                    let what = match burst.run().await {
                        Ok(told) => told.to_string(),
                        Err(error) => format!("{error:#}"),
                    };
                    if let Some(keeper) = keeper.upgrade() {
                        keeper.finish(fault, &what).await;
                    }
                };
                Undo::Stop(AbortOnDropHandle::new(tokio::spawn(task)), Vec::new())
            }
            _ => {
                let all: Vec<u64> = self.plant.nodes()?.iter().map(|node| node.id).collect();
                let cuts = cuts::rules(aim, &all)?;
                let stage = self.plant.stage()?;
                let refuses = aim.settled.text("how") == "refuse";
                for (name, rules) in cuts {
                    let link = stage.links.get_mut(&name).with_context(|| format!("there is no {name}"))?;
                    link.impose(aim.fault, rules);
                    if refuses {
                        link.reset();
                    }
                }
                Undo::Lift
            }
        };
        Ok((undo, more.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    /// Undoes it; says what was seen. Tries everything, and tells the first failure.
    pub(super) async fn undo(&mut self, fault: u64, undo: Undo) -> anyhow::Result<String> {
        let mut seen = Vec::new();
        let mut failed = None;
        match undo {
            Undo::Nothing => {}
            Undo::Lift => self.lift(fault).await,
            Undo::Plug(nodes) => {
                let cables = self.plant.stage()?.cables.as_ref().context("there are no cables")?;
                for node in nodes {
                    if let Err(error) = cables.plug(node) {
                        failed = failed.or(Some(error));
                    }
                }
            }
            Undo::Unflip(flipped) => seen.push(self.unflip(&flipped).await?),
            Undo::SetClocks => self.plant.stage()?.clocks.lift(fault)?,
            Undo::MendDisks { nodes, power, may_stop } => {
                seen.push(self.mend_disks(fault, &nodes, power).await?);
                if may_stop {
                    nodes.iter().for_each(|node| self.excuse(*node, AFTERMATH));
                }
            }
            Undo::Start(nodes) => {
                for node in nodes {
                    match self.plant.start(node).await {
                        Ok(what) => seen.push(what),
                        Err(error) => failed = failed.or(Some(error)),
                    }
                }
            }
            Undo::Resume(paused) => {
                for (node, pid) in paused {
                    // Killed in the meantime: then there is nothing to go on.
                    if self.plant.pid_of(node)? == Some(pid)
                        && let Err(error) = self.plant.signal(node, Signal::Continue)
                    {
                        failed = failed.or(Some(error));
                    }
                }
            }
            Undo::StartWorkers(workers) => {
                for worker in workers {
                    if let Err(error) = self.plant.stage()?.workers.start_worker(worker) {
                        failed = failed.or(Some(error));
                    }
                }
            }
            Undo::ResumeWorkers(paused) => {
                let workers = &self.plant.stage()?.workers;
                for (worker, pid) in paused {
                    if workers.pid_of(worker) == Some(pid)
                        && let Err(error) = workers.signal(worker, Signal::Continue)
                    {
                        failed = failed.or(Some(error));
                    }
                }
            }
            Undo::Stop(task, nodes) => {
                drop(task);
                for node in nodes {
                    match self.plant.start(node).await {
                        Ok(what) => seen.push(what),
                        Err(error) => failed = failed.or(Some(error)),
                    }
                }
            }
        }
        seen.retain(|what| !what.is_empty());
        failed.map_or(Ok(seen.join(", ")), Err)
    }

    /// Takes a fault off every link, disk and clock.
    pub(super) async fn lift(&mut self, fault: u64) {
        if let Ok(stage) = self.plant.stage() {
            for link in stage.links.values_mut() {
                link.lift(fault);
            }
            // What can't be told now can't be told later either: this tries what it can.
            let _ = stage.clocks.lift(fault);
            if let Some(disks) = &mut stage.disks {
                let _ = disks.lift(fault).await;
            }
        }
    }

    pub(super) fn must_live(&self, nodes: &[u64]) -> anyhow::Result<()> {
        for node in nodes {
            self.plant.pid_of(*node)?.with_context(|| format!("node {node} is not alive"))?;
        }
        Ok(())
    }

    async fn end(&mut self, node: u64, gracefully: bool) -> anyhow::Result<()> {
        if gracefully { self.plant.ask_to_stop(node) } else { self.plant.kill(node).await }
    }

    fn links(&self, aim: &Aim) -> anyhow::Result<Vec<crate::stage::play::LinkName>> {
        let all: Vec<u64> = self.plant.nodes()?.iter().map(|node| node.id).collect();
        Ok(cuts::links(aim, &all))
    }

    fn half_close(&mut self, aim: &Aim) -> anyhow::Result<()> {
        use crate::stage::play::{LinkName, Party};
        let all: Vec<u64> = self.plant.nodes()?.iter().map(|node| node.id).collect();
        let direction = aim.settled.text("direction");
        let links = &self.plant.stage()?.links;
        for (here, there) in cuts::touched(aim, &all) {
            let link = |from, to| links.get(&LinkName { from: Party::Node(from), to }).context("no such link");
            if direction != "in" {
                link(here, there)?.half_close(true);
                link(there, here)?.half_close(false);
            }
            if direction != "out" {
                link(here, there)?.half_close(false);
                link(there, here)?.half_close(true);
            }
        }
        Ok(())
    }
}

/// One node after the other. Holds nobody up while it waits.
async fn roll(keeper: std::sync::Weak<Keeper>, fault: u64, nodes: Vec<u64>, gracefully: bool, between: Duration) {
    let mut told = Vec::new();
    for node in &nodes {
        // The one who keeps faults is gone, and with it the cluster.
        let Some(keeper) = keeper.upgrade() else { return };
        let begin = Instant::now();
        match roll_one(&keeper, *node, gracefully).await {
            Ok(what) => told.push(format!("node {node} was ready after {} ms {what}", begin.elapsed().as_millis()).trim_end().to_owned()),
            Err(error) => {
                told.push(format!("GAVE UP at node {node}: {error:#}"));
                break;
            }
        }
        sleep(between).await;
    }
    if let Some(keeper) = keeper.upgrade() {
        keeper.finish(fault, &told.join(", ")).await;
    }
}

async fn roll_one(keeper: &Keeper, node: u64, gracefully: bool) -> anyhow::Result<String> {
    let old = {
        let mut state = keeper.lock().await;
        let old = state.plant.pid_of(node)?;
        state.end(node, gracefully).await?;
        old
    };
    while keeper.lock().await.plant.is_leaving(node) {
        sleep(LOOK_AGAIN).await;
    }
    let what = keeper.lock().await.plant.start(node).await?;
    let deadline = Instant::now() + READY_PATIENCE;
    loop {
        let (pid, address) = {
            let state = keeper.lock().await;
            let found = state.plant.nodes()?.into_iter().find(|one| one.id == node).context("the node is gone")?;
            (found.pid, found.grpc)
        };
        if pid.is_some() && pid != old && serves(&format!("http://{address}")).await {
            return Ok(what);
        }
        if Instant::now() > deadline {
            bail!("node {node} is not ready after {} s", READY_PATIENCE.as_secs());
        }
        sleep(LOOK_AGAIN).await;
    }
}
