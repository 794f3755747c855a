//! Fires a shard's durable timers: one ordered index on disk, one sleep in memory.
//!
//! Invariants: nothing here grows with the number of timers; a timer fires as a command that the run's actor checks against its state, so
//! firing twice changes nothing; a timer that is not known to have been armed by this leadership waits `clock_offset_max` longer, since another
//! machine's clock may have set it; and one that could end an attempt waits until the attempt's worker had time to find this leader.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use quorus_engine::{Command, Millis, TimerKind, Timestamp};
use quorus_mutants::{Mutant, active};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::{
    Ask, LedShard, Reply, Request, RunKey,
    due::{Cursor, End, PAGE},
};
use crate::{
    clock::Clock,
    dispatch::Dispatcher,
    store::{ShardStore, Timer},
};

/// A timer whose command has been sent is sent again after this time if it is still there.
const FIRE_AGAIN: Duration = Duration::from_secs(5);
/// Timers of this leadership that are remembered as such. Those beyond, the ones due last, are taken for somebody else's and fire a bit late.
const OWN_MAX: usize = 10_000;
/// Pause while nothing can be decided.
const NO_QUORUM_PAUSE: Duration = Duration::from_millis(500);
/// Pause between two full goes, so that catching up after a failover leaves room for other work.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);
/// Pause before beginning again with timers of which so many have to wait that one go does not come to the end of them.
const WRAP_PAUSE: Duration = Duration::from_millis(200);

/// The actor.
pub(crate) struct Timers;

/// A message to the timers.
pub(crate) enum TimerMessage {
    /// A timer was armed.
    Armed(Timer),
    /// The sleep with this number is over.
    Look(u64),
}

/// What the actor works with.
pub(crate) struct TimersArguments {
    pub led: LedShard,
    pub store: ShardStore,
    pub clock: Arc<dyn Clock>,
    pub dispatcher: Dispatcher,
}

/// The actor's memory.
pub(crate) struct TimersState {
    with: TimersArguments,
    /// Timers whose command is on its way, and when to send it again.
    fired: BTreeMap<Timer, Instant>,
    /// Timers that this leadership armed with its own clock.
    own: BTreeSet<Timer>,
    /// Where the next go begins.
    cursor: Cursor,
    /// Number of the last sleep: earlier ones are void.
    sleep: u64,
    /// When the current sleep ends.
    wakes_at: Option<Instant>,
    /// The current sleep.
    sleeper: Option<tokio::task::AbortHandle>,
}

impl Drop for TimersState {
    fn drop(&mut self) {
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.abort();
        }
    }
}

impl Actor for Timers {
    type Msg = TimerMessage;
    type State = TimersState;
    type Arguments = TimersArguments;

    async fn pre_start(&self, myself: ActorRef<TimerMessage>, with: TimersArguments) -> Result<TimersState, ActorProcessingErr> {
        myself.cast(TimerMessage::Look(0))?;
        Ok(TimersState {
            with,
            fired: BTreeMap::new(),
            own: BTreeSet::new(),
            cursor: Cursor::default(),
            sleep: 0,
            wakes_at: None,
            sleeper: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<TimerMessage>,
        message: TimerMessage,
        state: &mut TimersState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TimerMessage::Armed(timer) => {
                let left = state.until(timer.due);
                state.own.insert(timer);
                if state.own.len() > OWN_MAX {
                    state.own.pop_last();
                }
                state.sleep_for(&myself, left);
            }
            TimerMessage::Look(sleep) if sleep == state.sleep => {
                state.wakes_at = None;
                let next = state.look()?;
                if let Some(next) = next {
                    state.sleep_for(&myself, next);
                }
            }
            TimerMessage::Look(_) => {}
        }
        Ok(())
    }
}

impl TimersState {
    /// Fires what is due; returns how long to sleep.
    fn look(&mut self) -> Result<Option<Duration>, crate::store::StoreError> {
        if !self.with.led.has_quorum(self.with.dispatcher.times().election_max) {
            return Ok(Some(NO_QUORUM_PAUSE));
        }
        let now = Instant::now();
        self.fired.retain(|_, again| *again > now);
        let wall = self.wall();
        let long_gone = Timestamp(wall.0.saturating_sub(60_000));
        while self.own.first().is_some_and(|timer| timer.due < long_gone) {
            self.own.pop_first();
        }
        let mut next: Option<Duration> = None;
        let mut sooner = |left: Duration| next = Some(next.map_or(left, |next| next.min(left)));
        let mut cursor = std::mem::take(&mut self.cursor);
        let (store, fired) = (self.with.store.clone(), &self.fired);
        let gone = cursor.go(
            |after| store.timers_after(after, wall, PAGE),
            |timer| {
                let left = self.left(timer);
                let inherited = || self.with.dispatcher.inherited_until(timer.uid).filter(|_| ends_attempts(timer.kind));
                let waits_until = fired.get(timer).copied().or_else(inherited).filter(|until| *until > now);
                waits_until.map(|until| until - now).or_else(|| Some(left).filter(|left| *left > Duration::ZERO))
            },
        );
        self.cursor = cursor;
        let gone = gone?;
        if !gone.due.is_empty() {
            sooner(FIRE_AGAIN);
        }
        for entry in gone.due {
            self.fire(&RunKey::new(&entry.namespace, &entry.run_id), entry.timer, now);
        }
        if let Some(left) = gone.next {
            sooner(left);
        }
        match gone.end {
            End::More => sooner(CATCH_UP_PAUSE),
            // What this go did not look at may be due.
            End::Last => sooner(WRAP_PAUSE),
            End::All => {
                if let Some(timer) = self.with.store.next_timer_after(wall)? {
                    sooner(self.left(&timer));
                }
            }
        }
        Ok(next)
    }

    fn fire(&mut self, key: &RunKey, timer: Timer, now: Instant) {
        let command = Command::FireTimer { step: timer.step.clone(), kind: timer.kind, due: timer.due };
        let request = Request { uid: Some(timer.uid), ask: Ask::Command(command), credit: None, reply: Reply::nobody(), permit: None };
        self.with.led.deliver(key, request);
        self.fired.insert(timer, now + FIRE_AGAIN);
    }

    /// How long until a timer may fire on this node's clock.
    fn left(&self, timer: &Timer) -> Duration {
        if self.own.contains(timer) {
            return self.until(timer.due);
        }
        let offset = u64::try_from(self.with.dispatcher.times().clock_offset_max.as_millis()).unwrap_or(0);
        self.until(timer.due.plus(Millis(offset)))
    }

    fn wall(&self) -> Timestamp {
        let now = self.with.clock.now();
        if active(Mutant::EarlyTimers) { now.plus(Millis(5_000)) } else { now }
    }

    fn until(&self, due: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(due.0.saturating_sub(self.wall().0)).unwrap_or(0))
    }

    fn sleep_for(&mut self, myself: &ActorRef<TimerMessage>, left: Duration) {
        let wakes_at = Instant::now() + left.max(Duration::from_millis(1));
        if self.wakes_at.is_some_and(|planned| planned <= wakes_at) {
            return;
        }
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.abort();
        }
        self.sleep += 1;
        self.wakes_at = Some(wakes_at);
        let (myself, sleep) = (myself.clone(), self.sleep);
        let sleeper = tokio::spawn(async move {
            tokio::time::sleep_until(wakes_at).await;
            // The leadership may have ended meanwhile.
            myself.cast(TimerMessage::Look(sleep)).ok();
        });
        self.sleeper = Some(sleeper.abort_handle());
    }
}

/// True for timers that cut a live attempt.
fn ends_attempts(kind: TimerKind) -> bool {
    match kind {
        TimerKind::RunTimeout | TimerKind::StepTimeout | TimerKind::CancelGrace | TimerKind::CompensationTimeout => true,
        TimerKind::Due | TimerKind::SlotTimeout => false,
    }
}
