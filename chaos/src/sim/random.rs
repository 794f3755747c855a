//! Random workflows with a foreseen end, as a second load beside [`super::work`]: those of [`crate::workload`], driven by a host of its own.
//!
//! Swarm testing here, too: a seed draws whether it has any, which kinds of steps there are, how long attempts take, and how often people interfere. How
//! much it has is bounded by what its tasks would be if nothing failed, so that no seed takes much longer than others.
//!
//! Left out, since they would have no end that the simulation could wait for or no world around: steps that call what is outside of the cluster, and runs
//! that need attention while others wait for their concurrency key.
//!
//! Invariant: all of it is drawn before the run begins, from streams of its own, so a seed without it is as it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    dice::Dice,
    scene::Scene,
    site::{self, SimulatedSite},
    story::Story,
};
use crate::{
    record::{Call, Ending, Evidence, Operation},
    workload::{
        driver::{self, Manner, Progress},
        mix::{Mix, Weights},
        model::{Definition, Kind, Step},
        plan::Catalogue,
        recorder::Recorder,
        runs::{self, Load, RunPlan},
    },
};

/// The host of the driver.
pub(super) const HOST: &str = "driver";

/// Where the workers of the simulation look for work.
const QUEUE: &str = "default";
/// How many of a hundred seeds have random workflows.
const SEEDS_PERCENT: u64 = 70;
/// Tasks of a simulated minute, if nothing fails.
const TASKS_A_MINUTE: u64 = 100;
/// Tasks of a run that is started at all; one that is larger would be most of what a seed does.
const TASKS_OF_A_RUN: u64 = 40;
/// Runs among which those that fit are looked for.
const CANDIDATES: u64 = 400;
/// A run may take as long as the simulation: whether it stands still is judged there.
const RUN_PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// How often the workflows are applied anew, if a fault kept all tries of the driver from it.
const APPLIES: u32 = 20;

/// The random load of a seed.
pub(super) struct Random {
    catalogue: Arc<Catalogue>,
    runs: Vec<RunPlan>,
    manner: Manner,
    recorder: Recorder,
    seed: u64,
    kinds: Vec<&'static str>,
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (runs, workflows) = (self.runs.len(), self.catalogue.workflows.len());
        write!(f, "{runs} random runs of {workflows} workflows with {}", self.kinds.join(", "))
    }
}

impl Random {
    /// What the seed has, if any.
    ///
    /// # Errors
    /// If a workflow can't be written down.
    pub(super) fn draw(scene: &Scene, story: &Story) -> anyhow::Result<Option<Self>> {
        let mut dice = Dice::new(scene.seed, "random");
        if !dice.percent(SEEDS_PERCENT) {
            return Ok(None);
        }
        let mut mix = draw_mix(&mut dice);
        let catalogue = Catalogue::draw(&mix, scene.seed, QUEUE)?;
        let budget = (TASKS_A_MINUTE * scene.turmoil.as_secs()).div_ceil(60);
        let mut runs = affordable(&catalogue, runs::draw(&catalogue, &mix, scene.seed, CANDIDATES, Load::at_rate(1.0)), budget);
        if runs.is_empty() {
            return Ok(None);
        }
        spread(&mut runs, scene.turmoil);
        let manner = Manner {
            load: Load::at_rate(1.0),
            run_patience: RUN_PATIENCE,
            look_ms: (500, 4_000),
            readers: 0,
            stale: if dice.percent(50) { 0.0 } else { 0.3 },
            ..Manner::default()
        };
        let recorder = Recorder::new(site::clock()).watched(watcher(story.clone()));
        let kinds = kinds(&mut mix.weights).into_iter().filter(|(_, weight)| **weight > 0).map(|(name, _)| name).collect();
        Ok(Some(Self { catalogue: Arc::new(catalogue), runs, manner, recorder, seed: scene.seed, kinds }))
    }

    /// Adds what its workflows promise, what its clients asked under names that nobody else has, and what went wrong with itself.
    pub(super) fn add_to(&self, evidence: &mut Evidence) {
        evidence.shapes.append(&mut self.catalogue.shapes());
        let own = self.recorder.operations();
        let started = own.iter().filter(|operation| matches!(operation.call, Call::Start { .. })).count();
        evidence.operations.extend(own.into_iter().map(|operation| Operation { client: client(&operation), ..operation }));
        evidence.operations.sort_by(|a, b| (a.invoked_us, &a.client).cmp(&(b.invoked_us, &b.client)));
        for (id, operation) in (1..).zip(&mut evidence.operations) {
            operation.id = id;
        }
        evidence.harness_errors.append(&mut self.recorder.harness_errors());
        if started < self.runs.len() {
            evidence.harness_errors.push(format!("only {started} of {} random runs were started", self.runs.len()));
        }
    }
}

/// A name of a client of the driver.
fn client(operation: &Operation) -> String {
    format!("{HOST}/{}", operation.client)
}

/// Drives them all, and stays.
pub(super) async fn run(random: Arc<Random>, scene: Arc<Scene>, story: Story) -> turmoil::Result {
    let site = Arc::new(SimulatedSite::new(scene)?);
    for again in 1..=APPLIES {
        let (runs, manner) = (random.runs.clone(), random.manner.clone());
        let driven = driver::drive(
            site.clone(),
            random.recorder.clone(),
            random.catalogue.clone(),
            runs,
            random.seed,
            manner,
            Arc::<Progress>::default(),
        );
        // It only fails before it starts the first run.
        match driven.await {
            Ok(_) => break,
            Err(error) if again == APPLIES => random.recorder.harness_error(format!("the random workflows were never started: {error:#}")),
            Err(error) => story.note(format_args!("{HOST} can't apply the workflows yet: {error:#}")),
        }
    }
    story.note(format_args!("{HOST} has nothing more to do"));
    story.client_done();
    std::future::pending().await
}

/// Writes what the driver does into the log, but for looks that show nothing new: a log that does not grow means that nothing happens.
fn watcher(story: Story) -> impl Fn(&Operation) + Send + Sync + 'static {
    let (sequences, failures) = (Mutex::new(BTreeMap::<String, u64>::new()), Mutex::new(BTreeSet::<String>::new()));
    move |operation| {
        let is_news = match (&operation.call, &operation.ending) {
            (Call::Get { run_id, .. }, Some(Ending::Ok(answer))) => {
                let mut sequences = sequences.lock();
                let known = sequences.entry(run_id.clone()).or_default();
                answer.sequence > std::mem::replace(known, answer.sequence.max(*known))
            }
            (Call::Get { run_id, .. }, ending) => failures.lock().insert(format!("{run_id} {ending:?}")),
            _ => true,
        };
        if is_news {
            story.note(format_args!("{} {:?} -> {:?}", client(operation), operation.call, operation.ending));
        }
    }
}

/// Kinds of steps that a mix can do without, by name.
fn kinds(weights: &mut Weights) -> [(&'static str, &mut u32); 10] {
    let Weights { task: _, wait, set, signal, silence, approval, group, for_each, repeat, child, fail } = weights;
    [
        ("wait", wait),
        ("set", set),
        ("signal", signal),
        ("silence", silence),
        ("approval", approval),
        ("group", group),
        ("for_each", for_each),
        ("repeat", repeat),
        ("child", child),
        ("fail", fail),
    ]
}

/// What runs of the seed are made of.
fn draw_mix(dice: &mut Dice) -> Mix {
    let base = if dice.percent(50) { Mix::small() } else { Mix::normal() };
    let mut weights = base.weights;
    for (_, weight) in kinds(&mut weights) {
        // What is there is there more often than in a mix of everything.
        *weight = if dice.percent(65) { *weight * 2 } else { 0 };
    }
    let mut of = |choices: &[f64]| *dice.pick(choices);
    let (cancels, terminates, pauses) = (of(&[0.0, 0.05, 0.25]), of(&[0.0, 0.0, 0.1]), of(&[0.0, 0.05, 0.25]));
    let (final_failures, transient_failures) = (of(&[0.0, 0.02, 0.08]), of(&[0.0, 0.15, 0.4]));
    let (compensated, finally) = (of(&[0.2, 0.5, 0.9]), of(&[0.0, 0.3, 0.7]));
    // A run that needs attention keeps its concurrency key, and who waits for that would wait for ever.
    let (bounded, held, broken_compensations) = if dice.percent(50) { (0.4, 0.0, 0.0) } else { (0.0, 0.05, 0.02) };
    let task_ms = *dice.pick(&[(0, 30), (0, 150), (0, 1_500), (300, 5_000)]);
    Mix {
        workflows: dice.between(2, 6) as u32,
        children: dice.between(1, 2) as u32,
        weights,
        task_ms,
        items: (2, 6),
        iterations: (1, 3),
        final_failures,
        transient_failures,
        compensated,
        broken_compensations,
        bounded,
        held,
        finally,
        cancels,
        terminates,
        pauses,
        ..base
    }
}

/// As many of the runs, in their order, as the budget of tasks allows.
fn affordable(catalogue: &Catalogue, runs: Vec<RunPlan>, budget: u64) -> Vec<RunPlan> {
    let mut left = budget;
    let mut chosen = Vec::new();
    for run in runs {
        let tasks = catalogue.get(&run.workflow).map_or(u64::MAX, |planned| tasks(&planned.definition, catalogue));
        if tasks > TASKS_OF_A_RUN {
            continue;
        }
        let Some(rest) = left.checked_sub(tasks.max(1)) else { break };
        left = rest;
        chosen.push(run);
    }
    chosen
}

/// Tasks of a run, those of its children included, if nothing fails.
fn tasks(definition: &Definition, catalogue: &Catalogue) -> u64 {
    let of = |(step, times): (&Step, u32)| match &step.kind {
        Kind::Task(_) => u64::from(times),
        Kind::Child { workflow, .. } => {
            u64::from(times) * catalogue.get(workflow).map_or(1, |child| tasks(&child.definition, &Catalogue::default()))
        }
        _ => 0,
    };
    definition.walk().into_iter().map(of).sum::<u64>() + definition.finally.len() as u64
}

/// Spreads the starts over the time of the faults, as unevenly as they came.
fn spread(runs: &mut [RunPlan], turmoil: Duration) {
    let last = runs.iter().map(|run| run.at_ms).max().unwrap_or_default().max(1);
    let span = u64::try_from(turmoil.as_millis()).unwrap_or(u64::MAX / 1_000_000).saturating_mul(85) / 100;
    for run in runs {
        run.at_ms = run.at_ms * span / last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(seed: u64) -> Option<Random> {
        Random::draw(&Scene::draw(seed, Duration::from_secs(180)), &Story::default()).unwrap()
    }

    #[test]
    fn a_random_load_follows_from_its_seed_and_stays_within_its_budget() {
        let drawn: Vec<Option<Random>> = (0..60).map(random).collect();
        let some: Vec<&Random> = drawn.iter().flatten().collect();
        assert!(some.len() > 25 && some.len() < 60, "{}", some.len());
        let mut kinds = BTreeSet::new();
        for random in some {
            let sum: u64 =
                random.runs.iter().map(|run| tasks(&random.catalogue.get(&run.workflow).unwrap().definition, &random.catalogue)).sum();
            assert!(sum <= 3 * TASKS_A_MINUTE, "{random}");
            assert!(random.runs.iter().all(|run| run.at_ms <= 153_000), "{random}");
            kinds.extend(random.runs.iter().flat_map(|run| {
                random
                    .catalogue
                    .get(&run.workflow)
                    .unwrap()
                    .definition
                    .walk()
                    .into_iter()
                    .map(|(step, _)| step.kind.word())
                    .collect::<Vec<_>>()
            }));
        }
        assert_eq!(kinds.len(), 10, "{kinds:?}");
        let again = random(7);
        assert_eq!(again.map(|random| random.runs), drawn[7].as_ref().map(|random| random.runs.clone()));
    }
}
