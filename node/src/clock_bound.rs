//! Keeps this node's clock honest: a node whose clock is too far from the majority's must not lead, since it would record wrong times and fire timers early.
//!
//! The node reads a [`SteadyClock`], in which a jump of the machine's clock is not seen. [`ClockBound`] compares the machine's clock with the other nodes'
//! (asked once a second, see [`crate::liveness`]) and adopts a jump only once a majority agrees with it. Until then, and as long as a majority says that this node is off, the node is *outside*: it kills the actors of its shards,
//! gives its leaderships away and tells why.
//!
//! A node that has just started knows of no good time before: its machine's clock may have been set while it was down. So it is outside, too, until a
//! majority, itself included, has agreed with its clock once. Of two nodes that contradict each other while the third is away, neither leads unless its
//! clock was confirmed before: nobody knows who is right, and a wrong leader would record times that nobody can correct later.
//!
//! What can't be known is not punished later on: a clock that was confirmed goes on by the monotonic clock, and one disagreement among three may be
//! either's fault.
//!
//! **Invariants:** what [`SteadyClock`] tells never leaves the bound around a clock that was good before, in a step. No shard has actors here before a
//! majority confirmed this node's clock.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use quorus_engine::Timestamp;
use quorus_raft::{Host, NodeId};
use ractor::ActorRef;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    balance,
    clock::Clock,
    liveness::Liveness,
    observe::Readiness,
    steady_clock::{SteadyClock, since},
    supervisor::NodeMessage,
};

/// How often the machine's clock is compared with the steady one.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often leaderships are given away that came back.
const GIVE_AWAY_EVERY: Duration = Duration::from_millis(500);
/// What another node said counts for so long.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// By how much another node's clock is ahead of this one's, in milliseconds: at least and at most.
#[derive(Clone, Copy, Debug)]
struct Offset {
    low: i64,
    high: i64,
    seen: Instant,
}

impl Offset {
    /// By how much the clock is surely too far away.
    fn beyond(self, bound_ms: i64) -> Option<i64> {
        if self.low > bound_ms {
            Some(self.low)
        } else if self.high < -bound_ms {
            Some(self.high)
        } else {
            None
        }
    }

    /// True if the clock is surely near enough. What is known less exactly than the bound says nothing.
    fn agrees(self, bound_ms: i64) -> bool {
        self.low >= -bound_ms && self.high <= bound_ms
    }
}

/// Why a node is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// No majority has agreed with its clock since it started. If somebody contradicts it: how many milliseconds that clock is ahead.
    Unconfirmed(Option<i64>),
    /// Its clock jumped, or a majority said that it is wrong: how many milliseconds the others are ahead.
    Off(i64),
}

impl Doubt {
    /// Small changes of the distance are no news.
    fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Unconfirmed(one), Self::Unconfirmed(other)) => one.is_some() == other.is_some(),
            (Self::Off(_), Self::Off(_)) => true,
            _ => false,
        }
    }
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unconfirmed(None) => write!(f, "no majority of the nodes has confirmed this node's clock since it started"),
            Self::Unconfirmed(Some(ahead_ms)) => write!(
                f,
                "no majority of the nodes has confirmed this node's clock since it started, and another node is {ahead_ms} ms ahead (negative: \
                 behind); set the clock right that is wrong, or bring the other nodes back"
            ),
            Self::Off(ahead_ms) => {
                write!(f, "this node's clock is off: the others are {ahead_ms} ms ahead (negative: behind); set it right")
            }
        }
    }
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
    outside: watch::Sender<Option<Doubt>>,
}

struct Memory {
    offsets: BTreeMap<u64, Offset>,
    /// Until a majority agrees.
    doubt: Option<Doubt>,
    /// The machine's clock at the last look.
    last: Option<(Timestamp, Instant)>,
}

impl ClockBound {
    /// For a cluster of `nodes` nodes, this one included, whose clocks may be `bound` apart. Outside, unless this node is alone.
    pub fn new(clock: Arc<SteadyClock>, nodes: usize, bound: Duration) -> Self {
        let bound_ms = i64::try_from(bound.as_millis()).unwrap_or(i64::MAX);
        let doubt = Some(Doubt::Unconfirmed(None));
        let memory = Mutex::new(Memory { offsets: BTreeMap::new(), doubt, last: None });
        let bound = Self { inner: Arc::new(Inner { clock, nodes, bound_ms, memory, outside: watch::Sender::new(doubt) }) };
        bound.look();
        bound
    }

    /// Waits until a majority agrees with this node's clock.
    pub async fn inside(&self) {
        // It can't fail: the sender lives as long as this does.
        self.outside().wait_for(Option::is_none).await.ok();
    }

    /// Why this node is outside, or `None` if it is not.
    pub fn outside(&self) -> watch::Receiver<Option<Doubt>> {
        self.inner.outside.subscribe()
    }

    /// What the machine's clock says now: for the two ends of a question to another node, and as the answer to one.
    pub fn machine_now(&self) -> Timestamp {
        self.inner.clock.machine_now()
    }

    /// Another node said what time it is; its answer was here when this machine's clock said `answered`, and `took` so long since it was asked for. That is
    /// by the monotonic clock: by the machine's, an answer that was under way while it was set would fit to any time.
    pub fn note(&self, node: u64, said: Timestamp, answered: Timestamp, took: Duration) {
        let low = said.0.saturating_sub(answered.0);
        let high = low.saturating_add(i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
        let offset = Offset { low, high, seen: Instant::now() };
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
        let off: Vec<i64> = memory.offsets.values().filter_map(|offset| offset.beyond(*bound_ms)).collect();
        let agree = 1 + memory.offsets.values().filter(|offset| offset.agrees(*bound_ms)).count();
        let jump = machine.0.saturating_sub(clock.now().0);
        let ahead = off.get(off.len() / 2).copied();
        memory.doubt = match memory.doubt {
            _ if off.len() >= majority => Some(Doubt::Off(ahead.unwrap_or(-jump))),
            _ if agree >= majority => None,
            Some(Doubt::Unconfirmed(_)) => Some(Doubt::Unconfirmed(ahead)),
            Some(off) => Some(off),
            None => (jump.saturating_abs() > *bound_ms).then_some(Doubt::Off(-jump)),
        };
        if memory.doubt.is_none() {
            clock.adopt(machine);
        }
        let now = memory.doubt;
        outside.send_if_modified(|before| {
            let news = match (*before, now) {
                (Some(before), Some(now)) => !before.is_like(now),
                (before, now) => before.is_some() != now.is_some(),
            };
            if news {
                *before = now;
            }
            news
        });
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
    let act = async move {
        let mut before = None;
        loop {
            let Some(doubt) = *outside.borrow_and_update() else {
                match before.take() {
                    Some(Doubt::Unconfirmed(_)) => tracing::info!("a majority of the nodes confirms this node's clock"),
                    Some(Doubt::Off(_)) => tracing::info!("this node's clock is right again"),
                    None => {}
                }
                check.pass();
                root.cast(NodeMessage::ClockOutside(false)).ok();
                if outside.changed().await.is_err() {
                    break;
                }
                continue;
            };
            before = Some(doubt);
            match doubt {
                // For a moment, at every start.
                Doubt::Unconfirmed(None) => tracing::info!("{doubt}. No shard is led here until then"),
                Doubt::Unconfirmed(Some(_)) | Doubt::Off(_) => tracing::error!("{doubt}. No shard is led here until then"),
            }
            check.wait_for(doubt.to_string());
            root.cast(NodeMessage::ClockOutside(true)).ok();
            loop {
                balance::give_all_away(me, host.groups(), &liveness).await;
                // An election may bring a leadership back meanwhile.
                match tokio::time::timeout(GIVE_AWAY_EVERY, outside.changed()).await {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => return,
                    Err(_) => {}
                }
            }
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
        /// One of three, whose clock the second has confirmed.
        fn confirmed() -> Self {
            let node = Self::of(3);
            node.hear(2, 0);
            assert!(!node.is_outside());
            node
        }
        fn set(&self, offset: i64) {
            self.machine.set.store(offset, Ordering::Relaxed);
            self.bound.look();
        }
        /// A node whose clock is `ahead` of the true time answers after no time.
        fn hear(&self, node: u64, ahead: i64) {
            self.bound.note(node, Timestamp(self.truth() + ahead), self.bound.machine_now(), Duration::ZERO);
        }
        /// As [`Self::hear`], but the answer took so long that it may be from any time meanwhile.
        async fn hear_late(&self, node: u64, ahead: i64, took: u64) {
            let said = Timestamp(self.truth() + ahead);
            pass(took).await;
            self.bound.note(node, said, self.bound.machine_now(), Duration::from_millis(took));
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
    async fn a_node_that_starts_is_outside_until_a_majority_has_confirmed_its_clock() {
        let node = Node::of(3);
        assert!(node.is_outside(), "the clock may have been set while it was down");
        node.hear(2, 1500);
        assert!(node.is_outside(), "one against one: nobody knows who is right");
        assert_eq!(
            *node.bound.outside().borrow(),
            Some(Doubt::Unconfirmed(Some(1500))),
            "and people are told of whom they have to look at"
        );
        pass(60_000).await;
        node.bound.look();
        assert!(node.is_outside(), "time alone confirms nothing");
        node.hear(3, 40);
        assert!(!node.is_outside(), "two of three");
        pass(60_000).await;
        node.bound.look();
        assert!(!node.is_outside(), "what was confirmed goes on without the others");

        let wrong = Node::of(3);
        wrong.set(-1500);
        wrong.hear(2, 0);
        assert!(wrong.is_outside());
        wrong.set(0);
        wrong.hear(2, 0);
        assert!(!wrong.is_outside());
        assert_eq!(wrong.off_by(), 0, "the wrong time from before was never used");

        let of_five = Node::of(5);
        of_five.hear(2, 0);
        assert!(of_five.is_outside(), "two of five are no majority");
        of_five.hear(3, 0);
        assert!(!of_five.is_outside());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_less_exact_than_the_bound_confirms_nothing() {
        let node = Node::of(3);
        // On time or 1.2 s ahead, who knows.
        node.hear_late(2, 600, 1200).await;
        assert!(node.is_outside());
        node.hear_late(2, 0, 400).await;
        assert!(!node.is_outside());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_under_way_while_the_clock_was_set_is_no_agreement() {
        for jump in [86_400_000, -86_400_000, 1500, -1500] {
            let node = Node::confirmed();
            let (asked, said) = (Instant::now(), Timestamp(node.truth()));
            pass(20).await;
            node.set(jump);
            node.bound.note(2, said, node.bound.machine_now(), asked.elapsed());
            assert!(node.is_outside(), "{jump}");
            assert_eq!(node.off_by(), 0, "{jump}");
        }
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
        let node = Node::confirmed();
        node.set(-5000);
        node.hear(2, -5000);
        assert!(!node.is_outside(), "two of three");
        assert_eq!(node.off_by(), -5000);
    }

    #[tokio::test(start_paused = true)]
    async fn small_steps_and_drift_are_followed() {
        let node = Node::confirmed();
        for step in 1..=20 {
            node.set(step * 100);
            assert!(!node.is_outside());
            assert_eq!(node.off_by(), step * 100);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_drifts_is_outside_once_a_majority_says_so() {
        let node = Node::confirmed();
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
        pass(3000).await;
        // It was 2 s before this node heard: may well be on time.
        node.bound.note(3, Timestamp(node.truth() - 2000), node.bound.machine_now(), Duration::from_secs(3));
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
