//! Chance from a seed: the same seed, the same draws, on every machine and in every version.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Draws from a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or 0 if the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias is less than one in a billion for the bounds that are used here.
        if bound == 0 { 0 } else { self.draw() % bound }
    }

    /// One of them, if there are any.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap_or(0))
    }

    /// `count` of them, in their order.
    pub fn some<T: Clone>(&mut self, of: &[T], count: usize) -> Vec<T> {
        let mut left: Vec<(usize, T)> = of.iter().cloned().enumerate().collect();
        while left.len() > count {
            let out = usize::try_from(self.below(left.len() as u64)).unwrap_or(0);
            left.remove(out);
        }
        left.into_iter().map(|(_, one)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_forever() {
        let mut dice = Dice::new(1);
        assert_eq!((dice.draw(), dice.draw()), (10_451_216_379_200_822_465, 13_757_245_211_066_428_519));
        assert_eq!((Dice::new(1).below(0), Dice::new(3).pick::<u8>(&[])), (0, None));
    }

    #[test]
    fn some_are_as_many_as_asked_for_and_everyone_has_a_chance() {
        let mut dice = Dice::new(2);
        let mut met = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let some = dice.some(&[1, 2, 3, 4, 5], 2);
            assert!(some.len() == 2 && some.is_sorted());
            met.extend(some);
        }
        assert_eq!(met.len(), 5);
    }
}
