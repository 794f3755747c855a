//! Does to the world what the plan says, when it says so.

use std::{collections::BTreeMap, time::Duration};

use quorus_raft::NodeId;

use super::{
    links::Effect,
    net,
    plan::{CLOCK_JUMP, Planned, Target, What},
    scene,
    world::{KEEPS_ALL, World},
};
use crate::record::{Fault, FaultPhase};

/// Faults to come, and those in force.
pub(super) struct Nemesis {
    /// When the first fault's clock began to run.
    began: Duration,
    coming: Vec<Planned>,
    in_force: BTreeMap<u64, InForce>,
}

struct InForce {
    until: Duration,
    kind: &'static str,
    targets: Vec<String>,
    /// Hosts that come back when it is over.
    down: Vec<String>,
}

/// What a fault led to when it began.
enum Begun {
    /// It is in force, on these; these hosts are down until it is over.
    Lasting(Vec<String>, Vec<String>),
    /// It could not be.
    Not(String),
}

impl Nemesis {
    /// Begins now. `only` leaves out all faults but these.
    pub(super) fn new(world: &World, only: Option<&[u64]>) -> Self {
        let chosen = |fault: &&Planned| only.is_none_or(|only| only.contains(&fault.id));
        let mut coming: Vec<Planned> = world.scene.faults.iter().filter(chosen).cloned().collect();
        coming.sort_by_key(|fault| std::cmp::Reverse((fault.at, fault.id)));
        Self { began: world.elapsed(), coming, in_force: BTreeMap::new() }
    }

    /// Begins and ends what is due.
    pub(super) fn look(&mut self, world: &mut World) {
        let now = world.elapsed();
        while let Some((id, fault)) = self.in_force.iter().find(|(_, fault)| fault.until <= now).map(|(id, fault)| (*id, fault.kind)) {
            self.end(world, id, fault);
        }
        while self.coming.last().is_some_and(|next| self.began + next.at <= now) {
            if let Some(next) = self.coming.pop() {
                self.begin(world, &next);
            }
        }
    }

    /// Ends everything: from here on the world is good.
    pub(super) fn heal(&mut self, world: &mut World) {
        self.coming.clear();
        while let Some((id, kind)) = self.in_force.iter().next().map(|(id, fault)| (*id, fault.kind)) {
            self.end(world, id, kind);
        }
        for host in world.scene.hosts() {
            world.bring_back(&host);
        }
    }

    fn end(&mut self, world: &mut World, id: u64, kind: &str) {
        let Some(fault) = self.in_force.remove(&id) else { return };
        world.links.clear(id);
        world.apply_links();
        for host in &fault.down {
            world.bring_back(host);
        }
        if kind == CLOCK_JUMP {
            for (node, machine) in world.machines.iter().filter(|(node, _)| fault.targets.contains(&net::host(**node))) {
                machine.clock.set(offset(world, *node));
            }
        }
        tell(world, id, kind, fault.targets, FaultPhase::Healed, Vec::new(), String::new());
    }

    fn begin(&mut self, world: &mut World, planned: &Planned) {
        let leaders = world.leaders();
        let begun = carry_out(world, planned, &leaders);
        let kind = planned.what.kind();
        match begun {
            Begun::Not(why) => tell(world, planned.id, kind, Vec::new(), FaultPhase::Skipped, Vec::new(), why),
            Begun::Lasting(targets, down) => {
                let led = |target: &String| {
                    leaders.iter().filter(|(_, node)| net::host(**node) == *target).map(|(shard, _)| *shard).collect::<Vec<_>>()
                };
                let led_shards = targets.iter().flat_map(led).collect();
                tell(world, planned.id, kind, targets.clone(), FaultPhase::Installed, led_shards, format!("{:?}", planned.what));
                let until = world.elapsed() + planned.lasts;
                self.in_force.insert(planned.id, InForce { until, kind, targets, down });
            }
        }
    }
}

/// How far a node's clock is off at the beginning.
fn offset(world: &World, node: NodeId) -> i64 {
    world.scene.offsets.get(&node).copied().unwrap_or_default()
}

fn tell(world: &World, id: u64, kind: &str, targets: Vec<String>, phase: FaultPhase, led_shards: Vec<u32>, note: String) {
    let at_us = u64::try_from(world.elapsed().as_micros()).unwrap_or(u64::MAX);
    world.story.fault(Fault { id, kind: kind.to_owned(), targets, phase, at_us, led_shards, note });
}

fn carry_out(world: &mut World, planned: &Planned, leaders: &BTreeMap<u32, NodeId>) -> Begun {
    let nodes = world.scene.nodes;
    let resolve = |target: &Target| match target {
        Target::Node(node) => *node,
        Target::Leader(shard) => leaders.get(shard).copied().unwrap_or(1 + planned.id % nodes),
    };
    match &planned.what {
        What::Kill(node) => lose(world, &[resolve(node)], KEEPS_ALL),
        What::PowerLoss(node, kept) => lose(world, &[resolve(node)], *kept),
        What::PowerLossAll(kept) => lose(world, &(1..=nodes).collect::<Vec<_>>(), *kept),
        What::Drain(node) => {
            let node = resolve(node);
            if !world.is_up(&net::host(node)) {
                return Begun::Not("it is down".to_owned());
            }
            world.stop_in_order(node);
            Begun::Lasting(vec![net::host(node)], Vec::new())
        }
        What::DiskFails(node) => {
            let node = resolve(node);
            if !world.is_up(&net::host(node)) {
                return Begun::Not("it is down".to_owned());
            }
            world.disk(node).fail_writes();
            Begun::Lasting(vec![net::host(node)], Vec::new())
        }
        What::ClockOffset(node, offset_ms) => {
            let node = resolve(node);
            world.machines[&node].clock.set(*offset_ms);
            Begun::Lasting(vec![net::host(node)], Vec::new())
        }
        What::ClockJump(node, by_ms) => {
            let node = resolve(node);
            world.machines[&node].clock.set(by_ms.saturating_add(offset(world, node)));
            Begun::Lasting(vec![net::host(node)], Vec::new())
        }
        What::Overload => {
            world.crowd.comes(planned.id, world.elapsed() + planned.lasts);
            Begun::Lasting((1..=nodes).map(net::host).collect(), Vec::new())
        }
        What::WorkerKill(worker) => {
            let host = scene::worker(*worker);
            if !world.is_up(&host) {
                return Begun::Not("it is down".to_owned());
            }
            world.take_down(&host, None);
            Begun::Lasting(vec![host.clone()], vec![host])
        }
        What::Isolate { node, from_all } => {
            let node = resolve(node);
            let others = if *from_all { world.scene.hosts() } else { (1..=nodes).map(net::host).collect() };
            around(world, planned.id, &net::host(node), &others, Effect::Cut)
        }
        What::Pause(node) => {
            let (host, others) = (net::host(resolve(node)), world.scene.hosts());
            around(world, planned.id, &host, &others, Effect::Hold)
        }
        What::Slow(node, by) => {
            let (host, others) = (net::host(resolve(node)), world.scene.hosts());
            around(world, planned.id, &host, &others, Effect::Slow(*by))
        }
        What::WorkerCut(worker) => {
            let others: Vec<String> = (1..=nodes).map(net::host).collect();
            around(world, planned.id, &scene::worker(*worker), &others, Effect::Cut)
        }
        What::WorkerPause(worker) => {
            let others: Vec<String> = (1..=nodes).map(net::host).collect();
            around(world, planned.id, &scene::worker(*worker), &others, Effect::Hold)
        }
        What::WorkerCutFrom(worker, node) => around(world, planned.id, &scene::worker(*worker), &[net::host(resolve(node))], Effect::Cut),
        What::Partial(a, b) => {
            let (a, b) = two(resolve(a), *b, nodes);
            let begun = around(world, planned.id, &net::host(a), &[net::host(b)], Effect::Cut);
            with_targets(begun, vec![format!("link-{a}-{b}"), format!("link-{b}-{a}")])
        }
        What::OneWay(from, to) => {
            let (from, to) = two(resolve(from), *to, nodes);
            world.links.set(planned.id, vec![((net::host(from), net::host(to)), Effect::Cut)]);
            world.apply_links();
            Begun::Lasting(vec![format!("link-{from}-{to}")], Vec::new())
        }
        What::Partition(sides) => {
            let side = |node: u64| sides >> (node - 1) & 1;
            let across =
                |a: u64| (1..=nodes).filter(move |b| side(a) != side(*b)).map(move |b| ((net::host(a), net::host(b)), Effect::Cut));
            world.links.set(planned.id, (1..=nodes).flat_map(across).collect());
            world.apply_links();
            Begun::Lasting((1..=nodes).filter(|node| side(*node) == 1).map(net::host).collect(), Vec::new())
        }
    }
}

fn with_targets(begun: Begun, targets: Vec<String>) -> Begun {
    match begun {
        Begun::Lasting(_, down) => Begun::Lasting(targets, down),
        not => not,
    }
}

/// The second is another than the first.
fn two(a: NodeId, b: NodeId, nodes: u64) -> (NodeId, NodeId) {
    if a == b { (a, 1 + b % nodes) } else { (a, b) }
}

fn around(world: &mut World, fault: u64, host: &str, others: &[String], effect: Effect) -> Begun {
    let others = others.iter().filter(|other| *other != host);
    let both = |other: &String| [((host.to_owned(), other.clone()), effect), ((other.clone(), host.to_owned()), effect)];
    world.links.set(fault, others.flat_map(both).collect());
    world.apply_links();
    Begun::Lasting(vec![host.to_owned()], Vec::new())
}

/// Ends nodes at once; their disks keep so many of the batches that were not synced.
fn lose(world: &mut World, nodes: &[NodeId], kept: usize) -> Begun {
    let hosts: Vec<(NodeId, String)> = nodes.iter().map(|node| (*node, net::host(*node))).filter(|(_, host)| world.is_up(host)).collect();
    if hosts.is_empty() {
        return Begun::Not("it is down".to_owned());
    }
    for (node, host) in &hosts {
        world.take_down(host, None);
        let disk = world.disk(*node);
        let unsynced = disk.unsynced_batches();
        disk.crash_keeping(kept);
        world.story.note(format_args!("{host} is gone; of {unsynced} unsynced batches {} were kept", kept.min(unsynced)));
    }
    let hosts: Vec<String> = hosts.into_iter().map(|(_, host)| host).collect();
    Begun::Lasting(hosts.clone(), hosts)
}
