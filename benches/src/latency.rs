//! Latencies: recorded in microseconds with three digits, shown in milliseconds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Above any patience.
const MICROS_MAX: u64 = 24 * 3_600 * 1_000_000;

/// A distribution of latencies.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// Without any yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, MICROS_MAX, 3)?))
    }

    /// Adds one.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(MICROS_MAX).max(1));
    }

    /// Adds all of another one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// The part of them that is at most so long, from 0 to 1.
    #[cfg(test)]
    pub(crate) fn part_below(&self, latency: Duration) -> f64 {
        self.0.quantile_below(u64::try_from(latency.as_micros()).unwrap())
    }

    /// The figures, if there are any.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let quantile = |quantile| millis(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Summary {
            count: self.0.len(),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: millis(self.0.max()),
        })
    }
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// The figures of a distribution, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_recorded_is_no_figure() {
        assert_eq!(Latencies::new().unwrap().summary(), None);
    }

    #[test]
    fn microseconds_become_milliseconds() {
        let mut latencies = Latencies::new().unwrap();
        (1..=100).for_each(|millis| latencies.record(Duration::from_millis(millis)));
        let summary = latencies.summary().unwrap();
        assert_eq!(summary.count, 100);
        assert!((summary.p50 - 50.0).abs() < 0.1 && (summary.max - 100.0).abs() < 0.1, "{summary:?}");
    }
}
