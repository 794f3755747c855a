//! A small seeded generator, so that a seed means the same workload for ever: no crate's next version may change what an old seed draws.
//!
//! SplitMix64 (Steele, Lea, Flood 2014). Not for secrets.

/// Draws numbers from a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The same seed draws the same.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A generator of its own for a part of the work, so that what one part draws does not shift what another part draws.
    pub fn fork(&self, label: &str, number: u64) -> Self {
        // FNV-1a over label and number, mixed with the state.
        let bytes = label.bytes().chain(number.to_le_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut forked = Self { state: self.state ^ hash };
        forked.bits();
        forked
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from `low` to `high`, both included. `low` if they are the wrong way round.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low);
        // The bias of the remainder is far below what any workload could notice.
        if span == u64::MAX { self.bits() } else { low + self.bits() % (span + 1) }
    }

    /// An index of a list of this length; 0 of an empty one.
    pub fn index(&mut self, length: usize) -> usize {
        let last = u64::try_from(length.saturating_sub(1)).unwrap_or(u64::MAX);
        usize::try_from(self.between(0, last)).unwrap_or(0)
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of these, by weight; none if all weights are 0.
    pub fn weighted<T: Copy>(&mut self, choices: &[(T, u32)]) -> Option<T> {
        let total: u64 = choices.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = if total == 0 { return None } else { self.between(0, total - 1) };
        for (choice, weight) in choices {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return Some(*choice),
            }
        }
        None
    }

    /// Time until the next of events that come with this mean distance, independently of each other.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }

    /// A text of 32 hexadecimal digits, for ids.
    pub fn hex(&mut self) -> String {
        format!("{:016x}{:016x}", self.bits(), self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_for_ever() {
        // Reference values of SplitMix64 for the seed 1234567.
        let mut rng = Rng::new(1_234_567);
        assert_eq!([rng.bits(), rng.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
        assert_ne!(Rng::new(1).fork("a", 0), Rng::new(1).fork("a", 1));
        assert_ne!(Rng::new(1).fork("a", 0), Rng::new(1).fork("b", 0));
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut rng = Rng::new(7);
        let drawn: Vec<u64> = (0..1000).map(|_| rng.between(3, 5)).collect();
        assert!([3, 4, 5].iter().all(|value| drawn.contains(value)) && drawn.iter().all(|value| (3..=5).contains(value)));
        assert_eq!((rng.between(9, 2), rng.index(0)), (9, 0));
        assert_eq!(rng.weighted(&[("a", 0), ("b", 3)]), Some("b"));
        assert_eq!(rng.weighted::<u8>(&[(1, 0)]), None);
        let mean = (0..20_000).map(|_| rng.exponential(4.0)).sum::<f64>() / 20_000.0;
        assert!((3.8..4.2).contains(&mean), "{mean}");
    }
}
