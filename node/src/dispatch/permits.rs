//! What this node's leaders hold of the cluster's limits: permits that are reserved for a task, or under a lease, or that another leader may count now.
//!
//! Invariant: a permit is counted from before its task may be leased until its attempt's end is applied, and a bit longer when the shard goes to
//! another leader: until that one has counted it. So the sum over all nodes is never less than what is in use.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use quorus_engine::{RunUid, StepId};
use tokio::{sync::Notify, time::Instant};

use super::LimitRefs;

/// A permit for which no worker came is given back after this time: others may have one.
const IDLE: Duration = Duration::from_millis(500);

/// How a permit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermitEnd {
    /// No attempt began.
    Unused,
    /// The attempt ended well.
    Succeeded,
    /// It failed or timed out.
    Failed,
    /// It says nothing about what was called: cancelled, released, lost.
    Neutral,
}

/// What happened since the keeper of the limits was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Attempts that never began.
    pub unused: u32,
    /// Attempts that ended well.
    pub succeeded: u32,
    /// Attempts that failed or timed out.
    pub failed: u32,
}

struct Holder {
    limits: LimitRefs,
    shard: u32,
    /// `None` once leased.
    reserved_at: Option<Instant>,
}

/// All permits of the leaders on this node.
#[derive(Default)]
pub struct Permits {
    holders: BTreeMap<(RunUid, StepId), Holder>,
    counts: BTreeMap<LimitRefs, u32>,
    lingering: VecDeque<(Instant, LimitRefs)>,
    ended: BTreeMap<LimitRefs, Ended>,
    changed: Arc<Notify>,
}

impl Permits {
    /// Notified when there is something to tell.
    pub fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// A permit was granted to a task that now waits for a worker.
    pub fn reserve(&mut self, uid: RunUid, step: StepId, shard: u32, limits: LimitRefs) {
        self.hold(uid, step, Holder { limits, shard, reserved_at: Some(Instant::now()) });
    }

    /// An attempt that an earlier leader leased counts from now on.
    pub fn inherit(&mut self, uid: RunUid, step: StepId, shard: u32, limits: LimitRefs) {
        if !limits.is_empty() {
            self.hold(uid, step, Holder { limits, shard, reserved_at: None });
        }
    }

    fn hold(&mut self, uid: RunUid, step: StepId, holder: Holder) {
        *self.counts.entry(holder.limits.clone()).or_default() += 1;
        if let Some(before) = self.holders.insert((uid, step), holder) {
            self.uncount(&before.limits);
        }
    }

    /// The task was leased.
    pub fn leased(&mut self, uid: RunUid, step: &StepId) {
        if !self.holders.is_empty()
            && let Some(holder) = self.holders.get_mut(&(uid, step.clone()))
        {
            holder.reserved_at = None;
        }
    }

    /// The permit of a step ends, if it has one. Only the first call counts.
    pub fn end(&mut self, uid: RunUid, step: &StepId, how: PermitEnd) {
        if self.holders.is_empty() {
            return;
        }
        if let Some(holder) = self.holders.remove(&(uid, step.clone())) {
            self.uncount(&holder.limits);
            self.changed.notify_one();
            let ended = self.ended.entry(holder.limits).or_default();
            match how {
                PermitEnd::Unused => ended.unused += 1,
                PermitEnd::Succeeded => ended.succeeded += 1,
                PermitEnd::Failed => ended.failed += 1,
                PermitEnd::Neutral => {}
            }
        }
    }

    /// The permits of a run end.
    pub fn end_run(&mut self, uid: RunUid) {
        let of_run = self.holders.range((uid, StepId::from(""))..).take_while(|((other, _), _)| *other == uid);
        let ids: Vec<_> = of_run.map(|((_, step), _)| step.clone()).collect();
        for step in ids {
            self.end(uid, &step, PermitEnd::Neutral);
        }
    }

    /// Another leader will count a shard's permits: until it does, they count here.
    pub fn shard_lost(&mut self, shard: u32, linger: Duration) {
        let until = Instant::now() + linger;
        let gone: Vec<_> = self.holders.iter().filter(|(_, holder)| holder.shard == shard).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.lingering.extend(self.holders.remove(&id).map(|holder| (until, holder.limits)));
        }
    }

    /// Lets go of what lingered long enough; names the tasks for which no worker came in time.
    pub fn tick(&mut self) -> Vec<(RunUid, StepId)> {
        let now = Instant::now();
        while let Some((_, limits)) = self.lingering.pop_front_if(|(until, _)| *until <= now) {
            self.uncount(&limits);
        }
        let idle = self.holders.iter().filter(|(_, holder)| holder.reserved_at.is_some_and(|since| now >= since + IDLE));
        idle.map(|(id, _)| id.clone()).collect()
    }

    /// How many are held, by the limits that they count against.
    pub fn counts(&self) -> &BTreeMap<LimitRefs, u32> {
        &self.counts
    }

    /// What ended since the last call.
    pub fn take_ended(&mut self) -> BTreeMap<LimitRefs, Ended> {
        std::mem::take(&mut self.ended)
    }

    /// The keeper was not reached: it is to be told the next time.
    pub fn put_back(&mut self, ended: BTreeMap<LimitRefs, Ended>) {
        for (limits, more) in ended {
            let ended = self.ended.entry(limits).or_default();
            ended.unused += more.unused;
            ended.succeeded += more.succeeded;
            ended.failed += more.failed;
        }
    }

    /// True if there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.ended.is_empty()
    }

    fn uncount(&mut self, limits: &LimitRefs) {
        if let Some(count) = self.counts.get_mut(limits) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(limits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::LimitRef;

    fn limits() -> LimitRefs {
        [LimitRef { limit: "api".into(), key: String::new() }].into()
    }

    fn held(permits: &Permits) -> u32 {
        permits.counts().get(&limits()).copied().unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_counts_until_its_attempt_ends_and_is_told_once() {
        let mut permits = Permits::default();
        permits.reserve(RunUid(1), "a".into(), 1, limits());
        permits.leased(RunUid(1), &"a".into());
        tokio::time::advance(2 * IDLE).await;
        assert!(permits.tick().is_empty(), "a leased one is not idle");
        assert_eq!(held(&permits), 1);
        permits.end(RunUid(1), &"a".into(), PermitEnd::Failed);
        permits.end(RunUid(1), &"a".into(), PermitEnd::Neutral);
        assert_eq!(held(&permits), 0);
        let ended = permits.take_ended();
        assert_eq!(ended[&limits()], Ended { failed: 1, ..Ended::default() });
        permits.put_back(ended);
        assert_eq!(permits.take_ended()[&limits()].failed, 1);
        assert!(permits.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_without_a_worker_is_named() {
        let mut permits = Permits::default();
        permits.reserve(RunUid(1), "a".into(), 1, limits());
        assert!(permits.tick().is_empty());
        tokio::time::advance(IDLE).await;
        assert_eq!(permits.tick(), [(RunUid(1), "a".into())]);
    }

    #[tokio::test(start_paused = true)]
    async fn permits_of_a_lost_shard_linger() {
        let mut permits = Permits::default();
        permits.inherit(RunUid(1), "a".into(), 1, limits());
        permits.inherit(RunUid(2), "b".into(), 2, limits());
        permits.shard_lost(1, Duration::from_secs(30));
        permits.end(RunUid(1), &"a".into(), PermitEnd::Failed);
        assert_eq!((held(&permits), permits.take_ended().len()), (2, 0), "another leader tells how it ended");
        tokio::time::advance(Duration::from_secs(30)).await;
        permits.tick();
        assert_eq!(held(&permits), 1);
    }
}
