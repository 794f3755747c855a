//! The shards that this node leads, and the way to their runs' actors.
//!
//! A sender puts its request into the run's inbox and wakes the actor only if the inbox was empty; the actor drains the inbox, so that one
//! decision serves many requests. The inbox outlives the actor: whoever is passivated in between is activated again by the supervisor.
//!
//! Invariant: a request is in exactly one place (an inbox, or an actor's hands); when a leadership ends, all that are left are dropped, which
//! answers them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use quorus_raft::Group;
use ractor::ActorRef;
use tokio::time::Instant;

use super::{Refusal, Request, RunKey, run_actor::Wake, shard::ShardMessage};

/// A leadership of a shard on this node. Cheap to clone.
#[derive(Clone)]
pub struct LedShard {
    /// Which shard.
    pub shard: u32,
    /// In which term.
    pub term: u64,
    /// Its replication group.
    pub group: Group,
    inner: Arc<LedInner>,
}

struct LedInner {
    supervisor: ActorRef<ShardMessage>,
    ended: AtomicBool,
    slots: Mutex<BTreeMap<RunKey, Arc<Slot>>>,
}

/// A run's place: its inbox and, while it is awake, its actor.
pub(crate) struct Slot {
    pub(crate) inbox: Mutex<VecDeque<Request>>,
    pub(crate) actor: Mutex<Option<ActorRef<Wake>>>,
    pub(crate) touched: Mutex<Instant>,
}

impl LedShard {
    /// A leadership whose epoch is open.
    pub(crate) fn new(shard: u32, term: u64, group: Group, supervisor: ActorRef<ShardMessage>) -> Self {
        let inner = LedInner { supervisor, ended: AtomicBool::new(false), slots: Mutex::default() };
        Self { shard, term, group, inner: Arc::new(inner) }
    }

    /// True if a quorum confirms, by a read that begins now, that this leadership still stands: what its actors and tables say is then the truth.
    pub async fn confirmed(&self) -> bool {
        if self.group.read_barrier().await.is_err() || self.inner.ended.load(Ordering::Acquire) {
            return false;
        }
        let now = *self.group.leadership().borrow();
        now.here && now.term == self.term
    }

    /// False when no quorum has acknowledged this leader for several elections' time: it decides nothing any more, whether it knows or not.
    pub(crate) fn has_quorum(&self, election_max: std::time::Duration) -> bool {
        self.group.quorum_acked_within(election_max * 8)
    }

    /// Hands a request to a run's actor, which is activated if need be.
    pub fn deliver(&self, key: &RunKey, request: Request) {
        if self.inner.ended.load(Ordering::Acquire) {
            request.reply.send(Err(Refusal::NotLeader { shard: self.shard }));
            return;
        }
        let slot = self.slot(key);
        *slot.touched.lock() = Instant::now();
        let first = {
            let mut inbox = slot.inbox.lock();
            inbox.push_back(request);
            inbox.len() == 1
        };
        if first {
            let actor = slot.actor.lock().clone();
            let awake = actor.is_some_and(|actor| actor.cast(Wake).is_ok());
            if !awake && self.inner.supervisor.cast(ShardMessage::Activate(key.clone())).is_err() {
                self.end();
            }
        }
        // The leadership may have ended between the check above and the push: then nobody will drain this inbox.
        if self.inner.ended.load(Ordering::Acquire) {
            slot.inbox.lock().clear();
        }
    }

    /// Ends the leadership: requests that nobody decided are dropped, which answers them.
    pub(crate) fn end(&self) {
        self.inner.ended.store(true, Ordering::Release);
        let slots = std::mem::take(&mut *self.inner.slots.lock());
        for slot in slots.values() {
            slot.inbox.lock().clear();
        }
    }

    /// The place of a run.
    pub(crate) fn slot(&self, key: &RunKey) -> Arc<Slot> {
        self.inner
            .slots
            .lock()
            .entry(key.clone())
            .or_insert_with(|| Arc::new(Slot { inbox: Mutex::default(), actor: Mutex::new(None), touched: Mutex::new(Instant::now()) }))
            .clone()
    }

    /// Runs that nobody asked anything of since `before`, at most `most`.
    pub(crate) fn idle(&self, before: Instant, most: usize) -> Vec<RunKey> {
        let slots = self.inner.slots.lock();
        let idle = slots.iter().filter(|(_, slot)| *slot.touched.lock() < before && slot.inbox.lock().is_empty());
        idle.map(|(key, _)| key.clone()).take(most).collect()
    }

    /// Forgets the place of a run whose actor has stopped; true unless a request came meanwhile, for which it has to be activated again.
    pub(crate) fn forget(&self, key: &RunKey) -> bool {
        let mut slots = self.inner.slots.lock();
        let Some(slot) = slots.get(key) else { return true };
        *slot.actor.lock() = None;
        // Under the lock of the map, so that no sender can find the slot between this look and its removal; one that found it before has its
        // request in the inbox by the time it tries to wake somebody, and asks the supervisor then.
        let empty = slot.inbox.lock().is_empty() && Arc::strong_count(slot) == 1;
        if empty {
            slots.remove(key);
        }
        empty
    }
}

/// All shards that this node leads. Cheap to clone.
#[derive(Clone, Default)]
pub struct LedShards {
    shards: Arc<RwLock<BTreeMap<u32, LedShard>>>,
}

impl LedShards {
    /// The leadership of a shard, if it is here.
    pub fn get(&self, shard: u32) -> Option<LedShard> {
        self.shards.read().get(&shard).cloned()
    }

    /// True if this very leadership stands.
    pub(crate) fn is_led(&self, shard: u32, term: u64) -> bool {
        self.shards.read().get(&shard).is_some_and(|led| led.term == term)
    }

    /// All leaderships as (shard, term).
    pub fn terms(&self) -> Vec<(u32, u64)> {
        self.shards.read().values().map(|led| (led.shard, led.term)).collect()
    }

    /// Hands a request to a run's actor; one for a shard that is not led here is refused.
    pub fn deliver(&self, shard: u32, key: &RunKey, request: Request) {
        match self.get(shard) {
            Some(led) => led.deliver(key, request),
            None => request.reply.send(Err(Refusal::NotLeader { shard })),
        }
    }

    pub(crate) fn begin(&self, led: LedShard) {
        self.shards.write().insert(led.shard, led);
    }

    /// Takes a leadership out, unless a newer one has taken its place. The caller ends it.
    pub(crate) fn take(&self, shard: u32, term: u64) -> Option<LedShard> {
        let mut shards = self.shards.write();
        if shards.get(&shard).is_some_and(|led| led.term == term) { shards.remove(&shard) } else { None }
    }
}
