//! Tasks that wait for a worker: per queue in order of priority, then of arrival.
//!
//! This is a leader's memory of what its shards' `open` index says, rebuilt from it on leadership.

use std::collections::BTreeMap;

use quorus_engine::{RunUid, StepId, Timestamp};

use crate::leader::RunKey;

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
    /// 1 (first) to 5.
    pub priority: u8,
    /// When it fails unless leased.
    pub deadline: Option<Timestamp>,
    /// When that is looked at here: later, if another machine's clock set the deadline.
    pub expires_at: Option<Timestamp>,
}

type Place = (u8, u64);

/// All waiting tasks of the shards that this node leads.
#[derive(Default)]
pub struct Waiting {
    next: u64,
    queues: BTreeMap<String, BTreeMap<Place, WaitingTask>>,
    places: BTreeMap<(RunUid, StepId), (String, Place)>,
    deadlines: BTreeMap<(Timestamp, RunUid, StepId), ()>,
}

impl Waiting {
    /// Adds a task at the end of its priority. One that waits already keeps its place.
    pub fn push(&mut self, task: WaitingTask) {
        let id = (task.uid, task.step.clone());
        if self.places.contains_key(&id) {
            return;
        }
        let place = (task.priority, self.next);
        self.next += 1;
        if let Some(deadline) = task.expires_at {
            self.deadlines.insert((deadline, task.uid, task.step.clone()), ());
        }
        self.places.insert(id, (task.queue.clone(), place));
        self.queues.entry(task.queue.clone()).or_default().insert(place, task);
    }

    /// Takes the first task of a queue.
    pub fn pop(&mut self, queue: &str) -> Option<WaitingTask> {
        let (_, task) = self.queues.get(queue)?.iter().next()?;
        let (uid, step) = (task.uid, task.step.clone());
        self.remove(uid, &step)
    }

    /// Takes a task out, wherever it stands.
    pub fn remove(&mut self, uid: RunUid, step: &StepId) -> Option<WaitingTask> {
        let (queue, place) = self.places.remove(&(uid, step.clone()))?;
        let line = self.queues.get_mut(&queue)?;
        let task = line.remove(&place)?;
        if line.is_empty() {
            self.queues.remove(&queue);
        }
        if let Some(deadline) = task.expires_at {
            self.deadlines.remove(&(deadline, uid, step.clone()));
        }
        Some(task)
    }

    /// Takes the tasks of a run out.
    pub fn remove_run(&mut self, uid: RunUid) {
        let steps: Vec<_> = self
            .places
            .range((uid, StepId::from(""))..)
            .take_while(|((other, _), _)| *other == uid)
            .map(|((_, step), _)| step.clone())
            .collect();
        for step in steps {
            self.remove(uid, &step);
        }
    }

    /// Takes the tasks of a shard out, when its leadership ends.
    pub fn remove_shard(&mut self, shard: u32) {
        let gone: Vec<_> = self
            .queues
            .values()
            .flat_map(BTreeMap::values)
            .filter(|task| task.shard == shard)
            .map(|task| (task.uid, task.step.clone()))
            .collect();
        for (uid, step) in gone {
            self.remove(uid, &step);
        }
    }

    /// Takes the tasks out whose deadline has passed.
    pub fn expired(&mut self, now: Timestamp) -> Vec<WaitingTask> {
        let mut expired = Vec::new();
        while let Some(((deadline, uid, step), ())) = self.deadlines.first_key_value() {
            if *deadline > now {
                break;
            }
            let (uid, step) = (*uid, step.clone());
            match self.remove(uid, &step) {
                Some(task) => expired.push(task),
                None => {
                    self.deadlines.pop_first();
                }
            }
        }
        expired
    }

    /// How many wait in a queue.
    pub fn len(&self, queue: &str) -> usize {
        self.queues.get(queue).map_or(0, BTreeMap::len)
    }

    /// Queues in which tasks wait, with their number.
    pub fn lengths(&self) -> impl Iterator<Item = (&str, usize)> {
        self.queues.iter().map(|(queue, line)| (queue.as_str(), line.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(step: &str, priority: u8, deadline: Option<i64>) -> WaitingTask {
        WaitingTask {
            shard: 1,
            key: RunKey::new("default", "r"),
            uid: RunUid(1),
            step: step.into(),
            queue: "q".into(),
            priority,
            deadline: deadline.map(Timestamp),
            expires_at: deadline.map(Timestamp),
        }
    }

    #[test]
    fn tasks_leave_by_priority_then_by_arrival() {
        let mut waiting = Waiting::default();
        for (step, priority) in [("a", 3), ("b", 1), ("c", 3), ("d", 1)] {
            waiting.push(task(step, priority, None));
        }
        waiting.push(task("a", 3, None));
        let order: Vec<_> = std::iter::from_fn(|| waiting.pop("q")).map(|task| task.step.to_string()).collect();
        assert_eq!(order, ["b", "d", "a", "c"]);
        assert_eq!(waiting.len("q"), 0);
    }

    #[test]
    fn only_overdue_tasks_expire() {
        let mut waiting = Waiting::default();
        waiting.push(task("late", 3, Some(10)));
        waiting.push(task("early", 3, Some(20)));
        waiting.push(task("never", 3, None));
        assert_eq!(waiting.expired(Timestamp(10)).into_iter().map(|task| task.step.to_string()).collect::<Vec<_>>(), ["late"]);
        assert_eq!(waiting.len("q"), 2);
    }

    #[test]
    fn a_lost_shard_takes_its_tasks_along() {
        let mut waiting = Waiting::default();
        waiting.push(task("a", 3, Some(5)));
        waiting.remove_shard(1);
        assert!(waiting.pop("q").is_none());
        assert!(waiting.expired(Timestamp(9)).is_empty());
    }
}
