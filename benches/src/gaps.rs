//! For how long a client got no answer.

use std::time::Duration;

use tokio::time::Instant;

/// Watches the time between the answers that one client gets.
///
/// A gap belongs to the time before the event if it ended before it, else to the time after it: the one that the event interrupts counts in full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gaps {
    last: Instant,
    /// The longest one before the event.
    pub(crate) before: Duration,
    /// The longest one from the event on.
    pub(crate) after: Duration,
}

impl Gaps {
    /// Begins to watch.
    pub(crate) fn begin(now: Instant) -> Self {
        Self { last: now, before: Duration::ZERO, after: Duration::ZERO }
    }

    /// An answer came. `happened` is true from the event on.
    pub(crate) fn answered(&mut self, now: Instant, happened: bool) {
        self.end(now, happened);
        self.last = now;
    }

    /// The watch is over. A call that is still open counts as far as it got: an outage that never ends must not look like none.
    pub(crate) fn end(&mut self, now: Instant, happened: bool) {
        let gap = now.saturating_duration_since(self.last);
        let longest = if happened { &mut self.after } else { &mut self.before };
        *longest = (*longest).max(gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(answers: &[(u64, bool)], end: u64) -> (u128, u128) {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut gaps = Gaps::begin(began);
        answers.iter().for_each(|(millis, happened)| gaps.answered(at(*millis), *happened));
        gaps.end(at(end), true);
        (gaps.before.as_millis(), gaps.after.as_millis())
    }

    #[test]
    fn the_gap_that_the_event_interrupts_counts_in_full_after_it() {
        assert_eq!(gaps(&[(30, false), (50, false), (450, true), (460, true)], 470), (30, 400));
    }

    #[test]
    fn an_outage_that_does_not_end_is_a_gap() {
        assert_eq!(gaps(&[(10, false), (30, true)], 5_000), (10, 4_970));
    }
}
