//! Draws from a seed.

/// The finalizer of SplitMix64.
pub(super) fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A stream of draws. What is drawn for one purpose must not move what is drawn for another, so each purpose has its own.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The stream of a seed for a purpose.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        Self(purpose.bytes().fold(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)), |state, byte| mix(state ^ u64::from(byte))))
    }

    /// Any number.
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from the first to the last.
    pub(super) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.draw() % (last.saturating_sub(first) + 1)
    }

    /// True so many times of a hundred.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.draw() % 100 < percent
    }

    /// One of them. Panics on none, which no caller has.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.between(0, of.len() as u64 - 1) as usize]
    }

    /// About so much on average, never less than a fifth of it or more than three times as much.
    pub(super) fn around(&mut self, mean: u64) -> u64 {
        let (a, b) = (self.between(mean / 5, mean), self.between(0, mean));
        a + b.min(2 * mean)
    }
}
