//! Faults as a seed plans them.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    dice::Dice,
    scene::{OFFSET_MAX_MS, Scene},
};

/// A fault to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Its number in the plan; stays when others are left out.
    pub(super) id: u64,
    /// When it begins, after the cluster is up.
    pub(super) at: Duration,
    /// How long it lasts.
    pub(super) lasts: Duration,
    /// What it is.
    pub(super) what: What,
}

/// A node that a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// This one.
    Node(u64),
    /// The one that leads this shard when the fault begins.
    Leader(u32),
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The process dies; what it wrote is there when it comes back.
    Kill(Target),
    /// The machine loses power, and of the writes that were not synced keeps so many.
    PowerLoss(Target, usize),
    /// All machines lose power at once.
    PowerLossAll(usize),
    /// The node is told to stop, stops in order, and comes back.
    Drain(Target),
    /// Nobody reaches the node, and it reaches nobody; or only the other nodes are out of reach.
    Isolate {
        /// Which.
        node: Target,
        /// Clients and workers, too.
        from_all: bool,
    },
    /// The nodes fall into two parts; a bit per node says which.
    Partition(u64),
    /// What one node says does not reach another.
    OneWay(Target, u64),
    /// Two nodes don't reach each other.
    Partial(Target, u64),
    /// The node stands still, as far as others can see: nothing goes in or out, and all of it later.
    Pause(Target),
    /// All that goes to and from the node takes so long.
    Slow(Target, Duration),
    /// Writes fail. The node must stop by itself, and comes back with a good disk.
    DiskFails(Target),
    /// The clock is off by so many milliseconds from here on, within the bound.
    ClockOffset(Target, i64),
    /// The clock is off by far more than the bound, until the fault is over.
    ClockJump(Target, i64),
    /// Far too many clients come.
    Overload,
    /// A worker dies with all that it was doing, and another incarnation comes back.
    WorkerKill(u64),
    /// A worker reaches no node.
    WorkerCut(u64),
    /// A worker does not reach one node.
    WorkerCutFrom(u64, Target),
    /// A worker stands still.
    WorkerPause(u64),
}

impl What {
    /// As the catalogue of faults names it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::PowerLoss(..) => "power-loss",
            Self::PowerLossAll(_) => "power-loss-all",
            Self::Drain(_) => "drain",
            Self::Isolate { .. } => "isolate",
            Self::Partition(_) => "partition",
            Self::OneWay(..) => "one-way",
            Self::Partial(..) => "partial",
            Self::Pause(_) => "pause",
            Self::Slow(..) => "slow",
            Self::DiskFails(_) => "disk-fails",
            Self::ClockOffset(..) => "clock-offset",
            Self::ClockJump(..) => CLOCK_JUMP,
            Self::Overload => OVERLOAD,
            Self::WorkerKill(_) => "worker-kill",
            Self::WorkerCut(_) => "worker-cut",
            Self::WorkerCutFrom(..) => "worker-cut-from",
            Self::WorkerPause(_) => "worker-pause",
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.1?} for {:.1?}: {} {:?}", self.id, self.at, self.lasts, self.what.kind(), self.what)
    }
}

/// As the catalogue names a clock outside of the bound.
pub(super) const CLOCK_JUMP: &str = "clock-jump";
/// As the catalogue names too many clients.
pub(super) const OVERLOAD: &str = "overload";

const OF_NODES: [&str; 12] = [
    "kill",
    "power-loss",
    "power-loss-all",
    "drain",
    "isolate",
    "partition",
    "one-way",
    "partial",
    "pause",
    "slow",
    "disk-fails",
    "clock-offset",
];
const OF_WORKERS: [&str; 4] = ["worker-kill", "worker-cut", "worker-cut-from", "worker-pause"];

/// After the last fault there is some time left for its consequences.
const QUIET_END: Duration = Duration::from_secs(5);
/// No fault of a gentle run lasts longer: with an election and new connections after it, it ends well before a lease of 30 s.
const GENTLE_MS: u64 = 6_000;
/// Between two faults of a gentle run leases are renewed.
const GENTLE_GAP_MS: u64 = 15_000;

/// The faults of a run.
pub(super) fn draw(scene: &Scene) -> Vec<Planned> {
    let mut dice = Dice::new(scene.seed, "faults");
    let mut kinds: BTreeMap<&str, ()> = OF_NODES.iter().filter(|_| dice.percent(45)).map(|kind| (*kind, ())).collect();
    if !scene.gentle {
        kinds.extend(OF_WORKERS.iter().filter(|_| dice.percent(45)).map(|kind| (*kind, ())));
    }
    if kinds.is_empty() {
        kinds.insert(OF_NODES[scene.seed as usize % OF_NODES.len()], ());
    }
    let kinds: Vec<&str> = kinds.into_keys().collect();
    let pace = dice.between(5_000, 25_000);
    let (mut faults, mut at) = (Vec::new(), Duration::from_millis(dice.between(1_000, 8_000)));
    for id in 1.. {
        let (lasts, pause) = if scene.gentle {
            let lasts = dice.between(300, GENTLE_MS);
            (lasts, lasts + GENTLE_GAP_MS + dice.around(pace))
        } else {
            (dice.around(pace).clamp(200, 45_000), dice.around(pace))
        };
        let lasts = Duration::from_millis(lasts);
        if at + lasts + QUIET_END > scene.turmoil {
            break;
        }
        faults.push(Planned { id, at, lasts, what: what(dice.pick::<&str>(&kinds), scene, &mut dice) });
        at += Duration::from_millis(pause);
    }
    faults.extend(clock_jumps(scene, faults.len() as u64 + 1));
    faults.extend(overloads(scene, faults.len() as u64 + 1));
    faults
}

/// Crowds beside the other faults, from a stream of its own.
fn overloads(scene: &Scene, first: u64) -> Vec<Planned> {
    let mut dice = Dice::new(scene.seed, "crowds");
    if scene.gentle || !dice.percent(50) {
        return Vec::new();
    }
    let (mut overloads, mut at) = (Vec::new(), Duration::from_millis(dice.between(5_000, 40_000)));
    for id in first.. {
        let lasts = Duration::from_millis(dice.between(1_000, 8_000));
        if at + lasts + QUIET_END > scene.turmoil {
            break;
        }
        overloads.push(Planned { id, at, lasts, what: What::Overload });
        at += lasts + Duration::from_millis(dice.between(30_000, 120_000));
    }
    overloads
}

/// How far a clock jumps, in milliseconds: wherever clocks within the bound are, it is outside.
const JUMPS_MS: [i64; 5] = [1_500, 5_000, 30_000, 600_000, 86_400_000];

/// Clocks outside of the bound beside the other faults, from a stream of its own. One at a time: what most nodes say is the time.
fn clock_jumps(scene: &Scene, first: u64) -> Vec<Planned> {
    let mut dice = Dice::new(scene.seed, "clock jumps");
    if scene.gentle || !dice.percent(40) {
        return Vec::new();
    }
    let (mut jumps, mut at) = (Vec::new(), Duration::from_millis(dice.between(2_000, 30_000)));
    for id in first.. {
        let lasts = Duration::from_millis(dice.between(500, 40_000));
        if at + lasts + QUIET_END > scene.turmoil {
            break;
        }
        let by = *dice.pick(&JUMPS_MS) * if dice.percent(50) { 1 } else { -1 };
        jumps.push(Planned { id, at, lasts, what: What::ClockJump(node(scene, &mut dice), by) });
        at += lasts + Duration::from_millis(dice.between(5_000, 60_000));
    }
    jumps
}

/// Any node, or whoever leads.
fn node(scene: &Scene, dice: &mut Dice) -> Target {
    if dice.percent(50) {
        Target::Leader(u32::try_from(dice.between(0, scene.shards.into())).unwrap_or(0))
    } else {
        Target::Node(dice.between(1, scene.nodes))
    }
}

fn what(kind: &str, scene: &Scene, dice: &mut Dice) -> What {
    let node = |dice: &mut Dice| node(scene, dice);
    let kept = |dice: &mut Dice| if dice.percent(50) { 0 } else { dice.between(1, 12) as usize };
    match kind {
        "kill" => What::Kill(node(dice)),
        "power-loss" => What::PowerLoss(node(dice), kept(dice)),
        "power-loss-all" => What::PowerLossAll(kept(dice)),
        "drain" => What::Drain(node(dice)),
        "isolate" => What::Isolate { node: node(dice), from_all: dice.percent(50) },
        "partition" => What::Partition(dice.between(1, (1 << scene.nodes) - 2)),
        "one-way" => What::OneWay(node(dice), dice.between(1, scene.nodes)),
        "partial" => What::Partial(node(dice), dice.between(1, scene.nodes)),
        "pause" => What::Pause(node(dice)),
        "slow" => What::Slow(node(dice), Duration::from_millis(dice.between(50, 1500))),
        "disk-fails" => What::DiskFails(node(dice)),
        "clock-offset" => What::ClockOffset(node(dice), dice.between(0, 2 * OFFSET_MAX_MS.unsigned_abs()).cast_signed() - OFFSET_MAX_MS),
        "worker-kill" => What::WorkerKill(dice.between(1, scene.workers)),
        "worker-cut" => What::WorkerCut(dice.between(1, scene.workers)),
        "worker-cut-from" => What::WorkerCutFrom(dice.between(1, scene.workers), node(dice)),
        _ => What::WorkerPause(dice.between(1, scene.workers)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed_and_ends_before_the_turmoil_does() {
        for seed in 0..200 {
            let scene = Scene::draw(seed, Duration::from_secs(300));
            assert_eq!(scene.faults, Scene::draw(seed, Duration::from_secs(300)).faults);
            assert!(!scene.faults.is_empty(), "seed {seed}");
            assert!(scene.faults.iter().all(|fault| fault.at + fault.lasts < scene.turmoil));
            assert!(scene.faults.windows(2).all(|two| two[0].id < two[1].id), "numbers name faults");
            let jumps: Vec<_> = scene.faults.iter().filter(|fault| fault.what.kind() == CLOCK_JUMP).collect();
            assert!(jumps.windows(2).all(|two| two[0].at + two[0].lasts < two[1].at), "two of three clocks would be wrong");
            if scene.gentle {
                assert!(scene.faults.windows(2).all(|two| two[0].at + two[0].lasts + Duration::from_millis(GENTLE_GAP_MS) <= two[1].at));
                assert!(!scene.faults.iter().any(|fault| fault.what.kind().starts_with("worker")));
            }
        }
    }
}
