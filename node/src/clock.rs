//! Wall time and chance as inputs, so that a simulation can own them.
//!
//! Durations within a process are measured with `tokio::time`, which a simulation pauses; this trait is for the times that are recorded.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
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

/// The environment variable that names the file with a game day's offset.
const GAME_DAY_VARIABLE: &str = "QUORUS_GAME_DAY_CLOCK_FILE";
/// How often the file is read.
const GAME_DAY_READ_EVERY: Duration = Duration::from_millis(100);

/// The clock of this process: the machine's or, on a game day, one that is wrong on purpose.
pub fn of_this_process() -> Arc<dyn Clock> {
    match std::env::var_os(GAME_DAY_VARIABLE).filter(|file| !file.is_empty()) {
        Some(file) => {
            tracing::warn!(file = %file.display(), "GAME DAY: this node's clock is what {GAME_DAY_VARIABLE} makes of it; never set it where work matters");
            Arc::new(GameDayClock::new(file.into()))
        }
        None => Arc::new(SystemClock),
    }
}

/// The machine's clock plus the milliseconds that a file tells; 0 while the file is not there or holds no number.
struct GameDayClock {
    file: PathBuf,
    read: Mutex<(Option<Instant>, i64)>,
}

impl GameDayClock {
    fn new(file: PathBuf) -> Self {
        Self { file, read: Mutex::new((None, 0)) }
    }

    fn offset(&self) -> i64 {
        let mut read = self.read.lock();
        if read.0.is_none_or(|at| at.elapsed() >= GAME_DAY_READ_EVERY) {
            let found = std::fs::read_to_string(&self.file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if found != read.1 {
                tracing::warn!(offset_ms = found, was_ms = read.1, "GAME DAY: this node's clock is set off on purpose");
            }
            *read = (Some(Instant::now()), found);
        }
        read.1
    }
}

impl Clock for GameDayClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0.saturating_add(self.offset()))
    }

    fn unique(&self) -> u128 {
        SystemClock.unique()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_game_day_sets_the_clock_off_by_what_the_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        let off_by = |clock: &GameDayClock| clock.now().0 - SystemClock.now().0;
        assert!(off_by(&GameDayClock::new(file.clone())).abs() < 1000, "no file, no offset");
        std::fs::write(&file, "-3600000\n").unwrap();
        assert!((off_by(&GameDayClock::new(file.clone())) + 3_600_000).abs() < 1000);
        std::fs::write(&file, "yesterday").unwrap();
        assert!(off_by(&GameDayClock::new(file)).abs() < 1000, "what is no number is no offset");
    }
}
