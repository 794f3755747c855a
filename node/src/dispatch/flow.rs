//! What flow control asks of the dispatcher: pauses, limits, and what operators want to see.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use quorus_engine::{Command, Payload, PlannedStep, PlannedTask, RunInfo};

use super::{Depth, Dispatcher, Ended, LimitRefs};
use crate::{
    leader::Ask,
    limits::{LimitRules, OnExceeded},
    system::FlowState,
};

/// What the leaders on this node hold and want of limits.
#[derive(Clone, Debug, Default)]
pub struct PermitReport {
    /// By the limits that a task counts against.
    pub groups: BTreeMap<LimitRefs, PermitGroup>,
}

/// The tasks that count against the same limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PermitGroup {
    /// Permits in use.
    pub held: u32,
    /// Tasks that wait for one.
    pub wanted: u32,
    /// Rank of the first of those.
    pub rank: i64,
    /// What ended since the last report.
    pub ended: Ended,
}

impl Dispatcher {
    /// Limits, pauses and drains as they are now.
    pub fn set_flow(&self, flow: Arc<FlowState>) {
        let rules = Arc::new(LimitRules::new(flow.limits.values().map(|stored| &stored.limit)));
        if !rules.is_empty() {
            self.inner.limited.store(true, Ordering::Release);
        }
        let queues: Vec<String> = {
            let mut tables = self.inner.tables.lock();
            let before = std::mem::replace(&mut tables.flow, flow.clone());
            // Tasks at the gates of limits that are gone are free.
            let freed: Vec<LimitRefs> = tables
                .waiting
                .at_gates()
                .map(|(limits, ..)| limits.clone())
                .filter(|limits| !limits.iter().any(|limit| rules.get(&limit.limit).is_some()))
                .collect();
            tables.rules = rules;
            for limits in freed {
                while let Some(task) = tables.waiting.pop_limited(&limits) {
                    tables.waiting.push(task);
                }
            }
            let queues = before.paused_queues.keys().chain(flow.paused_queues.keys());
            let changed = queues.filter(|queue| before.paused_queues.contains_key(*queue) != flow.paused_queues.contains_key(*queue));
            let changed: Vec<String> = changed.cloned().collect();
            for queue in &changed {
                tables.waiting.touch(queue);
            }
            tables.announce();
            changed
        };
        if !queues.is_empty() {
            tracing::info!(?queues, "queues were paused or resumed");
        }
        self.serve_all();
    }

    /// Serves every line in which tasks wait.
    pub(super) fn serve_all(&self) {
        let lines: Vec<_> = self.inner.tables.lock().waiting.lengths().map(|(line, _)| line.clone()).collect();
        for line in lines {
            self.serve_line(&line);
        }
    }

    /// True if a task may count against limits.
    pub fn is_limited(&self, step: &PlannedStep, task: &PlannedTask) -> bool {
        if !self.inner.limited.load(Ordering::Acquire) {
            return false;
        }
        let rules = self.inner.tables.lock().rules.clone();
        rules.concern(step, task)
    }

    /// The limits that a task counts against. `info` is only asked for if there may be any.
    pub fn limits_of<'i>(
        &self,
        step: &PlannedStep,
        task: &PlannedTask,
        input: Option<&Payload>,
        info: impl FnOnce() -> Option<std::borrow::Cow<'i, RunInfo>>,
    ) -> LimitRefs {
        if !self.inner.limited.load(Ordering::Acquire) {
            return LimitRefs::default();
        }
        let rules = self.inner.tables.lock().rules.clone();
        if !rules.concern(step, task) {
            return LimitRefs::default();
        }
        info().map(|info| rules.refs(step, task, &info, input)).unwrap_or_default()
    }

    /// What waits in the queues of the shards that this node leads.
    pub fn depths(&self, only: Option<&str>) -> BTreeMap<String, Depth> {
        self.inner.tables.lock().waiting.depths(only)
    }

    /// The rules in force on this node.
    pub fn rules(&self) -> Arc<LimitRules> {
        self.inner.tables.lock().rules.clone()
    }

    /// What to tell the keeper of the limits. What ended is told once: see [`Dispatcher::permits_not_told`].
    pub fn permit_report(&self) -> PermitReport {
        let mut tables = self.inner.tables.lock();
        let mut report = PermitReport::default();
        for (limits, held) in tables.permits.counts() {
            report.groups.entry(limits.clone()).or_default().held = *held;
        }
        for (limits, wanted, rank) in tables.waiting.at_gates() {
            let group = report.groups.entry(limits.clone()).or_default();
            group.wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
            group.rank = rank;
        }
        for (limits, ended) in tables.permits.take_ended() {
            report.groups.entry(limits).or_default().ended = ended;
        }
        report
    }

    /// The report did not reach anybody.
    pub fn permits_not_told(&self, report: PermitReport) {
        let ended = report.groups.into_iter().filter(|(_, group)| group.ended != Ended::default());
        self.inner.tables.lock().permits.put_back(ended.map(|(limits, group)| (limits, group.ended)).collect());
    }

    /// Permits were granted: the first tasks at the gate wait for workers now. Those for whom there is no task any more are told as unused.
    pub fn permits_granted(&self, limits: &LimitRefs, count: u32) {
        let mut lines = std::collections::BTreeSet::new();
        {
            let mut tables = self.inner.tables.lock();
            for granted in 0..count {
                let Some(task) = tables.waiting.pop_limited(limits) else {
                    let unused = Ended { unused: count - granted, ..Ended::default() };
                    tables.permits.put_back([(limits.clone(), unused)].into());
                    break;
                };
                tables.permits.reserve(task.uid, task.step.clone(), task.shard, limits.clone());
                lines.insert(task.line());
                tables.waiting.push(task);
            }
        }
        for line in lines {
            self.serve_line(&line);
        }
    }

    /// There is no room for so many tasks: those that count against a limit that says so fail.
    pub fn permits_refused(&self, limits: &LimitRefs, count: u32) {
        let rules = self.rules();
        let fails = |limit: &&super::LimitRef| rules.get(&limit.limit).is_some_and(|spec| spec.on_exceeded == OnExceeded::Fail);
        let Some(limit) = limits.iter().find(fails) else { return };
        for _ in 0..count {
            let Some(task) = self.inner.tables.lock().waiting.pop_limited(limits) else { return };
            let command = Command::LimitExceeded { step: task.step.clone(), limit: limit.limit.clone() };
            self.deliver(task, Ask::Command(command), None);
        }
    }

    /// The shards that this node leads, confirmed by a quorum lately.
    pub fn confirmed_shards(&self) -> Vec<u32> {
        let led = self.inner.shards.terms().into_iter().filter_map(|(shard, _)| self.inner.shards.get(shard));
        led.filter(|led| led.group.quorum_acked_within(self.inner.times.election_max)).map(|led| led.shard).collect()
    }

    /// Notified when there is something to tell the keeper of the limits.
    pub fn permits_changed(&self) -> Arc<tokio::sync::Notify> {
        self.inner.tables.lock().permits.changed()
    }

    /// True if there is anything to tell the keeper of the limits.
    pub fn has_permits(&self) -> bool {
        let tables = self.inner.tables.lock();
        !tables.permits.is_empty() || tables.waiting.at_gates().next().is_some()
    }
}
