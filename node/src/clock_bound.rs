//! Keeps this node's clock honest: a node whose clock is too far from the majority's must not lead, since it would record wrong times and fire timers early.
//!
//! Two parts. [`SteadyClock`] is what the node reads: it goes on from the last good time by the monotonic clock, so that a jump of the machine's clock is not
//! seen at once. [`ClockBound`] compares the machine's clock with the other nodes' (asked once a second, see [`crate::liveness`]) and adopts a jump only once
//! a majority agrees with it. Until then, and as long as a majority says that this node is off, the node is *outside*: it kills the actors of its shards,
//! gives its leaderships away and tells why.
//!
//! What can't be known is not punished: a node that reaches no majority can't commit anything, and one disagreement among three may be either's fault.
//!
//! **Invariant:** what [`SteadyClock`] tells never leaves the bound around a clock that was good before, in a step.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use quorus_engine::Timestamp;
use quorus_raft::{Host, NodeId};
use ractor::ActorRef;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{balance, clock::Clock, liveness::Liveness, observe::Readiness, supervisor::NodeMessage};

/// How often the machine's clock is compared with the steady one.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often leaderships are given away that came back.
const GIVE_AWAY_EVERY: Duration = Duration::from_millis(500);
/// What another node said counts for so long.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// Time that does not jump by more than the bound before the jump is found to be right.
pub struct SteadyClock {
    machine: Arc<dyn Clock>,
    base: Mutex<(Timestamp, Instant)>,
}

impl SteadyClock {
    /// Starts from the machine's clock.
    pub fn new(machine: Arc<dyn Clock>) -> Self {
        let base = Mutex::new((machine.now(), Instant::now()));
        Self { machine, base }
    }

    /// The machine's clock as it is.
    pub fn machine_now(&self) -> Timestamp {
        self.machine.now()
    }

    fn adopt(&self, now: Timestamp) {
        *self.base.lock() = (now, Instant::now());
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let (wall, at) = *self.base.lock();
        since(wall, at)
    }

    fn unique(&self) -> u128 {
        self.machine.unique()
    }
}

/// By how much another node's clock is ahead of this one's, in milliseconds: at least and at most.
#[derive(Clone, Copy, Debug)]
struct Offset {
    low: i64,
    high: i64,
    seen: Instant,
}

/// Whether this node's clock agrees with a majority's. Cheap to clone.
#[derive(Clone)]
pub struct ClockBound {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<SteadyClock>,
    nodes: usize,
    bound_ms: i64,
    memory: Mutex<Memory>,
    outside: watch::Sender<Option<i64>>,
}

#[derive(Default)]
struct Memory {
    offsets: BTreeMap<u64, Offset>,
    /// The machine's clock jumped, or a majority said that it is wrong; and no majority has agreed with it since.
    doubted: bool,
    /// The machine's clock at the last look.
    last: Option<(Timestamp, Instant)>,
}

impl ClockBound {
    /// For a cluster of `nodes` nodes, this one included, whose clocks may be `bound` apart.
    pub fn new(clock: Arc<SteadyClock>, nodes: usize, bound: Duration) -> Self {
        let bound_ms = i64::try_from(bound.as_millis()).unwrap_or(i64::MAX);
        let inner = Inner { clock, nodes, bound_ms, memory: Mutex::default(), outside: watch::Sender::new(None) };
        Self { inner: Arc::new(inner) }
    }

    /// How many milliseconds the others are ahead while this node is outside, else `None`.
    pub fn outside(&self) -> watch::Receiver<Option<i64>> {
        self.inner.outside.subscribe()
    }

    /// What the machine's clock says now: for the two ends of a question to another node, and as the answer to one.
    pub fn machine_now(&self) -> Timestamp {
        self.inner.clock.machine_now()
    }

    /// Another node said what time it is, between two looks at this machine's clock.
    pub fn note(&self, node: u64, asked: Timestamp, said: Timestamp, answered: Timestamp) {
        let (one, other) = (said.0.saturating_sub(answered.0), said.0.saturating_sub(asked.0));
        let offset = Offset { low: one.min(other), high: one.max(other), seen: Instant::now() };
        self.inner.memory.lock().offsets.insert(node, offset);
        self.look();
    }

    /// Compares, and tells if something changed. Called every [`LOOK_EVERY`].
    pub fn look(&self) {
        let Inner { clock, nodes, bound_ms, memory, outside } = &*self.inner;
        let mut memory = memory.lock();
        let machine = clock.machine_now();
        let step = memory.last.replace((machine, Instant::now())).map_or(0, |(wall, at)| machine.0.saturating_sub(since(wall, at).0));
        if step.saturating_abs() > *bound_ms / 2 {
            tracing::warn!(step_ms = step, "the machine's clock was set");
            // What was measured with the clock before means nothing any more.
            memory.offsets.clear();
        }
        memory.offsets.retain(|_, offset| offset.seen.elapsed() <= FRESH_FOR);
        let majority = nodes / 2 + 1;
        let off: Vec<i64> = memory.offsets.values().filter_map(|offset| beyond(*offset, *bound_ms)).collect();
        let agree = 1 + memory.offsets.len() - off.len();
        let jump = machine.0.saturating_sub(clock.now().0);
        if off.len() >= majority {
            memory.doubted = true;
        } else if agree >= majority {
            memory.doubted = false;
        } else if jump.saturating_abs() > *bound_ms {
            memory.doubted = true;
        }
        if !memory.doubted {
            clock.adopt(machine);
        }
        let now = memory.doubted.then(|| off.get(off.len() / 2).copied().unwrap_or(-jump));
        outside.send_if_modified(|before| {
            // The first reason stays: small changes of the distance are no news.
            let news = before.is_some() != now.is_some();
            if news {
                *before = now;
            }
            news
        });
    }
}

/// What a clock should say now that said `wall` then.
fn since(wall: Timestamp, at: Instant) -> Timestamp {
    Timestamp(wall.0.saturating_add(i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX)))
}

/// By how much a clock is surely too far away.
fn beyond(offset: Offset, bound_ms: i64) -> Option<i64> {
    if offset.low > bound_ms {
        Some(offset.low)
    } else if offset.high < -bound_ms {
        Some(offset.high)
    } else {
        None
    }
}

/// Keeps looking until `stop`. While the node is outside, its shards' actors are gone, its leaderships go to others, and it is not ready.
pub fn start(
    bound: ClockBound,
    readiness: &Readiness,
    host: Host,
    liveness: Liveness,
    root: ActorRef<NodeMessage>,
    me: NodeId,
    stop: &CancellationToken,
) {
    let looking = bound.clone();
    let look = async move {
        loop {
            looking.look();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let (check, mut outside) = (readiness.check("clock"), bound.outside());
    check.pass();
    let act = async move {
        loop {
            let Ok(Some(ahead_ms)) = outside.wait_for(Option::is_some).await.map(|outside| *outside) else { break };
            let reason = format!("this node's clock is off: the others are {ahead_ms} ms ahead (negative: behind); set it right");
            tracing::error!("{reason}. No shard is led here until then");
            check.wait_for(&reason);
            root.cast(NodeMessage::ClockOutside(true)).ok();
            while outside.borrow().is_some() {
                balance::give_all_away(me, host.groups(), &liveness).await;
                // An election may bring a leadership back meanwhile.
                tokio::time::timeout(GIVE_AWAY_EVERY, outside.wait_for(Option::is_none)).await.ok();
            }
            tracing::info!("this node's clock is right again");
            check.pass();
            root.cast(NodeMessage::ClockOutside(false)).ok();
        }
    };
    let stop = stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled(async { tokio::join!(look, act) }).await });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// A machine whose clock can be set.
    struct Machine {
        start: Instant,
        set: AtomicI64,
    }

    impl Clock for Machine {
        fn now(&self) -> Timestamp {
            Timestamp(1_000_000 + self.set.load(Ordering::Relaxed) + i64::try_from(self.start.elapsed().as_millis()).unwrap())
        }
        fn unique(&self) -> u128 {
            1
        }
    }

    struct Node {
        machine: Arc<Machine>,
        clock: Arc<SteadyClock>,
        bound: ClockBound,
    }

    impl Node {
        fn of(nodes: usize) -> Self {
            let machine = Arc::new(Machine { start: Instant::now(), set: AtomicI64::new(0) });
            let clock = Arc::new(SteadyClock::new(machine.clone()));
            let bound = ClockBound::new(clock.clone(), nodes, Duration::from_millis(500));
            Self { machine, clock, bound }
        }
        fn set(&self, offset: i64) {
            self.machine.set.store(offset, Ordering::Relaxed);
            self.bound.look();
        }
        /// A node whose clock is `ahead` of the true time answers after no time.
        fn hear(&self, node: u64, ahead: i64) {
            let now = self.bound.machine_now();
            self.bound.note(node, now, Timestamp(self.truth() + ahead), now);
        }
        fn truth(&self) -> i64 {
            self.machine.now().0 - self.machine.set.load(Ordering::Relaxed)
        }
        fn off_by(&self) -> i64 {
            self.clock.now().0 - self.truth()
        }
        fn is_outside(&self) -> bool {
            self.bound.outside().borrow().is_some()
        }
    }

    async fn pass(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_is_not_seen_and_the_node_is_outside_until_the_clock_is_right_again() {
        let node = Node::of(3);
        node.hear(2, 0);
        node.hear(3, 0);
        assert!(!node.is_outside());
        for jump in [5000, -5000] {
            node.set(jump);
            assert!(node.is_outside(), "at once, before anyone is asked");
            pass(1000).await;
            node.hear(2, 0);
            node.hear(3, 0);
            assert!(node.is_outside());
            assert_eq!(node.off_by(), 0, "what the node reads went on");
            node.set(0);
            node.hear(2, 0);
            node.hear(3, 0);
            assert!(!node.is_outside());
            assert_eq!(node.off_by(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_that_a_majority_agrees_with_is_adopted() {
        let node = Node::of(3);
        node.set(-5000);
        node.hear(2, -5000);
        assert!(!node.is_outside(), "two of three");
        assert_eq!(node.off_by(), -5000);
    }

    #[tokio::test(start_paused = true)]
    async fn small_steps_and_drift_are_followed() {
        let node = Node::of(3);
        for step in 1..=20 {
            node.set(step * 100);
            assert!(!node.is_outside());
            assert_eq!(node.off_by(), step * 100);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_drifts_or_starts_with_a_wrong_clock_is_outside_once_a_majority_says_so() {
        let node = Node::of(3);
        (0..8).for_each(|step| node.set(step * 100));
        node.hear(2, 0);
        assert!(!node.is_outside(), "one against one may be either's fault");
        node.hear(3, 0);
        assert!(node.is_outside());
        pass(6000).await;
        node.bound.look();
        assert!(node.is_outside(), "silence does not make it right");
        node.set(0);
        assert!(node.is_outside(), "nor does it know by itself");
        node.hear(2, 0);
        assert!(!node.is_outside());
        assert_eq!(node.off_by(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_clock_elsewhere_and_a_slow_answer_change_nothing() {
        let node = Node::of(3);
        node.hear(2, 60_000);
        node.hear(3, 300);
        assert!(!node.is_outside());
        let asked = node.bound.machine_now();
        pass(3000).await;
        // It was 2 s before this node heard: may well be on time.
        node.bound.note(3, asked, Timestamp(node.truth() - 2000), node.bound.machine_now());
        assert!(!node.is_outside());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_alone_believes_its_clock() {
        let node = Node::of(1);
        node.set(-7_200_000);
        assert!(!node.is_outside());
        assert_eq!(node.off_by(), -7_200_000);
    }
}
