//! Delivers what a shard's runs owe to others: children to start, cancel and undo, parents to tell, concurrency slots to get and give back.
//!
//! What is owed is derived from the applied state ([`quorus_engine::Owed`]) and listed in an index on the disk; a run's actor tells of new entries,
//! a new leadership begins with a look at the whole index, and now and then everything is looked at again. An entry is owed until a command takes
//! note that it was delivered, and every receiver tolerates a second delivery: so each is delivered at least once, and counts once.
//!
//! Invariants: at most [`IN_FLIGHT_MAX`] deliveries at a time, one for each place (a step, or a run itself); nothing is kept for an entry that waits for
//! something outside (a slot, the end of a child that is being cancelled), so memory does not grow with what waits.

mod deliver;
mod pending;

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc::UnboundedReceiver},
    task::AbortHandle,
    time::Instant,
};

use self::{
    deliver::{Delivered, Tools},
    pending::Pending,
};
use super::{LedShard, Owing, RunKey};
use crate::{
    store::{RunPlace, ShardStore, StoreError},
    system::SlotNews,
};

pub(crate) use deliver::Post;

/// Deliveries on their way at a time.
const IN_FLIGHT_MAX: usize = 64;
/// Entries of the index looked at in one go.
const PAGE: usize = 256;
/// How often everything that is owed is looked at, at most.
const SCAN_EVERY: Duration = Duration::from_secs(30);
/// A look at everything takes at most this share of the time.
const SCAN_SHARE: u32 = 10;
/// Pause while nothing can be decided.
const NO_QUORUM_PAUSE: Duration = Duration::from_millis(500);

/// The actor.
pub(crate) struct Courier;

/// A message to the courier.
pub(crate) enum CourierMessage {
    /// Something may be owed.
    Owing(Owing),
    /// A delivery came back.
    Done(Owing, Delivered),
    /// The sleep with this number is over.
    Look(u64),
    /// Look at the whole index.
    LookAtAll,
}

/// What the actor works with.
pub(crate) struct CourierArguments {
    pub led: LedShard,
    pub store: ShardStore,
    pub post: Arc<Post>,
    /// What runs' actors tell.
    pub owing: UnboundedReceiver<Owing>,
    pub election_max: Duration,
}

/// The actor's memory.
pub(crate) struct CourierState {
    tools: Tools,
    election_max: Duration,
    pending: Pending,
    /// The place after which a look at the index goes on, while there is one.
    scan: Option<Option<RunPlace>>,
    scan_began: Instant,
    next_scan: Instant,
    sleep: u64,
    sleeper: Option<AbortHandle>,
    /// Tasks that bring news.
    feeds: Vec<AbortHandle>,
}

impl Drop for CourierState {
    fn drop(&mut self) {
        for task in self.feeds.drain(..).chain(self.sleeper.take()) {
            task.abort();
        }
    }
}

impl Actor for Courier {
    type Msg = CourierMessage;
    type State = CourierState;
    type Arguments = CourierArguments;

    async fn pre_start(&self, myself: ActorRef<CourierMessage>, with: CourierArguments) -> Result<CourierState, ActorProcessingErr> {
        let CourierArguments { led, store, post, owing, election_max } = with;
        // Before the first look, so that nothing is missed between them.
        let slots = follow_slots(&myself, &post, led.shard);
        let feeds = vec![slots, follow_owing(&myself, owing)];
        let now = Instant::now();
        myself.cast(CourierMessage::LookAtAll)?;
        Ok(CourierState {
            tools: Tools { led, store, post },
            election_max,
            pending: Pending::default(),
            scan: None,
            scan_began: now,
            next_scan: now,
            sleep: 0,
            sleeper: None,
            feeds,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<CourierMessage>,
        message: CourierMessage,
        state: &mut CourierState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CourierMessage::Owing(owing) => state.pending.add(owing),
            CourierMessage::Done(owing, delivered) => state.pending.done(owing, delivered, Instant::now()),
            CourierMessage::Look(sleep) if sleep != state.sleep => return Ok(()),
            CourierMessage::Look(_) => state.pending.wake(Instant::now()),
            CourierMessage::LookAtAll => state.next_scan = Instant::now(),
        }
        state.go_on(&myself)?;
        Ok(())
    }
}

impl CourierState {
    /// Sends off what can be sent off, and sleeps until there may be more.
    fn go_on(&mut self, myself: &ActorRef<CourierMessage>) -> Result<(), StoreError> {
        let now = Instant::now();
        if !self.tools.led.has_quorum(self.election_max) {
            self.sleep_until(myself, now + NO_QUORUM_PAUSE);
            return Ok(());
        }
        if self.pending.overflowed() {
            self.next_scan = now;
        }
        if self.scan.is_none() && self.next_scan <= now {
            (self.scan, self.scan_began) = (Some(None), now);
        }
        loop {
            while self.pending.in_flight() < IN_FLIGHT_MAX {
                let Some(owing) = self.pending.next() else { break };
                let (myself, tools) = (myself.clone(), self.tools.clone());
                tokio::spawn(async move {
                    let delivered = tools.deliver(&owing).await;
                    // The leadership may have ended meanwhile; the next one finds the entry in the index.
                    myself.cast(CourierMessage::Done(owing, delivered)).ok();
                });
            }
            if self.pending.in_flight() >= IN_FLIGHT_MAX || !self.read_on(now)? {
                break;
            }
        }
        let next = [self.pending.next_wake(), self.scan.is_none().then_some(self.next_scan)];
        if let Some(next) = next.into_iter().flatten().min() {
            self.sleep_until(myself, next);
        }
        Ok(())
    }

    /// Reads the next page of the index, if a look at it is under way; false if there is nothing to read.
    fn read_on(&mut self, now: Instant) -> Result<bool, StoreError> {
        let Some(after) = &self.scan else { return Ok(false) };
        let page = self.tools.store.owed_after(after.as_ref(), PAGE)?;
        let last = page.last().map(|entry| entry.place.clone());
        let full = page.len() == PAGE;
        for entry in page {
            let key = RunKey::new(&entry.namespace, &entry.run_id);
            self.pending.add(Owing { key, uid: entry.place.uid, step: entry.place.step });
        }
        if full {
            self.scan = Some(last);
        } else {
            self.scan = None;
            self.next_scan = now + SCAN_EVERY.max(self.scan_began.elapsed() * SCAN_SHARE);
        }
        Ok(true)
    }

    fn sleep_until(&mut self, myself: &ActorRef<CourierMessage>, at: Instant) {
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.abort();
        }
        self.sleep += 1;
        let (myself, sleep) = (myself.clone(), self.sleep);
        let sleeper = tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            myself.cast(CourierMessage::Look(sleep)).ok();
        });
        self.sleeper = Some(sleeper.abort_handle());
    }
}

fn follow_owing(myself: &ActorRef<CourierMessage>, mut owing: UnboundedReceiver<Owing>) -> AbortHandle {
    let myself = myself.clone();
    let feed = tokio::spawn(async move {
        while let Some(owing) = owing.recv().await {
            if myself.cast(CourierMessage::Owing(owing)).is_err() {
                return;
            }
        }
    });
    feed.abort_handle()
}

/// A run that waits for a slot is told when it gets it: by this node's copy of group 0.
fn follow_slots(myself: &ActorRef<CourierMessage>, post: &Post, shard: u32) -> AbortHandle {
    let (myself, mut news) = (myself.clone(), post.system.subscribe_slots());
    let feed = tokio::spawn(async move {
        loop {
            let message = match news.recv().await {
                Ok(SlotNews::Granted { run, .. }) if run.shard != shard => continue,
                Ok(SlotNews::Granted { key, run }) => {
                    CourierMessage::Owing(Owing { key: RunKey::new(&key.namespace, &run.run_id), uid: run.uid, step: None })
                }
                Ok(SlotNews::LookAgain) | Err(RecvError::Lagged(_)) => CourierMessage::LookAtAll,
                Err(RecvError::Closed) => return,
            };
            if myself.cast(message).is_err() {
                return;
            }
        }
    });
    feed.abort_handle()
}
