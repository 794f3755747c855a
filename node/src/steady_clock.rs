//! What a node reads as the time: it goes on from the last good time by the monotonic clock, so that a jump of the machine's clock is not seen in it.
//!
//! Which time is good is decided by [`crate::clock_bound`], which adopts it here.
//!
//! **Invariant:** without an adoption it runs as fast as the monotonic clock.

use std::sync::Arc;

use parking_lot::Mutex;
use quorus_engine::Timestamp;
use tokio::time::Instant;

use crate::clock::Clock;

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

    /// Goes on from this time.
    pub(crate) fn adopt(&self, now: Timestamp) {
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

/// What a clock should say now that said `wall` then.
pub(crate) fn since(wall: Timestamp, at: Instant) -> Timestamp {
    Timestamp(wall.0.saturating_add(i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX)))
}
