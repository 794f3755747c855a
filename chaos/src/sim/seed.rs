//! One seed, one run: the cluster comes up, turmoil, healing, the end; then the verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use quorus_raft::disk::Disk;
use serde::{Deserialize, Serialize};

use super::{
    chance, crowd,
    harvest::{self, Standing},
    nemesis::Nemesis,
    random::Random,
    scene::{CLOCK_BOUND_MS, Scene},
    seen,
    story::Story,
    work,
    world::World,
};
use crate::{
    check::{self, Verdict},
    record::{Evidence, FaultPhase, evidence::Setup, folder::Folder},
};

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The seed.
    pub(super) seed: u64,
    /// How long turmoil lasts.
    pub(super) turmoil: Duration,
    /// Leaves out all faults but these.
    pub(super) only: Option<Vec<u64>>,
    /// Disks say that they synced, and did not: what a simulation that is worth something has to notice.
    pub(super) lying_disks: bool,
    /// Where evidence and log are written.
    pub(super) results: Option<PathBuf>,
}

/// What came out of a seed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// The seed.
    pub(super) seed: u64,
    /// How the cluster was made, for people.
    pub(super) scene: String,
    /// What is violated.
    pub(super) violations: Vec<String>,
    /// Why nothing was proven, if so.
    pub(super) unknown: Vec<String>,
    /// Faults that were installed, by kind.
    pub(super) faults: BTreeMap<String, u64>,
    /// Numbers of the planned faults.
    pub(super) planned: Vec<u64>,
    /// Runs by status.
    pub(super) runs: BTreeMap<String, u64>,
    /// Attempts that workers began.
    pub(super) attempts: u64,
    /// Operations, and how many of them nobody knows the end of.
    pub(super) operations: [u64; 2],
    /// Terms of the shards, summed: how often leaders changed.
    pub(super) terms: u64,
    /// Simulated seconds.
    pub(super) seconds: u64,
    /// What runs went through, by name.
    pub(super) seen: BTreeMap<String, u64>,
    /// First digits of the SHA-256 over the log.
    pub(super) digest: String,
}

/// How often the world is looked at while it runs.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a cluster may take to come up, with all clients.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long healing may take, however much there is to do.
const HEALS_WITHIN: Duration = Duration::from_secs(3600);
/// How long replicas may take to agree when nothing happens any more.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// Runs a seed on a thread of its own, so that everything on it is as the seed says.
///
/// # Errors
/// If the simulation itself failed.
pub(super) fn run(wanted: Wanted) -> anyhow::Result<Outcome> {
    let thread = std::thread::Builder::new().name("simulation".to_owned()).stack_size(16 << 20);
    let simulate = move || {
        chance::own_thread(wanted.seed);
        quorus_raft::seed_thread(Some(wanted.seed));
        simulate(&wanted)
    };
    thread.spawn(simulate)?.join().map_err(|_| anyhow::anyhow!("the simulation panicked"))?
}

fn simulate(wanted: &Wanted) -> anyhow::Result<Outcome> {
    let story = Story::default();
    let mut scene = Scene::draw(wanted.seed, wanted.turmoil);
    let random = Random::draw(&scene, &story)?.map(Arc::new);
    scene.driven = random.is_some();
    let scene = Arc::new(scene);
    let mut described = describe(&scene);
    if let Some(random) = &random {
        described.push_str(&format!("; {random}"));
    }
    story.note(&described);
    for fault in &scene.faults {
        story.note(format_args!("planned: {fault}"));
    }
    let mut world = World::new(scene.clone(), random.clone(), story.clone(), wanted.lying_disks);
    let mut outcome = Outcome { seed: wanted.seed, scene: described, ..Outcome::default() };
    outcome.planned = scene.faults.iter().map(|fault| fault.id).collect();

    if !run_until(&mut world, UP_WITHIN, |world| Ok(world.leaders().len() == world.scene.shards as usize))? {
        outcome.violations.push("ended: a cluster without faults did not come up".to_owned());
    }
    let mut watch = Watch::default();
    let mut nemesis = Nemesis::new(&world, wanted.only.as_deref());
    let turmoil_ends = world.elapsed() + scene.turmoil;
    while world.elapsed() < turmoil_ends {
        nemesis.look(&mut world);
        world.step()?;
        watch.look(&world, &mut outcome)?;
    }
    nemesis.heal(&mut world);
    let healed = world.elapsed();
    story.note("healing begins");
    let (mut known, mut since) = (0, healed);
    run_until(&mut world, HEALS_WITHIN, |world| {
        watch.look(world, &mut outcome)?;
        let length = world.story.look(|told| told.log.len());
        if length != known {
            (known, since) = (length, world.elapsed());
        }
        let done = world.story.look(|told| told.clients_done) >= world.scene.asking() && all_ended(world)?;
        if done {
            world.story.note("everything has ended");
        }
        Ok(done || world.elapsed() > since + world.scene.stands_still_after())
    })?;
    run_until(&mut world, SETTLES_WITHIN, agree)?;
    story.note("the end");

    let evidence = evidence(&world, random.as_deref(), healed)?;
    let judged = check::judge(&evidence);
    for invariant in judged.invariants.iter().filter(|invariant| invariant.verdict == Verdict::Violated) {
        let first = invariant.violations.first().map(|violation| violation.summary.as_str()).unwrap_or_default();
        outcome.violations.push(format!("{}: {} ({} in all), for example: {first}", invariant.id, invariant.title, invariant.violated));
    }
    outcome.unknown.extend(judged.reasons.iter().cloned());
    outcome.seen = seen::count(&evidence, &judged.coverage);
    summarise(&mut outcome, &evidence, &world);
    if let Some(results) = &wanted.results {
        let folder = Folder::create(results.join(format!("seed-{}", wanted.seed)))?;
        folder.write(&evidence)?;
        folder.write_json("results.json", &judged)?;
        let log = folder.file("events.log");
        world.story.look(|told| std::fs::write(&log, &told.log)).with_context(|| format!("writing {}", log.display()))?;
    }
    Ok(outcome)
}

fn describe(scene: &Scene) -> String {
    format!(
        "{} nodes, {} shards, {} workers, {} clients, lease {:?}, heartbeat {:?}, elections {:?} to {:?}, snapshot every {}, latency up to {:?}{}",
        scene.nodes,
        scene.shards,
        scene.workers,
        scene.clients,
        scene.lease,
        scene.raft.heartbeat,
        scene.raft.election_min,
        scene.raft.election_max,
        scene.snapshot_every,
        scene.latency_max,
        if scene.gentle { ", short faults of nodes alone" } else { "" }
    )
}

/// Runs until it is so, or the time is over; asks once a simulated second.
fn run_until(world: &mut World, within: Duration, mut done: impl FnMut(&World) -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let end = world.elapsed() + within;
    while world.elapsed() < end {
        let next = world.elapsed() + Duration::from_secs(1);
        while world.elapsed() < next {
            world.step()?;
        }
        if done(world)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True if every run that any replica knows has ended, as the replica of its shard that is furthest says.
fn all_ended(world: &World) -> anyhow::Result<bool> {
    Ok(harvest::open_runs(world)? == 0)
}

/// True if all replicas of each shard are equally far.
fn agree(world: &World) -> anyhow::Result<bool> {
    for shard in 0..=world.scene.shards {
        let mut standings = Vec::new();
        for machine in world.machines.values() {
            standings.extend(harvest::standing(&(machine.disk.clone() as Arc<dyn Disk>), shard)?);
        }
        if standings.windows(2).any(|two| two[0] != two[1]) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What must hold at any time, looked at now and then: replicas that applied the same index are the same.
#[derive(Default)]
struct Watch {
    next: Duration,
    seen: BTreeMap<(u32, u64), Standing>,
    /// Replicas that differ: once that is said, the same at every later index is no news.
    told: BTreeSet<(u64, u32)>,
}

impl Watch {
    fn look(&mut self, world: &World, outcome: &mut Outcome) -> anyhow::Result<()> {
        if world.elapsed() < self.next {
            return Ok(());
        }
        self.next = world.elapsed() + LOOK_EVERY;
        for (node, machine) in &world.machines {
            for shard in 0..=world.scene.shards {
                let Some(standing) = harvest::standing(&(machine.disk.clone() as Arc<dyn Disk>), shard)? else { continue };
                let known = self.seen.entry((shard, standing.index)).or_insert_with(|| standing.clone());
                if *known != standing && self.told.insert((*node, shard)) {
                    outcome.violations.push(format!("agreed: node {node} has another state of shard {shard} at index {}", standing.index));
                }
            }
        }
        Ok(())
    }
}

fn evidence(world: &World, random: Option<&Random>, healed: Duration) -> anyhow::Result<Evidence> {
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let setup = Setup {
        title: format!("simulation of seed {}", world.scene.seed),
        seed: world.scene.seed,
        commit: String::new(),
        simulated: true,
        lease_ms: u64::try_from(world.scene.lease.as_millis()).unwrap_or(u64::MAX),
        clock_bound_ms: CLOCK_BOUND_MS,
        starts_at_once: if world.scene.is_crowded() { world.scene.room() as u64 } else { 0 },
        healed_us: us(healed),
        exported_us: us(world.elapsed()),
        wall_at_zero_ms: chance::WALL_AT_ZERO_S.cast_signed() * 1000,
        expects: BTreeMap::new(),
    };
    let shapes = work::shapes().into_iter().chain([crowd::shape()]).collect();
    let mut evidence = Evidence { setup, shapes, replicas: harvest::replicas(world)?, ..Evidence::default() };
    world.story.look(|told| {
        (evidence.operations, evidence.ledger, evidence.faults) = (told.operations.clone(), told.ledger.clone(), told.faults.clone());
    });
    if let Some(random) = random {
        random.add_to(&mut evidence);
    }
    Ok(evidence)
}

fn summarise(outcome: &mut Outcome, evidence: &Evidence, world: &World) {
    for fault in evidence.faults.iter().filter(|fault| fault.phase == FaultPhase::Installed) {
        *outcome.faults.entry(fault.kind.clone()).or_default() += 1;
    }
    for run in evidence.histories().values() {
        *outcome.runs.entry(run.status.trim_start_matches("RUN_STATUS_").to_lowercase()).or_default() += 1;
    }
    outcome.attempts = evidence.ledger.iter().filter(|entry| entry.event == quorus_client::LedgerEvent::Begin).count() as u64;
    let unknown = evidence
        .operations
        .iter()
        .filter(|operation| !matches!(operation.ending, Some(crate::record::Ending::Ok(_) | crate::record::Ending::Fail { .. })));
    outcome.operations = [evidence.operations.len() as u64, unknown.count() as u64];
    let mut terms: BTreeMap<u32, u64> = BTreeMap::new();
    for replica in &evidence.replicas {
        let term = terms.entry(replica.shard).or_default();
        *term = (*term).max(replica.term);
    }
    outcome.terms = terms.values().sum();
    outcome.seconds = world.elapsed().as_secs();
    if outcome.operations[0] < 5 || outcome.attempts < 5 {
        outcome.unknown.push("almost nothing was done".to_owned());
    }
    outcome.digest = world.story.digest();
}
