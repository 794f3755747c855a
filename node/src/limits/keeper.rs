//! The keeper of the limits: on the node that leads group 0, in memory. Every node reports what it holds and wants, and is told what it may have.
//!
//! Rules:
//! - A report is the whole truth of its node: what it holds replaces what was known. Reports of a node come one after the other.
//! - A new keeper grants nothing before it knows what is in use: until all shards were reported by their leaders to it and what older keepers granted
//!   has arrived, or until every lease of an older time is over.
//! - What a node held that reports no more, or was started anew, counts on until the leaders of all shards have reported for themselves.
//! - Rates fill up with time alone: a new keeper starts with none.
//!
//! Pure: time comes in, as milliseconds of a monotonic clock.

use std::collections::{BTreeMap, BTreeSet};

use quorus_engine::Millis;

use super::{Breaker, BreakerState, LimitRules, LimitSpec};
use crate::dispatch::{LimitRef, LimitRefs, PermitGroup};

/// Permits granted to a group of tasks with one report.
const GRANTED_AT_ONCE: u32 = 256;
/// A node that reported within this time is there.
const FRESH: Millis = Millis(2_000);

/// What a keeper has to know about time.
#[derive(Clone, Copy, Debug)]
pub struct KeeperTimes {
    /// What older keepers granted has arrived by then.
    pub settle: Millis,
    /// Every lease of an older time is over by then.
    pub quiet: Millis,
}

/// A node's report.
#[derive(Clone, Debug, Default)]
pub struct NodeReport {
    /// Which node.
    pub node: u64,
    /// Which process of it.
    pub boot: String,
    /// Rises with each report of the process.
    pub sequence: u64,
    /// Shards that it leads, confirmed by a quorum.
    pub shards: BTreeSet<u32>,
    /// What it holds and wants.
    pub groups: Vec<(LimitRefs, PermitGroup)>,
}

/// What a group of tasks gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// So many permits.
    pub permits: u32,
    /// There is no room for another one.
    pub full: bool,
}

/// How a limit is used, for one value of its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitUse {
    /// Attempts under way, or about to begin.
    pub in_use: u32,
    /// Tasks that wait for room.
    pub waiting: u32,
    /// Attempts that could begin at once by the rate.
    pub tokens: u32,
    /// The breaker.
    pub breaker: BreakerState,
    /// Attempts that succeeded and failed within the breaker's window.
    pub ended: (u32, u32),
}

#[derive(Default)]
struct Node {
    boot: String,
    sequence: u64,
    seen: Millis,
    shards: BTreeSet<u32>,
    groups: BTreeMap<LimitRefs, PermitGroup>,
}

struct Bucket {
    tokens: f64,
    filled_at: Millis,
}

/// The keeper of one leadership of group 0.
pub struct Keeper {
    times: KeeperTimes,
    began: Millis,
    shards: u32,
    /// It knew everything once: what came and went since was reported to it.
    complete: bool,
    nodes: BTreeMap<u64, Node>,
    /// What processes held that are gone, and since when.
    ghosts: Vec<(Millis, BTreeMap<LimitRefs, PermitGroup>)>,
    in_use: BTreeMap<LimitRef, u32>,
    buckets: BTreeMap<LimitRef, Bucket>,
    breakers: BTreeMap<LimitRef, Breaker>,
}

impl Keeper {
    /// A keeper that begins now, in a cluster with so many shards.
    pub fn new(times: KeeperTimes, began: Millis, shards: u32) -> Self {
        Self {
            times,
            began,
            shards,
            complete: false,
            nodes: BTreeMap::new(),
            ghosts: Vec::new(),
            in_use: BTreeMap::new(),
            buckets: BTreeMap::new(),
            breakers: BTreeMap::new(),
        }
    }

    /// Takes a report; answers how many permits each of its groups gets.
    pub fn report(&mut self, now: Millis, rules: &LimitRules, report: NodeReport) -> Vec<Grant> {
        let nothing = vec![Grant::default(); report.groups.len()];
        let node = self.nodes.entry(report.node).or_default();
        if node.boot == report.boot && report.sequence <= node.sequence {
            return nothing;
        }
        let before = std::mem::take(&mut node.groups);
        if node.boot != report.boot && !before.is_empty() {
            self.ghosts.push((node.seen, before));
        } else {
            self.count(&before, false);
        }
        let mut wanted: Vec<usize> = (0..report.groups.len()).filter(|index| report.groups[*index].1.wanted > 0).collect();
        wanted.sort_by_key(|index| report.groups[*index].1.rank);
        for (limits, group) in &report.groups {
            self.take_ended(now, rules, limits, group);
        }
        let groups: BTreeMap<_, _> = report.groups.iter().cloned().collect();
        self.count(&groups, true);
        let node = self.nodes.entry(report.node).or_default();
        *node = Node { boot: report.boot, sequence: report.sequence, seen: now, shards: report.shards, groups };
        self.forget(now);
        if !self.knows_all(now) {
            return nothing;
        }
        let mut granted = nothing;
        for index in wanted {
            let (limits, group) = &report.groups[index];
            if self.others_first(now, report.node, limits, group.rank) {
                continue;
            }
            let grant = &mut granted[index];
            while grant.permits < group.wanted.min(GRANTED_AT_ONCE) && !grant.full {
                grant.full = !self.take(now, rules, limits);
                grant.permits += u32::from(!grant.full);
            }
            if let Some(group) = self.nodes.get_mut(&report.node).and_then(|node| node.groups.get_mut(limits)) {
                group.held += grant.permits;
            }
        }
        granted
    }

    /// True if everything that is in use is known.
    pub fn knows_all(&mut self, now: Millis) -> bool {
        let since = now.0.saturating_sub(self.began.0);
        let reported = since >= self.times.settle.0 && self.all_shards_since(now, self.began);
        self.complete |= reported || since >= self.times.quiet.0;
        self.complete
    }

    /// How a limit is used, by key.
    pub fn uses(&mut self, now: Millis, spec: &LimitSpec) -> BTreeMap<String, LimitUse> {
        let mut uses: BTreeMap<String, LimitUse> = BTreeMap::new();
        let of_limit = |limit: &LimitRef| limit.limit == spec.name;
        for (limit, in_use) in self.in_use.iter().filter(|(limit, _)| of_limit(limit)) {
            uses.entry(limit.key.clone()).or_default().in_use = *in_use;
        }
        for (limits, group) in self.nodes.values().flat_map(|node| &node.groups) {
            for limit in limits.iter().filter(|limit| of_limit(limit)) {
                let waiting = &mut uses.entry(limit.key.clone()).or_default().waiting;
                *waiting = waiting.saturating_add(group.wanted);
            }
        }
        let known: Vec<_> = self.buckets.keys().chain(self.breakers.keys()).filter(|limit| of_limit(limit)).cloned().collect();
        for limit in known {
            uses.entry(limit.key.clone()).or_default();
        }
        for (key, used) in &mut uses {
            let limit = LimitRef { limit: spec.name.clone(), key: key.clone() };
            if spec.rate.is_some() {
                used.tokens = self.fill(now, spec, &limit) as u32;
            }
            if let (Some(spec), Some(breaker)) = (&spec.breaker, self.breakers.get_mut(&limit)) {
                used.breaker = breaker.state(now);
                used.ended = breaker.counts(spec, now);
            }
        }
        uses
    }

    /// Closes the breakers of a limit (those of one key, unless empty); returns how many were not closed.
    pub fn reset(&mut self, now: Millis, limit: &str, key: &str) -> u32 {
        let mut reset = 0;
        for (_, breaker) in self.breakers.iter_mut().filter(|(of, _)| of.limit == limit && (key.is_empty() || of.key == key)) {
            reset += u32::from(breaker.state(now) != BreakerState::Closed);
            breaker.reset();
        }
        reset
    }

    fn all_shards_since(&self, now: Millis, since: Millis) -> bool {
        let there = self.nodes.values().filter(|node| node.seen >= since && node.seen.0 + FRESH.0 >= now.0);
        let led: BTreeSet<u32> = there.flat_map(|node| &node.shards).copied().collect();
        (1..=self.shards).all(|shard| led.contains(&shard))
    }

    /// Forgets what those held that are gone, once the leaders of all shards have told what they hold.
    fn forget(&mut self, now: Millis) {
        let gone: Vec<u64> = self.nodes.iter().filter(|(_, node)| node.seen.0 + FRESH.0 < now.0).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(node) = self.nodes.remove(&id)
                && !node.groups.is_empty()
            {
                self.ghosts.push((node.seen, node.groups));
            }
        }
        let ghosts = std::mem::take(&mut self.ghosts);
        for (seen, groups) in ghosts {
            let age = now.0.saturating_sub(seen.0);
            let known = age >= self.times.settle.0 && self.all_shards_since(now, Millis(seen.0 + self.times.settle.0));
            if known || age >= self.times.quiet.0 {
                self.count(&groups, false);
            } else {
                self.ghosts.push((seen, groups));
            }
        }
    }

    /// True if a task of another node with the same limits has waited longer.
    fn others_first(&self, now: Millis, me: u64, limits: &LimitRefs, rank: i64) -> bool {
        let others = self.nodes.iter().filter(|(id, node)| **id != me && node.seen.0 + FRESH.0 / 4 >= now.0);
        others.filter_map(|(_, node)| node.groups.get(limits)).any(|group| group.wanted > 0 && group.rank < rank)
    }

    fn count(&mut self, groups: &BTreeMap<LimitRefs, PermitGroup>, more: bool) {
        for (limits, group) in groups.iter().filter(|(_, group)| group.held > 0) {
            for limit in limits.iter() {
                let in_use = self.in_use.entry(limit.clone()).or_default();
                *in_use = if more { *in_use + group.held } else { in_use.saturating_sub(group.held) };
                if *in_use == 0 {
                    self.in_use.remove(limit);
                }
            }
        }
    }

    fn take_ended(&mut self, now: Millis, rules: &LimitRules, limits: &LimitRefs, group: &PermitGroup) {
        let ended = group.ended;
        for limit in limits.iter() {
            let Some(spec) = rules.get(&limit.limit) else { continue };
            if let Some(rate) = &spec.rate
                && ended.unused > 0
                && let Some(bucket) = self.buckets.get_mut(limit)
            {
                bucket.tokens = (bucket.tokens + f64::from(ended.unused)).min(f64::from(rate.burst));
            }
            if let Some(breaker) = &spec.breaker
                && (ended.succeeded > 0 || ended.failed > 0)
            {
                self.breakers.entry(limit.clone()).or_default().ended(breaker, now, ended.succeeded, ended.failed);
            }
        }
    }

    /// Takes one permit of all limits, or of none.
    fn take(&mut self, now: Millis, rules: &LimitRules, limits: &LimitRefs) -> bool {
        for limit in limits.iter() {
            let Some(spec) = rules.get(&limit.limit) else { continue };
            let in_use = self.in_use.get(limit).copied().unwrap_or(0);
            if spec.concurrency.is_some_and(|most| in_use >= most) {
                return false;
            }
            if let Some(breaker) = &spec.breaker
                && !self.breakers.entry(limit.clone()).or_default().admits(breaker, now, in_use)
            {
                return false;
            }
            if spec.rate.is_some() && self.fill(now, spec, limit) < 1.0 {
                return false;
            }
        }
        for limit in limits.iter() {
            *self.in_use.entry(limit.clone()).or_default() += 1;
            if let Some(bucket) = self.buckets.get_mut(limit) {
                bucket.tokens -= 1.0;
            }
        }
        true
    }

    /// Fills a bucket for the time that has passed; returns what is in it.
    fn fill(&mut self, now: Millis, spec: &LimitSpec, limit: &LimitRef) -> f64 {
        let Some(rate) = &spec.rate else { return f64::MAX };
        let began = self.began;
        let bucket = self.buckets.entry(limit.clone()).or_insert_with(|| Bucket { tokens: 0.0, filled_at: began });
        let passed = now.0.saturating_sub(bucket.filled_at.0) as f64;
        bucket.filled_at = now;
        bucket.tokens = (bucket.tokens + passed * f64::from(rate.count) / rate.per.0 as f64).min(f64::from(rate.burst));
        bucket.tokens
    }
}

#[cfg(test)]
mod tests;
