//! Tasks that wait for a worker, in lines; and before those, at gates, tasks that wait for permits of the limits that they count against.
//!
//! **Ageing.** A task's rank is the time since which it waits plus one [`AGE`] for each step of priority below the first: the lowest rank is served
//! first. So a minute of waiting outweighs one step of priority, a task of priority 5 goes before every task of priority 1 that came four minutes
//! after it, and nothing starves. A rank never changes, which keeps everything logarithmic.
//!
//! This is a leader's memory of what its shards' `open` index says, rebuilt from it on leadership.

use std::collections::{BTreeMap, BTreeSet};

use quorus_engine::{RunUid, StepId, Timestamp};

use super::{LimitRefs, Line, Selectors};
use crate::leader::RunKey;

/// So much waiting outweighs one step of priority, in milliseconds.
pub const AGE: i64 = 60_000;
/// Priorities are 1 to so many.
pub const PRIORITIES: usize = 5;

/// A task that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingTask {
    /// The shard that owns the run.
    pub shard: u32,
    /// The run's place.
    pub key: RunKey,
    /// The run.
    pub uid: RunUid,
    /// The step.
    pub step: StepId,
    /// Its queue.
    pub queue: String,
    /// Labels that the worker must have.
    pub selectors: Selectors,
    /// Limits that it counts against.
    pub limits: LimitRefs,
    /// 1 (first) to 5.
    pub priority: u8,
    /// Since when it waits.
    pub since: Timestamp,
    /// When it fails unless leased.
    pub deadline: Option<Timestamp>,
    /// When that is looked at here: later, if another machine's clock set the deadline.
    pub expires_at: Option<Timestamp>,
}

impl WaitingTask {
    fn id(&self) -> Id {
        (self.uid, self.step.clone())
    }

    fn rank(&self) -> i64 {
        self.since.0.saturating_add(AGE * i64::from(self.priority.saturating_sub(1)))
    }

    /// Where it waits once nothing but a worker is missing.
    pub fn line(&self) -> Line {
        Line { queue: self.queue.clone(), selectors: self.selectors.clone() }
    }
}

type Id = (RunUid, StepId);
/// Rank, then order of arrival.
type Place = (i64, u64);

#[derive(Clone)]
enum Spot {
    Line(Line, Place),
    Gate(LimitRefs, Place),
}

/// All waiting tasks of the shards that this node leads.
#[derive(Default)]
pub struct Waiting {
    next: u64,
    lines: BTreeMap<Line, BTreeMap<Place, WaitingTask>>,
    gates: BTreeMap<LimitRefs, BTreeMap<Place, WaitingTask>>,
    spots: BTreeMap<Id, Spot>,
    deadlines: BTreeSet<(Timestamp, RunUid, StepId)>,
    changed: BTreeSet<Line>,
}

/// What waits in a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// By priority, 1 first.
    pub by_priority: [u64; PRIORITIES],
    /// Of those, how many wait for permits of limits.
    pub limited: u64,
    /// Since when the oldest waits.
    pub oldest: Option<Timestamp>,
    /// Demands on workers' labels, and how many tasks have them. Tasks that take any worker are left out.
    pub by_selectors: BTreeMap<Selectors, u64>,
}

impl Depth {
    /// How many wait.
    pub fn total(&self) -> u64 {
        self.by_priority.iter().sum()
    }

    fn count(&mut self, task: &WaitingTask) {
        let priority = usize::from(task.priority.max(1)) - 1;
        self.by_priority[priority.min(PRIORITIES - 1)] += 1;
        self.oldest = Some(self.oldest.map_or(task.since, |oldest| oldest.min(task.since)));
        if !task.selectors.is_empty() {
            *self.by_selectors.entry(task.selectors.clone()).or_default() += 1;
        }
    }
}

impl Waiting {
    /// Adds a task to its line. One that waits already keeps its place. Returns true if the line was empty before.
    pub fn push(&mut self, task: WaitingTask) -> bool {
        if self.spots.contains_key(&task.id()) {
            return false;
        }
        let (line, place) = (task.line(), self.admit(&task));
        self.spots.insert(task.id(), Spot::Line(line.clone(), place));
        self.changed.insert(line.clone());
        let tasks = self.lines.entry(line).or_default();
        tasks.insert(place, task);
        tasks.len() == 1
    }

    /// Adds a task to those that wait for permits of their limits.
    pub fn push_limited(&mut self, task: WaitingTask) {
        if self.spots.contains_key(&task.id()) {
            return;
        }
        let place = self.admit(&task);
        self.spots.insert(task.id(), Spot::Gate(task.limits.clone(), place));
        self.gates.entry(task.limits.clone()).or_default().insert(place, task);
    }

    fn admit(&mut self, task: &WaitingTask) -> Place {
        if let Some(deadline) = task.expires_at {
            self.deadlines.insert((deadline, task.uid, task.step.clone()));
        }
        self.next += 1;
        (task.rank(), self.next)
    }

    /// Takes the first task of a line.
    pub fn pop(&mut self, line: &Line) -> Option<WaitingTask> {
        let (_, task) = self.lines.get(line)?.first_key_value()?;
        let (uid, step) = task.id();
        self.remove(uid, &step)
    }

    /// Takes the first task that waits for permits of these limits.
    pub fn pop_limited(&mut self, limits: &LimitRefs) -> Option<WaitingTask> {
        let (_, task) = self.gates.get(limits)?.first_key_value()?;
        let (uid, step) = task.id();
        self.remove(uid, &step)
    }

    /// Among lines of these queues that a worker with these labels can serve, the one whose first task comes first.
    pub fn first_line(&self, queues: &[String], labels: &BTreeMap<String, String>, open: impl Fn(&str) -> bool) -> Option<Line> {
        let lines = queues.iter().filter(|queue| open(queue)).flat_map(|queue| self.lines_of(queue));
        let firsts = lines.filter(|(line, _)| line.fits(labels)).filter_map(|(line, tasks)| Some((*tasks.first_key_value()?.0, line)));
        firsts.min_by_key(|(place, _)| *place).map(|(_, line)| line.clone())
    }

    fn lines_of<'a>(&'a self, queue: &'a str) -> impl Iterator<Item = (&'a Line, &'a BTreeMap<Place, WaitingTask>)> {
        // A line without demands is the first of its queue.
        self.lines.range(Line::plain(queue)..).take_while(move |(line, _)| line.queue == queue)
    }

    /// Takes a task out, wherever it stands.
    pub fn remove(&mut self, uid: RunUid, step: &StepId) -> Option<WaitingTask> {
        let task = match self.spots.remove(&(uid, step.clone()))? {
            Spot::Line(line, place) => {
                let tasks = self.lines.get_mut(&line)?;
                let task = tasks.remove(&place)?;
                if tasks.is_empty() {
                    self.lines.remove(&line);
                }
                self.changed.insert(line);
                task
            }
            Spot::Gate(limits, place) => {
                let tasks = self.gates.get_mut(&limits)?;
                let task = tasks.remove(&place)?;
                if tasks.is_empty() {
                    self.gates.remove(&limits);
                }
                task
            }
        };
        if let Some(deadline) = task.expires_at {
            self.deadlines.remove(&(deadline, uid, step.clone()));
        }
        Some(task)
    }

    /// Takes the tasks of a run out.
    pub fn remove_run(&mut self, uid: RunUid) -> Vec<WaitingTask> {
        let of_run = self.spots.range((uid, StepId::from(""))..).take_while(|((other, _), _)| *other == uid);
        let steps: Vec<_> = of_run.map(|((_, step), _)| step.clone()).collect();
        steps.iter().filter_map(|step| self.remove(uid, step)).collect()
    }

    /// Takes the tasks of a shard out, when its leadership ends.
    pub fn remove_shard(&mut self, shard: u32) {
        let all = self.lines.values().chain(self.gates.values()).flat_map(BTreeMap::values);
        let gone: Vec<_> = all.filter(|task| task.shard == shard).map(WaitingTask::id).collect();
        for (uid, step) in gone {
            self.remove(uid, &step);
        }
    }

    /// Takes the tasks out whose deadline has passed.
    pub fn expired(&mut self, now: Timestamp) -> Vec<WaitingTask> {
        let mut expired = Vec::new();
        while let Some((deadline, uid, step)) = self.deadlines.first().cloned() {
            if deadline > now {
                break;
            }
            match self.remove(uid, &step) {
                Some(task) => expired.push(task),
                None => {
                    self.deadlines.pop_first();
                }
            }
        }
        expired
    }

    /// True if a task stands in a line or at a gate.
    pub fn contains(&self, uid: RunUid, step: &StepId) -> bool {
        self.spots.contains_key(&(uid, step.clone()))
    }

    /// How many wait in a line.
    pub fn len(&self, line: &Line) -> usize {
        self.lines.get(line).map_or(0, BTreeMap::len)
    }

    /// The lines in which tasks wait, with their number.
    pub fn lengths(&self) -> impl Iterator<Item = (&Line, usize)> {
        self.lines.iter().map(|(line, tasks)| (line, tasks.len()))
    }

    /// The lines whose length may have changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<Line> {
        std::mem::take(&mut self.changed)
    }

    /// Has the lines of a queue looked at again.
    pub fn touch(&mut self, queue: &str) {
        let lines: Vec<_> = self.lines_of(queue).map(|(line, _)| line.clone()).collect();
        self.changed.extend(lines);
    }

    /// Those that wait for permits: the limits, how many, and the rank of the first.
    pub fn at_gates(&self) -> impl Iterator<Item = (&LimitRefs, usize, i64)> {
        self.gates.iter().filter_map(|(limits, tasks)| Some((limits, tasks.len(), tasks.first_key_value()?.0.0)))
    }

    /// What waits in each queue, for operators: looks at every task.
    pub fn depths(&self, only: Option<&str>) -> BTreeMap<String, Depth> {
        let mut depths: BTreeMap<String, Depth> = BTreeMap::new();
        let wanted = |queue: &str| only.is_none_or(|only| only == queue);
        for task in self.lines.iter().filter(|(line, _)| wanted(&line.queue)).flat_map(|(_, tasks)| tasks.values()) {
            depths.entry(task.queue.clone()).or_default().count(task);
        }
        for task in self.gates.values().flat_map(BTreeMap::values).filter(|task| wanted(&task.queue)) {
            let depth = depths.entry(task.queue.clone()).or_default();
            depth.count(task);
            depth.limited += 1;
        }
        depths
    }
}

#[cfg(test)]
mod tests;
