//! Random workflows from a seed, each with its definition, its shape and its prediction.

use std::collections::BTreeMap;

use quorus_client::{content_digest, v1::Payload};
use serde_json::json;

use super::{
    mix::Mix,
    model::{Accept, Definition, Item, Kind, Need, Retry, RunOn, Step, Undo, Work},
    oracle::{self, Known},
    pace::{self, Paces},
    random::Rng,
    render, shape,
};
use crate::record::{Prediction, Shape};

/// A workflow with everything that belongs to it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// As the generator means it.
    pub definition: Definition,
    /// As the cluster is told.
    pub yaml: String,
    /// As the checker is told.
    pub shape: Shape,
    /// What comes out, by variant.
    pub predictions: Vec<Prediction>,
}

/// All workflows of a workload; children before those that use them.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Them.
    pub workflows: Vec<Planned>,
    /// How many of the first only exist to be children.
    pub children: usize,
}

impl Catalogue {
    /// Draws a catalogue. The same mix, seed and queue give the same.
    pub fn draw(mix: &Mix, seed: u64, queue: &str) -> anyhow::Result<Self> {
        let root = Rng::new(seed);
        let mut catalogue = Self::default();
        let mut known = Known::new();
        let mut usable: Vec<(String, u32)> = Vec::new();
        let mut paces = Paces::new();
        for number in 0..mix.children {
            let rng = root.fork("child", u64::from(number));
            let definition = Drawing { mix, rng, ids: 0, role: Role::Child, children: &[], paces: &paces }
                .definition(format!("chaos-{seed:x}-child-{number}"));
            let planned = Planned::new(definition, queue, &known)?;
            for (variant, prediction) in (0..).zip(&planned.predictions) {
                // A parent of a child that needs attention would wait for ever.
                if [oracle::RUN_SUCCEEDED, oracle::RUN_FAILED].contains(&prediction.status.as_str()) {
                    known.insert((planned.definition.name.clone(), variant), prediction.status.clone());
                    usable.push((planned.definition.name.clone(), variant));
                }
            }
            paces.insert(planned.definition.name.clone(), pace::longest_ms(&planned.definition, &Paces::new()));
            catalogue.workflows.push(planned);
        }
        catalogue.children = catalogue.workflows.len();
        for number in 0..mix.workflows {
            let rng = root.fork("workflow", u64::from(number));
            let definition = Drawing { mix, rng, ids: 0, role: Role::Root, children: &usable, paces: &paces }
                .definition(format!("chaos-{seed:x}-{number}"));
            catalogue.workflows.push(Planned::new(definition, queue, &known)?);
        }
        Ok(catalogue)
    }

    /// The workflows that runs are started of.
    pub fn startable(&self) -> &[Planned] {
        &self.workflows[self.children..]
    }

    /// A workflow by its name.
    pub fn get(&self, name: &str) -> Option<&Planned> {
        self.workflows.iter().find(|planned| planned.definition.name == name)
    }

    /// What the checker is told.
    pub fn shapes(&self) -> BTreeMap<String, Shape> {
        self.workflows.iter().map(|planned| (planned.shape.workflow.clone(), planned.shape.clone())).collect()
    }
}

impl Planned {
    /// Renders and predicts.
    pub fn new(definition: Definition, queue: &str, known: &Known) -> anyhow::Result<Self> {
        let predictions: Vec<Prediction> =
            (0..definition.variants.max(1)).map(|variant| oracle::predict(&definition, variant, known)).collect();
        let mut shape = shape::shape(&definition);
        shape.predictions = match predictions.as_slice() {
            [only] => [(String::new(), only.clone())].into(),
            several => (0..).zip(several).map(|(variant, one)| (content_digest(Some(&input(variant))), one.clone())).collect(),
        };
        Ok(Self { yaml: render::yaml(&definition, queue)?, definition, shape, predictions })
    }
}

/// The input of a run of this variant.
pub fn input(variant: u32) -> Payload {
    Payload { data: json!({"variant": variant}).to_string().into(), encoding: "json".to_owned() }
}

/// What a workflow is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Clients start it.
    Root,
    /// Other workflows start it: no driver looks after it.
    Child,
}

/// Where a scope is.
#[derive(Clone, Copy, Debug)]
struct Around {
    depth: u32,
    /// In items of a fan-out.
    items: bool,
    /// In items or iterations.
    many: bool,
    /// How often it is instantiated at most.
    times: u64,
}

/// Instances of a step at most, so that nested fan-outs stay within what a game day can do.
const TIMES_MAX: u64 = 400;

struct Drawing<'a> {
    mix: &'a Mix,
    rng: Rng,
    ids: u32,
    role: Role,
    children: &'a [(String, u32)],
    paces: &'a Paces,
}

/// Kinds, before their details are drawn.
#[derive(Clone, Copy, Debug)]
enum Draw {
    Task,
    Wait,
    Set,
    Signal,
    Silence,
    Approval,
    Group,
    ForEach,
    Repeat,
    Child,
    Fail,
}

impl Drawing<'_> {
    fn definition(mut self, name: String) -> Definition {
        let variants = if self.rng.chance(0.4) { 2 } else { 1 };
        let around = Around { depth: self.mix.depth, items: false, many: false, times: 1 };
        let steps = self.scope(around, variants);
        let root = self.role == Role::Root;
        let finally = if self.rng.chance(self.mix.finally) { self.finally() } else { Vec::new() };
        let output_of = if self.rng.chance(0.5) { steps.first().map(|step| step.id.clone()) } else { None };
        let active_max = (root && self.rng.chance(self.mix.bounded)).then(|| self.rng.between(1, 4) as u32);
        let hold = root && self.rng.chance(self.mix.held);
        let drawn = Definition { name, finally, active_max, hold, variants, output_of, steps };
        Definition { active_max: active_max.and_then(|max| pace::bound(max, &drawn, self.paces)), ..drawn }
    }

    fn scope(&mut self, around: Around, variants: u32) -> Vec<Step> {
        // Scopes in scopes are smaller.
        let most = if around.depth == self.mix.depth { self.mix.steps.1 } else { (self.mix.steps.1 / 2).max(self.mix.steps.0) };
        let count = self.rng.between(self.mix.steps.0.min(most), most);
        let mut steps: Vec<Step> = Vec::new();
        // One step of a scope at most goes by the item: more than one failure leaves little to foresee.
        let mut by_item = around.items;
        for _ in 0..count {
            let mut step = self.step(around, &steps, variants, &mut by_item);
            self.connect(&mut step, &steps);
            steps.push(step);
        }
        if self.rng.chance(0.25)
            && let Some(watcher) = self.watcher(&steps)
        {
            steps.push(watcher);
        }
        steps
    }

    fn id(&mut self, word: &str) -> String {
        self.ids += 1;
        format!("{word}{}", self.ids)
    }

    fn step(&mut self, around: Around, before: &[Step], variants: u32, by_item: &mut bool) -> Step {
        let kind = self.kind(around, variants, by_item);
        let mut step = Step {
            id: self.id(prefix(&kind)),
            needs: Vec::new(),
            only_variant: None,
            run_on: RunOn::Success,
            continue_on_error: false,
            retry: None,
            undo: None,
            kind,
        };
        if variants > 1 && !before.is_empty() && self.rng.chance(0.15) {
            step.only_variant = Some(self.rng.between(0, u64::from(variants) - 1) as u32);
        }
        match &mut step.kind {
            Kind::Task(work) => {
                let policy = if self.rng.chance(0.15) { None } else { Some(draw_retry(&mut self.rng)) };
                let bound = policy.unwrap_or(Retry::DEFAULT).max_attempts;
                let fails = (!work.by_item).then(|| self.rng.unit());
                match fails {
                    Some(drawn) if drawn < self.mix.final_failures => {
                        if self.rng.chance(0.5) {
                            work.fail_attempts = 1_000;
                        } else {
                            work.fail_attempts = self.rng.between(0, u64::from(bound) - 1) as u32;
                            work.fail_for_good = true;
                        }
                        work.nothing_done = self.rng.chance(0.2);
                        step.continue_on_error = self.rng.chance(self.mix.handled);
                    }
                    Some(drawn) if drawn < self.mix.final_failures + self.mix.transient_failures => {
                        work.fail_attempts = self.rng.between(0, u64::from(bound) - 1) as u32;
                    }
                    Some(_) => work.release = self.rng.chance(0.03),
                    None => {}
                }
                if !step.continue_on_error && self.rng.chance(self.mix.compensated) {
                    step.undo = Some(self.undo());
                }
                step.retry = policy;
            }
            Kind::Silence { .. } | Kind::Fail | Kind::Approval { approve: false } => {
                step.continue_on_error = self.rng.chance(self.mix.handled.max(0.5));
            }
            Kind::Group(_) | Kind::ForEach { .. } | Kind::Repeat { .. } => {
                step.continue_on_error = self.rng.chance(0.15);
                if self.rng.chance(0.1) {
                    step.retry = Some(Retry { max_attempts: 2, initial_ms: 100, doubled: false, jitter: false });
                }
            }
            Kind::Child { .. } => {
                step.continue_on_error = self.rng.chance(self.mix.handled);
                step.retry = Some(if self.rng.chance(0.3) { draw_retry(&mut self.rng) } else { Retry::NEVER });
            }
            Kind::Wait { .. } | Kind::Set | Kind::Signal | Kind::Approval { .. } => {}
        }
        step
    }

    fn kind(&mut self, around: Around, variants: u32, by_item: &mut bool) -> Kind {
        let weights = &self.mix.weights;
        let root = self.role == Role::Root;
        let when = |possible: bool, weight: u32| if possible { weight } else { 0 };
        let nested = around.depth > 0 && around.times <= TIMES_MAX / 2;
        let drawn = self.rng.weighted(&[
            (Draw::Task, weights.task),
            (Draw::Wait, weights.wait),
            (Draw::Set, weights.set),
            (Draw::Signal, when(root, weights.signal)),
            (Draw::Silence, weights.silence),
            (Draw::Approval, when(root && !around.many, weights.approval)),
            (Draw::Group, when(nested, weights.group)),
            (Draw::ForEach, when(nested, weights.for_each)),
            (Draw::Repeat, when(nested, weights.repeat)),
            (Draw::Child, when(root && !self.children.is_empty() && around.times <= 8, weights.child)),
            (Draw::Fail, weights.fail),
        ]);
        let below = Around { depth: around.depth.saturating_sub(1), ..around };
        match drawn.unwrap_or(Draw::Task) {
            Draw::Task => {
                let work = Work { by_item: std::mem::take(by_item), ..self.work() };
                Kind::Task(work)
            }
            Draw::Wait => {
                let (low, high) = if self.rng.chance(self.mix.long_waits) { self.mix.long_wait_ms } else { self.mix.wait_ms };
                Kind::Wait { ms: self.rng.between(low, high) }
            }
            Draw::Set => Kind::Set,
            Draw::Signal => Kind::Signal,
            Draw::Silence => Kind::Silence { timeout_ms: self.rng.between(100, 1_000) },
            Draw::Approval => Kind::Approval { approve: self.rng.chance(0.8) },
            Draw::Group => Kind::Group(self.scope(below, variants)),
            Draw::ForEach => self.for_each(below, variants),
            Draw::Repeat => {
                let wanted = self.rng.between(self.mix.iterations.0, self.mix.iterations.1).max(1);
                let most = if wanted > 1 && self.rng.chance(0.05) { wanted - 1 } else { wanted + self.rng.between(0, 3) };
                let times = around.times.saturating_mul(wanted);
                let steps = self.scope(Around { many: true, times, ..below }, variants);
                Kind::Repeat { wanted: wanted as u32, most: most as u32, steps }
            }
            Draw::Child => {
                let (workflow, variant) = self.children[self.rng.index(self.children.len())].clone();
                Kind::Child { workflow, variant }
            }
            Draw::Fail => Kind::Fail,
        }
    }

    fn for_each(&mut self, below: Around, variants: u32) -> Kind {
        let room = (TIMES_MAX / below.times.max(1)).max(2);
        let count = self.rng.between(self.mix.items.0, self.mix.items.1).min(room);
        let mut items = Vec::new();
        for _ in 0..count {
            let drawn = self.rng.unit();
            items.push(Item {
                fail_attempts: u32::from(drawn < self.mix.transient_failures + self.mix.final_failures),
                fail_for_good: drawn < self.mix.final_failures * 2.0,
            });
        }
        let steps = self.scope(Around { items: true, many: true, times: below.times.saturating_mul(count), ..below }, variants);
        let tolerated = if self.rng.chance(0.5) { self.rng.between(1, count.max(1)) } else { 0 };
        Kind::ForEach { items, max_parallel: self.rng.between(1, 10) as u32, max_failures: tolerated as u32, steps }
    }

    /// Some of the steps before, with what is good enough; and data from one of them.
    fn connect(&mut self, step: &mut Step, before: &[Step]) {
        if before.is_empty() || self.rng.chance(0.2) {
            return;
        }
        let mut chosen: Vec<usize> = Vec::new();
        for _ in 0..self.rng.between(1, 3) {
            // Mostly what came last, so that there are chains.
            let index = if self.rng.chance(0.6) { before.len() - 1 } else { self.rng.index(before.len()) };
            if !chosen.contains(&index) {
                chosen.push(index);
            }
        }
        chosen.sort_unstable();
        for index in chosen {
            let needed = &before[index];
            let mut accept = Vec::new();
            if needed.continue_on_error && self.rng.chance(0.4) {
                accept.push(if self.rng.chance(0.5) { Accept::Failed } else { Accept::Succeeded });
                if self.rng.chance(0.3) {
                    accept.push(Accept::Skipped);
                }
            }
            let sure = accept.is_empty() && !needed.continue_on_error && needed.only_variant.is_none();
            if sure
                && let (Kind::Task(_), Kind::Task(work)) = (&needed.kind, &mut step.kind)
                && work.from.is_none()
                && self.rng.chance(0.5)
            {
                work.from = Some(needed.id.clone());
            }
            step.needs.push(Need { step: needed.id.clone(), accept });
        }
    }

    /// A step that looks at how others ended.
    fn watcher(&mut self, before: &[Step]) -> Option<Step> {
        if before.is_empty() {
            return None;
        }
        let run_on = if self.rng.chance(0.7) { RunOn::Failure } else { RunOn::Always };
        let id = self.id("watch");
        let needs = vec![Need { step: before[self.rng.index(before.len())].id.clone(), accept: Vec::new() }];
        let kind = Kind::Task(self.work());
        Some(Step { id, needs, only_variant: None, run_on, continue_on_error: false, retry: None, undo: None, kind })
    }

    fn finally(&mut self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..self.rng.between(1, 2) {
            let needs = steps.last().map(|step| Need { step: step.id.clone(), accept: Vec::new() }).into_iter().collect();
            let (id, kind) = (self.id("last"), Kind::Task(self.work()));
            let retry = Some(draw_retry(&mut self.rng));
            steps.push(Step { id, needs, only_variant: None, run_on: RunOn::Success, continue_on_error: false, retry, undo: None, kind });
        }
        steps
    }

    fn work(&mut self) -> Work {
        Work {
            ms: self.rng.between(self.mix.task_ms.0, self.mix.task_ms.1),
            checkpoint: self.rng.chance(0.2),
            effects: self.rng.between(0, 3) as u32,
            ..Work::default()
        }
    }

    fn undo(&mut self) -> Undo {
        let mut work = self.work();
        let retry = Retry { max_attempts: self.rng.between(3, 6) as u32, ..draw_retry(&mut self.rng) };
        // A compensation that fails for good stops a run for somebody to look at: a child would stop its parent with it.
        if self.role == Role::Root && self.rng.chance(self.mix.broken_compensations) {
            work.fail_attempts = 1_000;
        } else if self.rng.chance(self.mix.transient_failures) {
            work.fail_attempts = self.rng.between(1, 2) as u32;
        }
        Undo { work, retry }
    }
}

fn draw_retry(rng: &mut Rng) -> Retry {
    Retry { max_attempts: rng.between(2, 5) as u32, initial_ms: rng.between(20, 300), doubled: rng.chance(0.5), jitter: rng.chance(0.5) }
}

fn prefix(kind: &Kind) -> &'static str {
    match kind {
        Kind::Task(_) => "task",
        Kind::Wait { .. } => "wait",
        Kind::Set => "set",
        Kind::Signal => "signal",
        Kind::Silence { .. } => "silence",
        Kind::Approval { .. } => "approval",
        Kind::Group(_) => "group",
        Kind::ForEach { .. } => "fan",
        Kind::Repeat { .. } => "loop",
        Kind::Child { .. } => "child",
        Kind::Fail => "fail",
    }
}
