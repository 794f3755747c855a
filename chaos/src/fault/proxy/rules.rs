//! What may be wrong with a link.

use std::time::Duration;

/// One direction of a link. The default is a direction on which nothing is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Nothing gets through; what was sent waits in the sender's and the system's buffers, as it does before TCP repeats it.
    pub frozen: bool,
    /// How long each byte takes more than usual.
    pub delay: Duration,
    /// At most so much more, differently each time. Order is kept.
    pub jitter: Duration,
    /// Bytes per second, at most.
    pub bytes_per_second: Option<u64>,
}

/// Both directions of a link, and what becomes of new connections. The default is a link on which nothing is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// New connections are closed at once.
    pub refuse: bool,
    /// New connections are accepted and get no further.
    pub hold_new: bool,
    /// From the one that connects to the one that listens.
    pub forward: Flow,
    /// The other way.
    pub backward: Flow,
}

impl Flow {
    /// Nothing gets through.
    pub fn frozen() -> Self {
        Self { frozen: true, ..Self::default() }
    }

    /// Two faults on the same direction at the same time.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let rates = [self.bytes_per_second, other.bytes_per_second];
        Self {
            frozen: self.frozen || other.frozen,
            delay: self.delay + other.delay,
            jitter: self.jitter + other.jitter,
            bytes_per_second: rates.into_iter().flatten().min(),
        }
    }
}

impl Rules {
    /// Nothing gets through, in no direction.
    pub fn cut() -> Self {
        Self { refuse: false, hold_new: true, forward: Flow::frozen(), backward: Flow::frozen() }
    }

    /// The same in both directions.
    pub fn both(flow: Flow) -> Self {
        Self { forward: flow, backward: flow, ..Self::default() }
    }

    /// Two faults on the same link at the same time.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            refuse: self.refuse || other.refuse,
            hold_new: self.hold_new || other.hold_new,
            forward: self.forward.and(other.forward),
            backward: self.backward.and(other.backward),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_faults_on_a_link_add_up_and_the_slower_rate_wins() {
        let ms = Duration::from_millis;
        let slow = Rules::both(Flow { delay: ms(100), jitter: ms(5), bytes_per_second: Some(1000), ..Flow::default() });
        let one_way =
            Rules { backward: Flow { frozen: true, delay: ms(10), bytes_per_second: Some(500), ..Flow::default() }, ..Rules::default() };
        let both = slow.and(one_way);
        assert_eq!(both.forward, slow.forward);
        assert_eq!(both.backward, Flow { frozen: true, delay: ms(110), jitter: ms(5), bytes_per_second: Some(500) });
        assert_eq!(Rules::default().and(slow), slow);
        assert!(Rules::cut().and(slow).hold_new);
    }
}
