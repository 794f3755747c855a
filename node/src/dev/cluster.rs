//! The life of a development cluster: start all, wait until they are ready, watch, stop all.
//!
//! A node that dies is reported, and the others go on: that is what people want to see. Only with `--restart` it comes back.

use std::{collections::BTreeMap, os::unix::process::ExitStatusExt as _, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{self, Instant, sleep, sleep_until},
};

use super::{
    Options, card,
    child::{self, Exited, Stop},
    console,
    layout::Layout,
    probe,
};

/// How long all nodes together may take to become ready; a fresh cluster needs a second or two.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How often they are asked.
const READY_INTERVAL: Duration = Duration::from_millis(100);
/// How long a node may take to stop in order.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How long a node that died stays away, with `--restart`: long enough to see what its absence does.
const RESTART_DELAY: Duration = Duration::from_secs(2);

/// Runs a cluster until somebody stops it.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let layout = Layout::new(&options)?;
    let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (exits, exited) = mpsc::unbounded_channel();
    let mut cluster =
        Cluster { layout, options, stop: Stop::default(), exits, exited, signals, alive: BTreeMap::new(), restarts: BTreeMap::new() };
    let result = cluster.live().await;
    cluster.stop().await;
    card::remove(&cluster.layout);
    result
}

struct Cluster {
    layout: Layout,
    options: Options,
    stop: Stop,
    exits: mpsc::UnboundedSender<Exited>,
    exited: mpsc::UnboundedReceiver<Exited>,
    signals: (Signal, Signal),
    /// Process ids of the nodes that live.
    alive: BTreeMap<u16, u32>,
    /// When nodes that died come back.
    restarts: BTreeMap<u16, Instant>,
}

enum Next {
    Exited(Exited),
    Restart(u16),
    Stop,
}

impl Cluster {
    async fn live(&mut self) -> anyhow::Result<()> {
        for id in 1..=self.options.nodes {
            self.start(id)?;
        }
        if !self.become_ready().await? {
            return Ok(());
        }
        let pids: Vec<u32> = self.alive.values().copied().collect();
        console::banner(&self.layout, &pids);
        loop {
            match self.next().await {
                Next::Stop => return Ok(()),
                Next::Restart(id) => {
                    self.restarts.remove(&id);
                    self.start(id)?;
                    console::say(&format!("node {id} starts again (pid {})", self.alive.get(&id).copied().unwrap_or_default()));
                }
                Next::Exited(exit) => {
                    self.bury(&exit);
                    if self.alive.is_empty() && self.restarts.is_empty() {
                        bail!("all nodes have ended");
                    }
                }
            }
        }
    }

    fn start(&mut self, id: u16) -> anyhow::Result<()> {
        let place = self.layout.places.get(usize::from(id) - 1).context("no such node")?;
        let pid = child::start(place, &self.layout.peers(), &self.options, &self.stop, &self.exits)?;
        self.alive.insert(id, pid);
        card::write(&self.layout, &self.alive, self.options.restart)
    }

    /// Waits until all nodes are ready; false if somebody stops the cluster before.
    async fn become_ready(&mut self) -> anyhow::Result<bool> {
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            let mut waits = Vec::new();
            for place in &self.layout.places {
                match probe::get(place.http, "/readyz").await {
                    Ok(answer) if answer.status == 200 => {}
                    Ok(answer) => waits.push(format!("node {}:\n{}", place.id, answer.body.trim_end())),
                    Err(error) => waits.push(format!("node {}: {error}", place.id)),
                }
            }
            if waits.is_empty() {
                return Ok(true);
            }
            if Instant::now() > deadline {
                bail!("not ready after {} s:\n{}", READY_PATIENCE.as_secs(), waits.join("\n"));
            }
            let next = tokio::select! {
                next = self.next() => next,
                () = sleep(READY_INTERVAL) => continue,
            };
            match next {
                Next::Stop => return Ok(false),
                Next::Restart(_) => {}
                Next::Exited(exit) => {
                    let log =
                        self.layout.places.get(usize::from(exit.id) - 1).map(|place| place.log.display().to_string()).unwrap_or_default();
                    self.alive.remove(&exit.id);
                    bail!("node {} ended while it started ({}); its log is {log}", exit.id, describe(&exit));
                }
            }
        }
    }

    async fn next(&mut self) -> Next {
        let restart = self.restarts.iter().min_by_key(|(_, at)| **at).map(|(id, at)| (*id, *at));
        tokio::select! {
            Some(exit) = self.exited.recv() => Next::Exited(exit),
            _ = self.signals.0.recv() => Next::Stop,
            _ = self.signals.1.recv() => Next::Stop,
            id = wait_for_restart(restart) => Next::Restart(id),
        }
    }

    fn bury(&mut self, exit: &Exited) {
        self.alive.remove(&exit.id);
        if let Err(error) = card::write(&self.layout, &self.alive, self.options.restart) {
            console::say(&format!("{error:#}"));
        }
        let more = if self.options.restart {
            self.restarts.insert(exit.id, Instant::now() + RESTART_DELAY);
            format!("starts again in {} s", RESTART_DELAY.as_secs())
        } else {
            format!("{} of {} nodes go on", self.alive.len(), self.options.nodes)
        };
        console::say(&format!("node {} ended ({}); {more}", exit.id, describe(exit)));
    }

    /// Stops all nodes: in order, and at once if that takes too long or somebody insists.
    async fn stop(&mut self) {
        if !self.alive.is_empty() {
            console::say("stops all nodes");
        }
        self.stop.in_order.cancel();
        let patience = time::sleep(STOP_PATIENCE);
        tokio::pin!(patience);
        while !self.alive.is_empty() {
            tokio::select! {
                Some(exit) = self.exited.recv() => {
                    self.alive.remove(&exit.id);
                    if !exit.status.as_ref().is_ok_and(std::process::ExitStatus::success) {
                        console::say(&format!("node {} did not stop in order ({})", exit.id, describe(&exit)));
                    }
                }
                _ = self.signals.0.recv() => self.stop.at_once.cancel(),
                _ = self.signals.1.recv() => self.stop.at_once.cancel(),
                () = &mut patience, if !self.stop.at_once.is_cancelled() => {
                    console::say("some nodes take too long; kills them");
                    self.stop.at_once.cancel();
                }
            }
        }
    }
}

async fn wait_for_restart(restart: Option<(u16, Instant)>) -> u16 {
    match restart {
        Some((id, at)) => {
            sleep_until(at).await;
            id
        }
        None => std::future::pending().await,
    }
}

fn describe(exit: &Exited) -> String {
    match &exit.status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => status.to_string(),
        },
        Err(error) => error.to_string(),
    }
}
