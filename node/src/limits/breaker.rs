//! A breaker: counts how attempts end, stops them for a while when too many fail, then lets a few through to see.

use std::collections::VecDeque;

use quorus_engine::Millis;

use super::BreakerSpec;

/// The window is counted in so many parts, of which the oldest goes as a whole.
const PARTS: u64 = 10;

/// Where a breaker stands. Times are milliseconds of the keeper's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Attempts begin.
    #[default]
    Closed,
    /// No attempt begins before this time.
    Open(Millis),
    /// A few probe; so many of them have succeeded.
    HalfOpen(u32),
}

/// A breaker.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    state: BreakerState,
    /// Begin, succeeded, failed.
    parts: VecDeque<(Millis, u32, u32)>,
}

impl Breaker {
    /// Where it stands now.
    pub fn state(&mut self, now: Millis) -> BreakerState {
        if let BreakerState::Open(until) = self.state
            && now >= until
        {
            self.state = BreakerState::HalfOpen(0);
        }
        self.state
    }

    /// True if an attempt may begin while so many are under way.
    pub fn admits(&mut self, spec: &BreakerSpec, now: Millis, in_use: u32) -> bool {
        match self.state(now) {
            BreakerState::Closed => true,
            BreakerState::Open(_) => false,
            BreakerState::HalfOpen(_) => in_use < spec.probes,
        }
    }

    /// Attempts ended.
    pub fn ended(&mut self, spec: &BreakerSpec, now: Millis, succeeded: u32, failed: u32) {
        match self.state(now) {
            // They began before it opened.
            BreakerState::Open(_) => {}
            BreakerState::HalfOpen(_) if failed > 0 => self.open(spec, now),
            BreakerState::HalfOpen(before) if before + succeeded >= spec.probes => self.reset(),
            BreakerState::HalfOpen(before) => self.state = BreakerState::HalfOpen(before + succeeded),
            BreakerState::Closed => {
                self.count(spec, now, succeeded, failed);
                let (succeeded, failed) = self.counts(spec, now);
                let ended = succeeded + failed;
                let by_number = spec.failures > 0 && failed >= spec.failures;
                let enough = ended as usize >= BreakerSpec::RATIO_FROM;
                let by_ratio = spec.ratio > 0.0 && enough && f64::from(failed) >= spec.ratio * f64::from(ended);
                if by_number || by_ratio {
                    self.open(spec, now);
                }
            }
        }
    }

    /// Attempts that succeeded and failed within the window.
    pub fn counts(&mut self, spec: &BreakerSpec, now: Millis) -> (u32, u32) {
        while self.parts.pop_front_if(|(begin, ..)| begin.0 + spec.window.0 <= now.0).is_some() {}
        self.parts.iter().fold((0, 0), |(succeeded, failed), part| (succeeded + part.1, failed + part.2))
    }

    /// Closes it, and forgets what was counted.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    fn open(&mut self, spec: &BreakerSpec, now: Millis) {
        self.parts.clear();
        self.state = BreakerState::Open(Millis(now.0 + spec.open_for.0));
    }

    fn count(&mut self, spec: &BreakerSpec, now: Millis, succeeded: u32, failed: u32) {
        let length = (spec.window.0 / PARTS).max(1);
        match self.parts.back_mut().filter(|(begin, ..)| now.0 < begin.0 + length) {
            Some(part) => {
                part.1 += succeeded;
                part.2 += failed;
            }
            None => self.parts.push_back((now, succeeded, failed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(failures: u32, ratio: f64) -> BreakerSpec {
        BreakerSpec { failures, ratio, window: Millis(1_000), open_for: Millis(500), probes: 2 }
    }

    #[test]
    fn it_opens_by_number_probes_and_closes() {
        let (spec, mut breaker) = (spec(3, 0.0), Breaker::default());
        breaker.ended(&spec, Millis(0), 5, 2);
        assert!(breaker.admits(&spec, Millis(1), 100));
        breaker.ended(&spec, Millis(10), 0, 1);
        assert_eq!(breaker.state(Millis(10)), BreakerState::Open(Millis(510)));
        assert!(!breaker.admits(&spec, Millis(509), 0));
        breaker.ended(&spec, Millis(400), 9, 9);
        assert!(breaker.admits(&spec, Millis(510), 1) && !breaker.admits(&spec, Millis(510), 2), "two at a time probe");
        breaker.ended(&spec, Millis(520), 1, 0);
        assert_eq!(breaker.state(Millis(520)), BreakerState::HalfOpen(1));
        breaker.ended(&spec, Millis(530), 1, 0);
        assert_eq!(breaker.state(Millis(530)), BreakerState::Closed);
        assert_eq!(breaker.counts(&spec, Millis(530)), (0, 0));
    }

    #[test]
    fn a_probe_that_fails_opens_it_again() {
        let (spec, mut breaker) = (spec(1, 0.0), Breaker::default());
        breaker.ended(&spec, Millis(0), 0, 1);
        assert_eq!(breaker.state(Millis(500)), BreakerState::HalfOpen(0));
        breaker.ended(&spec, Millis(600), 1, 1);
        assert_eq!(breaker.state(Millis(600)), BreakerState::Open(Millis(1_100)));
        breaker.reset();
        assert!(breaker.admits(&spec, Millis(600), 0));
    }

    #[test]
    fn a_ratio_counts_from_ten_attempts_on_and_old_ones_are_forgotten() {
        let (spec, mut breaker) = (spec(0, 0.5), Breaker::default());
        breaker.ended(&spec, Millis(0), 0, 9);
        assert_eq!(breaker.state(Millis(0)), BreakerState::Closed, "nine of nine");
        breaker.ended(&spec, Millis(1_100), 6, 4);
        assert_eq!(breaker.counts(&spec, Millis(1_100)), (6, 4));
        breaker.ended(&spec, Millis(1_150), 0, 2);
        assert_eq!(breaker.state(Millis(1_150)), BreakerState::Open(Millis(1_650)));
    }
}
