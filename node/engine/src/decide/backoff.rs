//! How long to wait before the next attempt.

use crate::{Millis, RetryPolicy};

/// The delay after the `failed`-th failure: `min(max_interval, initial_interval * coefficient^(failed-1))`, or with jitter any time up to
/// that. `seed` is the decision's chance, `salt` keeps steps and attempts of one decision apart.
pub(super) fn delay(policy: &RetryPolicy, failed: u32, seed: u64, salt: u64) -> Millis {
    let growth = policy.backoff_coefficient.powi(i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX));
    // Growth may be infinite; a policy without delays stays without.
    let full = if policy.initial_interval.0 == 0 { 0.0 } else { policy.initial_interval.0 as f64 * growth };
    let full = full.min(policy.max_interval.0 as f64) as u64;
    if policy.jitter { Millis(splitmix(seed ^ splitmix(salt)) % full.saturating_add(1)) } else { Millis(full) }
}

/// SplitMix64: spreads the bits of its input.
pub(super) fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_the_cap() {
        let policy = RetryPolicy { jitter: false, max_interval: Millis(10_000), ..RetryPolicy::default() };
        let delays: Vec<u64> = (1..=6).map(|failed| delay(&policy, failed, 0, 0).0).collect();
        assert_eq!(delays, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert_eq!(delay(&policy, u32::MAX, 0, 0).0, 10_000);
    }

    #[test]
    fn jitter_stays_below_the_delay_and_differs_between_steps() {
        let policy = RetryPolicy::default();
        let delays: std::collections::BTreeSet<u64> = (0..100).map(|salt| delay(&policy, 1, 7, salt).0).collect();
        assert!(delays.len() > 80, "spread over the interval");
        assert!(delays.iter().all(|delay| *delay <= 1_000));
        assert_eq!(delay(&policy, 1, 7, 3), delay(&policy, 1, 7, 3));
    }

    #[test]
    fn no_interval_means_no_delay() {
        let policy = RetryPolicy { initial_interval: Millis(0), ..RetryPolicy::default() };
        assert_eq!(delay(&policy, u32::MAX, 1, 1).0, 0);
    }
}
