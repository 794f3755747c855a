//! Wall time and chance as inputs, so that a simulation can own them.
//!
//! Durations within a process are measured with `tokio::time`, which a simulation pauses; this trait is for the times that are recorded.

use quorus_engine::Timestamp;

/// Tells wall time, and makes ids.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now(&self) -> Timestamp;

    /// A number that nobody had before: 128 random bits.
    fn unique(&self) -> u128;
}

/// The machine's clock and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn unique(&self) -> u128 {
        rand::random()
    }
}
