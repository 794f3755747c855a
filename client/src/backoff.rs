//! How long to wait before the next try, and where to try.
//!
//! A node that does not answer says nothing about the others, so a [`Rotation`] tries each of them once without waiting; only when all have
//! failed does it wait, twice as long after each further round up to a cap. The jitter keeps clients that lost the same node apart.

use std::time::Duration;

/// Grows from `initial` to `cap`; each delay is drawn from the upper half of the current bound.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    initial: Duration,
    cap: Duration,
    round: u32,
}

impl Backoff {
    pub(crate) fn new(initial: Duration, cap: Duration) -> Self {
        Self { initial, cap, round: 0 }
    }

    /// The bound of the next delay, before jitter.
    fn bound(&self) -> Duration {
        self.initial.saturating_mul(2u32.saturating_pow(self.round)).min(self.cap)
    }

    /// The next delay. `jitter` is between 0 and 1.
    pub(crate) fn next(&mut self, jitter: f64) -> Duration {
        let bound = self.bound();
        self.round = self.round.saturating_add(1);
        bound.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }

    pub(crate) fn reset(&mut self) {
        self.round = 0;
    }
}

/// Walks over a list of nodes.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    count: usize,
    index: usize,
    failed_in_a_row: usize,
    backoff: Backoff,
}

impl Rotation {
    /// Begins with the node at `index` of `count`.
    pub(crate) fn new(count: usize, index: usize, backoff: Backoff) -> Self {
        let count = count.max(1);
        Self { count, index: index % count, failed_in_a_row: 0, backoff }
    }

    /// Where to try.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Goes to the next node and says how long to wait before trying it.
    pub(crate) fn failed(&mut self, jitter: f64) -> Duration {
        self.index = (self.index + 1) % self.count;
        self.failed_in_a_row += 1;
        if self.failed_in_a_row.is_multiple_of(self.count) { self.backoff.next(jitter) } else { Duration::ZERO }
    }

    /// The node answered; the next failure starts a new round.
    pub(crate) fn succeeded(&mut self) {
        self.failed_in_a_row = 0;
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn delay_doubles_up_to_the_cap() {
        let mut backoff = Backoff::new(MS(50), MS(300));
        let delays: Vec<_> = (0..5).map(|_| backoff.next(1.0)).collect();
        assert_eq!(delays, [MS(50), MS(100), MS(200), MS(300), MS(300)]);
    }

    #[test]
    fn jitter_never_goes_below_half() {
        let mut backoff = Backoff::new(MS(100), MS(100));
        assert_eq!(backoff.next(0.0), MS(50));
        assert_eq!(backoff.next(-7.0), MS(50));
        assert_eq!(backoff.next(7.0), MS(100));
    }

    #[test]
    fn every_node_is_tried_once_before_the_first_wait() {
        let mut rotation = Rotation::new(3, 2, Backoff::new(MS(50), MS(1000)));
        assert_eq!(rotation.index(), 2);
        assert_eq!((rotation.failed(1.0), rotation.index()), (MS(0), 0));
        assert_eq!((rotation.failed(1.0), rotation.index()), (MS(0), 1));
        assert_eq!((rotation.failed(1.0), rotation.index()), (MS(50), 2));
        assert_eq!((rotation.failed(1.0), rotation.index()), (MS(0), 0));
    }

    #[test]
    fn an_answer_starts_a_new_round() {
        let mut rotation = Rotation::new(1, 0, Backoff::new(MS(50), MS(1000)));
        assert_eq!((rotation.failed(1.0), rotation.failed(1.0)), (MS(50), MS(100)));
        rotation.succeeded();
        assert_eq!(rotation.failed(1.0), MS(50));
    }
}
