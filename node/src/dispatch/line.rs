//! Where a task waits: tasks with the same queue, the same demands on the worker's labels and the same limits stand in one line.

use std::{collections::BTreeMap, sync::Arc};

/// Labels that a worker must have.
pub type Selectors = Arc<BTreeMap<String, String>>;

/// A line of tasks that any worker can take that can take one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The queue.
    pub queue: String,
    /// Labels that the worker must have.
    pub selectors: Selectors,
}

impl Line {
    /// The line of a queue's tasks that take any worker.
    pub fn plain(queue: &str) -> Self {
        Self { queue: queue.to_owned(), selectors: Selectors::default() }
    }

    /// True if a worker with these labels can take its tasks.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        fits(&self.selectors, labels)
    }
}

/// True if a worker with these labels has all that is demanded.
pub fn fits(selectors: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selectors.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// One limit that a task counts against, for one value of its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LimitRef {
    /// The limit.
    pub limit: String,
    /// The value of its key; empty if it has none.
    pub key: String,
}

/// All limits that a task counts against, in order. Usually none.
pub type LimitRefs = Arc<[LimitRef]>;
