//! A worker's stream in the book: what it holds, and who has its room.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorus_proto::{
    peer::{self, LinkRequest, link_request::Message},
    v1,
};
use tokio::time::Instant;

use super::{Demands, WorkerSender};
use crate::dispatch::fits;

pub(super) struct Session {
    pub(super) register: v1::RegisterWorker,
    pub(super) capacity: u32,
    /// An operator has stopped the worker: it gets no tasks, whatever its capacity.
    pub(super) drained: bool,
    /// When its stream began.
    pub(super) since: Instant,
    pub(super) held: BTreeMap<Bytes, Held>,
    /// How many of `held` are executed, by the leader that pushed them: `held` may be large, and this is asked for each outcome.
    pub(super) executing: BTreeMap<Option<u64>, u32>,
    pub(super) idle: BTreeMap<u64, u32>,
    pub(super) recalled: BTreeMap<u64, u32>,
    /// The leader that got the last credit: the next one comes first.
    pub(super) last_granted: u64,
    pub(super) worker: WorkerSender,
}

pub(super) enum Held {
    /// By a task that this leader pushed; `None` if the worker brought it along, or the leader is gone.
    Executing(Option<u64>),
    Reported {
        outcome: v1::TaskOutcome,
        at: Instant,
    },
}

/// A session as an operator sees it.
pub struct SessionView {
    /// Worker's name.
    pub name: String,
    /// Its incarnation.
    pub incarnation: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Task types that it can execute, for display.
    pub task_types: Vec<String>,
    /// When its stream began.
    pub since: Instant,
    /// An operator has stopped it.
    pub drained: bool,
    /// Its queues.
    pub queues: Vec<String>,
    /// Its capacity.
    pub capacity: u32,
    /// Tasks that it executes.
    pub tasks: u32,
}

impl Session {
    pub(super) fn executing(&self) -> u32 {
        self.executing.values().sum()
    }

    /// Notes what the worker does with a lease; returns what was noted before.
    pub(super) fn hold(&mut self, lease: Bytes, held: Held) -> Option<Held> {
        if let Held::Executing(by) = held {
            *self.executing.entry(by).or_default() += 1;
        }
        let before = self.held.insert(lease, held);
        self.uncount(before.as_ref());
        before
    }

    /// Forgets a lease; returns what was noted.
    pub(super) fn let_go(&mut self, lease: &Bytes) -> Option<Held> {
        let before = self.held.remove(lease);
        self.uncount(before.as_ref());
        before
    }

    pub(super) fn uncount(&mut self, held: Option<&Held>) {
        if let Some(Held::Executing(by)) = held
            && let Some(count) = self.executing.get_mut(by)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// Room that no leader has; negative when tasks were delivered again, or the capacity was lowered.
    pub(super) fn free(&self) -> i64 {
        let capacity = if self.drained { 0 } else { self.capacity };
        i64::from(capacity) - i64::from(self.executing()) - self.idle.values().map(|idle| i64::from(*idle)).sum::<i64>()
    }

    /// What a leader has of the worker's room: idle, or under its tasks.
    pub(super) fn room(&self, node: u64) -> u32 {
        self.executing.get(&Some(node)).copied().unwrap_or(0) + self.idle.get(&node).copied().unwrap_or(0)
    }

    pub(super) fn opened(&self, session: u64, shard: u32) -> LinkRequest {
        LinkRequest {
            message: Some(Message::SessionOpened(peer::SessionOpened {
                session,
                worker: self.register.name.clone(),
                incarnation: self.register.incarnation.clone(),
                worker_session: self.register.session,
                queues: self.register.queues.clone(),
                labels: self.register.labels.clone(),
                held: self.held.keys().cloned().collect(),
                shard,
            })),
        }
    }

    /// How many tasks wait at a leader that this worker could take.
    pub(super) fn wanted_by(&self, demands: Option<&Demands>) -> u32 {
        let Some(demands) = demands else { return 0 };
        let of_queue = self.register.queues.iter().filter_map(|queue| demands.get(queue)).flatten();
        let fitting = of_queue.filter(|(selectors, _)| selectors.is_empty() || fits(selectors, &self.register.labels));
        fitting.fold(0, |sum, (_, waiting)| sum.saturating_add(*waiting))
    }

    /// As an operator sees it.
    pub(super) fn view(&self) -> SessionView {
        SessionView {
            name: self.register.name.clone(),
            incarnation: self.register.incarnation.clone(),
            labels: self.register.labels.clone(),
            task_types: self.register.task_types.clone(),
            since: self.since,
            drained: self.drained,
            queues: self.register.queues.clone(),
            capacity: self.capacity,
            tasks: self.executing(),
        }
    }
}
