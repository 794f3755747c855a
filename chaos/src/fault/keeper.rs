//! Makes faults, remembers those in force, and undoes each: when its time is over, when somebody asks, when the one who asked has gone, at the end.
//!
//! Invariants: a fault is written down before anybody is told of it; a fault that lasts has a time; no node is acted on beyond the blast radius. What is
//! half done when something fails is undone and written down as indeterminate.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::Write as _,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use quorus_client::monotonic_us;
use tokio::{
    sync::{Mutex, MutexGuard, Notify},
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    catalogue::{FOR_MAX_MS, Kind, Scope, Settled},
    dice::Dice,
    flips::Flipped,
    order::{Made, Order, Report},
    select::{Known, Selector, minority},
    view::View,
};
use crate::{
    record::{Fault, FaultPhase},
    stage::Plant,
};

/// How long after the end of a fault under which nodes may stop themselves they still may.
pub(super) const AFTERMATH: Duration = Duration::from_secs(10);

/// Kinds under which a node is down.
pub(super) const DOWN: &[&str] = &["kill", "kill-all", "stop", "power-loss"];

/// Keeps faults of one cluster. Clones of the [`Arc`] share it.
#[derive(Debug)]
pub struct Keeper {
    state: Mutex<State>,
    /// Told whenever a fault has ended.
    pub(super) ended: Notify,
}

/// What only one at a time may touch.
#[derive(Debug)]
pub(super) struct State {
    pub(super) plant: Plant,
    active: BTreeMap<u64, Active>,
    last: u64,
    record: File,
    ended_by_themselves: Vec<String>,
    /// Until when a node may stop itself because of a fault that is over.
    excused: BTreeMap<u64, Instant>,
}

#[derive(Debug)]
struct Active {
    made: Made,
    nodes: Vec<u64>,
    destructive: bool,
    may_stop: bool,
    undo: Undo,
    expiry: Option<AbortOnDropHandle<()>>,
}

/// How a fault is undone.
#[derive(Debug)]
pub(super) enum Undo {
    /// It has happened and is over.
    Nothing,
    /// Nodes start again.
    Start(Vec<u64>),
    /// Nodes go on, if they are still the same processes.
    Resume(Vec<(u64, u32)>),
    /// Workers start again.
    StartWorkers(Vec<u64>),
    /// Workers go on, if they are still the same processes.
    ResumeWorkers(Vec<(u64, u32)>),
    /// Links forget it.
    Lift,
    /// Cables are plugged in again.
    Plug(Vec<u64>),
    /// A damaged file is put back.
    Unflip(Box<Flipped>),
    /// Clocks are right again.
    SetClocks,
    /// Disks are whole again, and the nodes live; if there is a seed for it, they lose power before.
    MendDisks {
        /// Whose.
        nodes: Vec<u64>,
        /// Draws what the loss takes.
        power: Option<u64>,
        /// They may stop themselves a little later, too.
        may_stop: bool,
    },
    /// Something that goes on by itself is stopped; then nodes that do not live start again.
    Stop(AbortOnDropHandle<()>, Vec<u64>),
}

/// Why a process ended that nobody ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// It is a node, and a fault in force allows it.
    Allowed,
    /// It is this node, and a fault that is just over allowed it.
    Aftermath(u64),
    /// It should not have.
    ByItself,
}

/// Whom an order means, and with what.
#[derive(Debug)]
pub(super) struct Aim {
    pub(super) fault: u64,
    pub(super) kind: &'static Kind,
    pub(super) settled: Settled,
    /// Nodes, or workers if the kind is about workers.
    pub(super) chosen: Vec<u64>,
    /// One link instead of all of a node.
    pub(super) link: Option<(u64, u64)>,
    /// Of a worker's fault: from which nodes.
    pub(super) from: Vec<u64>,
    pub(super) seed: u64,
}

impl Keeper {
    /// Keeps the faults of a cluster. The record in its folder goes on where it stopped.
    pub fn new(plant: Plant) -> anyhow::Result<Arc<Self>> {
        let path = plant.nemesis();
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        let last = known.lines().filter_map(|line| serde_json::from_str::<Fault>(line).ok()).map(|fault| fault.id).max().unwrap_or(0);
        let record = OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("opening {}", path.display()))?;
        let state = State { plant, active: BTreeMap::new(), last, record, ended_by_themselves: Vec::new(), excused: BTreeMap::new() };
        Ok(Arc::new(Self { state: Mutex::new(state), ended: Notify::new() }))
    }

    /// Makes a fault.
    pub async fn make(self: &Arc<Self>, order: &Order) -> anyhow::Result<Made> {
        let kind = Kind::of(&order.kind)?;
        let prepared = self.prepare(kind, order).await;
        let (mut aim, known, view, for_ms) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.lock().await.skip(kind, &error)?;
                return Err(error);
            }
        };
        let mut state = self.lock().await;
        let result = state.choose(order, &mut aim, &known);
        if let Err(error) = result {
            state.skip(kind, &error)?;
            return Err(error);
        }
        aim.fault = state.next();
        let targets = aim.targets();
        let led_shards = if kind.scope == Scope::Workers { Vec::new() } else { view.led_by(&aim.chosen) };
        let mut note = aim.settled.to_string();
        if let Some(for_ms) = for_ms {
            note = format!("for {for_ms} ms {note}").trim_end().to_owned();
        }
        let mut made = Made { fault: aim.fault, kind: kind.name.to_owned(), targets, for_ms, led_shards, note };
        match state.apply(self, &aim).await {
            Ok((undo, more)) => {
                made.note = format!("{} {more}", made.note).trim().to_owned();
                state.write(&made, FaultPhase::Installed, &made.note)?;
                let expiry = for_ms.map(|for_ms| self.expire(made.fault, Duration::from_millis(for_ms)));
                if !matches!(undo, Undo::Nothing) {
                    let nodes = if kind.scope == Scope::Workers { Vec::new() } else { aim.chosen.clone() };
                    let active = Active { made: made.clone(), nodes, destructive: kind.destructive, may_stop: kind.may_stop, undo, expiry };
                    state.active.insert(made.fault, active);
                }
                state.plant.publish()?;
                Ok(made)
            }
            Err(error) => {
                // What had been done before it failed.
                state.lift(made.fault).await;
                state.write(&made, FaultPhase::Indeterminate, &format!("{error:#}"))?;
                state.plant.publish()?;
                Err(error)
            }
        }
    }

    /// Undoes a fault.
    pub async fn heal(&self, fault: u64) -> anyhow::Result<Made> {
        let made = self.lock().await.heal(fault, "asked for").await;
        self.ended.notify_waiters();
        made
    }

    /// Undoes everything. Goes on after a failure, and tells the first.
    pub async fn heal_all(&self) -> anyhow::Result<Vec<Made>> {
        let mut state = self.lock().await;
        let (mut healed, mut failed) = (Vec::new(), None);
        for fault in state.active.keys().copied().collect::<Vec<_>>() {
            match state.heal(fault, "asked for").await {
                Ok(made) => healed.push(made),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        drop(state);
        self.ended.notify_waiters();
        failed.map_or(Ok(healed), Err)
    }

    /// A fault that ended by itself.
    pub(super) async fn finish(&self, fault: u64, what: &str) {
        let mut state = self.lock().await;
        if let Some(active) = state.active.remove(&fault) {
            if let Undo::Stop(task, _) = active.undo {
                // It is the one that calls.
                task.detach();
            }
            // Nobody is there who could be told; the next fault fails the same way.
            let _ = state.write(&active.made, FaultPhase::Healed, what);
            let _ = state.plant.publish();
        }
        drop(state);
        self.ended.notify_waiters();
    }

    /// Writes down a fault that somebody else made, under a number of its own; for an end, under the number that it began with.
    pub async fn note(&self, mut fault: Fault) -> anyhow::Result<u64> {
        let mut state = self.lock().await;
        if fault.id == 0 {
            fault.id = state.next();
        }
        let id = fault.id;
        state.append(&fault)?;
        Ok(id)
    }

    /// Waits until a fault is over.
    pub async fn wait(&self, fault: u64) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Before the look, so that no end falls between.
            ended.as_mut().enable();
            if !self.lock().await.active.contains_key(&fault) {
                return;
            }
            ended.await;
        }
    }

    /// What is going on.
    pub async fn report(&self) -> anyhow::Result<Report> {
        let mut state = self.lock().await;
        state.look_after().await?;
        Ok(Report {
            target: state.plant.kind().to_owned(),
            active: state.active.values().map(|active| active.made.clone()).collect(),
            nodes: state.plant.nodes()?.into_iter().map(|node| (node.id, node.pid)).collect(),
            ended_by_themselves: state.ended_by_themselves.clone(),
        })
    }

    /// Notices processes that have ended without anybody having asked for it; says which are new.
    pub async fn look_after(&self) -> anyhow::Result<Vec<String>> {
        self.lock().await.look_after().await
    }

    /// True if no fault is in force.
    pub async fn is_quiet(&self) -> bool {
        self.lock().await.active.is_empty()
    }

    /// The cluster itself, at the end.
    pub async fn down(&self) {
        if let Plant::Stage(stage) = &mut self.lock().await.plant {
            stage.down().await;
        }
    }

    pub(super) async fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().await
    }

    fn expire(self: &Arc<Self>, fault: u64, after: Duration) -> AbortOnDropHandle<()> {
        let (keeper, due) = (Arc::downgrade(self), Instant::now() + after);
        AbortOnDropHandle::new(tokio::spawn(async move {
            sleep_until(due).await;
            if let Some(keeper) = keeper.upgrade() {
                // The failure is written down as indeterminate.
                let _ = keeper.lock().await.heal(fault, "its time is over").await;
                keeper.ended.notify_waiters();
            }
        }))
    }

    /// Everything that takes time, before others are shut out: what the cluster looks like, which shard a run is on.
    async fn prepare(&self, kind: &'static Kind, order: &Order) -> anyhow::Result<(Aim, Known, View, Option<u64>)> {
        let settled = kind.settle(&order.parameters)?;
        let for_ms = order.for_ms.unwrap_or(kind.for_ms);
        if kind.lasting && !(1..=FOR_MAX_MS).contains(&for_ms) {
            bail!("a fault lasts 1 ms to {FOR_MAX_MS} ms, not {for_ms}");
        }
        let (nodes, endpoints, offers) = {
            let state = self.lock().await;
            (state.plant.nodes()?, state.plant.endpoints()?, state.plant.offers())
        };
        if !kind.needs.iter().any(|need| offers.contains(need)) {
            let (what, flags) = kind.wants();
            bail!("`{}` needs {what}; make one with: quorus-chaos cluster up{flags}", kind.name);
        }
        let view = View::take(nodes.iter().map(|node| (node.id, node.grpc.clone()))).await;
        let mut known = Known { all: nodes.iter().map(|node| node.id).collect(), leaders: view.leaders(), shard_of_run: None };
        for text in [order.target.as_deref(), Some(settled.text("from"))].into_iter().flatten() {
            if let Some(run) = text.strip_prefix("leader-of-run:") {
                let client = quorus_client::Client::with_endpoints(endpoints.clone())?;
                let request = quorus_proto::v1::GetRunRequest { run_id: run.to_owned(), ..Default::default() };
                known.shard_of_run = Some(client.get_run(request).await.with_context(|| format!("looking for run {run}"))?.shard);
            }
        }
        let aim = Aim { fault: 0, kind, settled, chosen: Vec::new(), link: None, from: Vec::new(), seed: order.seed };
        Ok((aim, known, view, kind.lasting.then_some(for_ms)))
    }
}

impl Aim {
    fn targets(&self) -> Vec<String> {
        let who = match self.kind.scope {
            Scope::Workers => "worker",
            Scope::Nodes | Scope::Links | Scope::Cluster => "node",
        };
        match self.link {
            Some((from, to)) => vec![format!("link-{from}-{to}")],
            None => self.chosen.iter().map(|number| format!("{who}-{number}")).collect(),
        }
    }
}

impl State {
    /// Finds whom an order means, and checks that they may be acted on.
    fn choose(&mut self, order: &Order, aim: &mut Aim, known: &Known) -> anyhow::Result<()> {
        let text = order.target.as_deref().unwrap_or(aim.kind.target);
        let mut dice = Dice::new(order.seed);
        if aim.kind.scope == Scope::Links
            && let Some((from, to)) = text.split_once('>')
        {
            let end = |text: &str| text.trim().parse::<u64>().ok().filter(|id| known.all.contains(id));
            let (from, to) =
                end(from).zip(end(to)).filter(|(from, to)| from != to).with_context(|| format!("there is no link `{text}`"))?;
            (aim.chosen, aim.link) = (vec![from], Some((from, to)));
            return self.check_radius(order, aim, known.all.len());
        }
        let selector: Selector = text.parse()?;
        if aim.kind.scope == Scope::Workers {
            let workers = Known { all: self.plant.workers(), ..Known::default() };
            if workers.all.is_empty() {
                bail!("the stage has no workers; give it some with: quorus-chaos cluster up --workers N");
            }
            aim.chosen = selector.choose(&workers, &mut dice)?;
            if aim.kind.name == "worker-cut" {
                aim.from = aim.settled.text("from").parse::<Selector>()?.choose(known, &mut dice)?;
            }
            return Ok(());
        }
        aim.chosen = selector.choose(known, &mut dice)?;
        self.check_radius(order, aim, known.all.len())
    }

    /// Bounds how many nodes are acted on at a time, by all faults together.
    fn check_radius(&self, order: &Order, aim: &Aim, nodes: usize) -> anyhow::Result<()> {
        if !aim.kind.destructive || order.allow_majority {
            return Ok(());
        }
        let touched = self.active.values().filter(|active| active.destructive).flat_map(|active| active.nodes.iter().copied());
        let down: BTreeSet<u64> = touched.chain(aim.chosen.iter().copied()).collect();
        let bound = minority(nodes);
        if down.len() > bound {
            bail!("nodes {down:?} would be out of action, more than {bound} of {nodes}; allow that with --allow-majority");
        }
        Ok(())
    }

    async fn heal(&mut self, fault: u64, why: &str) -> anyhow::Result<Made> {
        let active = self.active.remove(&fault).with_context(|| format!("fault {fault} is not in force"))?;
        // Not aborted by the drop at the end of this: the expiry itself may be the one that calls.
        if let Some(expiry) = active.expiry {
            expiry.detach();
        }
        let undone = self.undo(fault, active.undo).await;
        match undone {
            Ok(what) => self.write(&active.made, FaultPhase::Healed, format!("{why} {what}").trim_end())?,
            Err(error) => {
                self.write(&active.made, FaultPhase::Indeterminate, &format!("not undone: {error:#}"))?;
                return Err(error.context(format!("undoing fault {fault}")));
            }
        }
        self.plant.publish()?;
        Ok(active.made)
    }

    /// Faults in force of these kinds that touch one of these nodes.
    pub(super) fn active_of(&self, kinds: &[&str], nodes: &[u64]) -> Vec<u64> {
        let touches = |active: &Active| kinds.contains(&active.made.kind.as_str()) && active.nodes.iter().any(|node| nodes.contains(node));
        self.active.iter().filter(|(_, active)| touches(active)).map(|(fault, _)| *fault).collect()
    }

    /// Undoes another fault before its time.
    pub(super) async fn heal_early(&mut self, fault: u64) -> anyhow::Result<()> {
        Box::pin(self.heal(fault, "before its time")).await.map(|_| ())
    }

    /// Notices processes that have ended without anybody having asked for it; says which are new. A node that may have stopped itself because of a fault
    /// stays down while that is in force, and starts again if it is over.
    pub(super) async fn look_after(&mut self) -> anyhow::Result<Vec<String>> {
        let dead = self.plant.bury();
        let mut told = Vec::new();
        for (who, how) in &dead {
            match self.why_dead(who) {
                Death::Allowed => told.push(format!("{who} stopped itself, as a fault in force allows: {how}")),
                Death::Aftermath(node) => {
                    told.push(format!("{who} stopped itself after a fault that allowed it, and starts again: {how}"));
                    self.plant.start(node).await?;
                }
                Death::ByItself => {
                    let line = format!("{who} ended by itself: {how}");
                    self.ended_by_themselves.push(line.clone());
                    told.push(line);
                }
            }
        }
        if !dead.is_empty() {
            self.plant.publish()?;
        }
        Ok(told)
    }

    fn why_dead(&self, who: &str) -> Death {
        let Some(node) = who.strip_prefix("node-").and_then(|number| number.parse().ok()) else { return Death::ByItself };
        if self.active.values().any(|active| active.may_stop && active.nodes.contains(&node)) {
            return Death::Allowed;
        }
        let excused = self.excused.get(&node).is_some_and(|until| Instant::now() < *until);
        if excused { Death::Aftermath(node) } else { Death::ByItself }
    }

    /// A node may stop itself for this time.
    pub(super) fn excuse(&mut self, node: u64, time: Duration) {
        self.excused.insert(node, Instant::now() + time);
    }

    /// True if a node is down because another fault wants it so.
    pub(super) fn is_kept_down(&self, node: u64) -> bool {
        !self.active_of(DOWN, &[node]).is_empty()
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn skip(&mut self, kind: &Kind, error: &anyhow::Error) -> anyhow::Result<()> {
        let made = Made { fault: self.next(), kind: kind.name.to_owned(), ..Made::default() };
        self.write(&made, FaultPhase::Skipped, &format!("{error:#}"))
    }

    fn write(&mut self, made: &Made, phase: FaultPhase, note: &str) -> anyhow::Result<()> {
        self.append(&Fault {
            id: made.fault,
            kind: made.kind.clone(),
            targets: made.targets.clone(),
            phase,
            at_us: monotonic_us(),
            led_shards: made.led_shards.clone(),
            note: note.to_owned(),
        })
    }

    fn append(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let line = serde_json::to_string(fault)? + "\n";
        self.record.write_all(line.as_bytes()).context("writing the faults' record")
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
