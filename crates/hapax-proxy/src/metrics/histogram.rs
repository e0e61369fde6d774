//! Times in buckets: two additions to observe one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds for what takes microseconds to half a minute.
pub(super) const LATENCY_BOUNDS_MICROS: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000, 30_000_000,
];

/// Upper bounds for how old answers grow: a second to a week.
pub(super) const AGE_BOUNDS_MICROS: &[u64] = &[
    1_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
    604_800_000_000,
];

/// Counts of times by bucket.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds_micros: &'static [u64],
    /// One more than there are bounds: the last is for what lies above all of them.
    counts: Box<[AtomicU64]>,
    sum_micros: AtomicU64,
}

/// A histogram, or the sum of several of the same bounds, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Upper bound in seconds and the times at or below it that no earlier bucket holds.
    pub(super) buckets: Vec<(f64, u64)>,
    /// Seconds that all times make together.
    pub(super) sum: f64,
}

impl Histogram {
    pub(super) fn new(bounds_micros: &'static [u64]) -> Self {
        let counts = (0..=bounds_micros.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds_micros, counts, sum_micros: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, time: Duration) {
        let micros = micros(time);
        let bucket = self.bounds_micros.partition_point(|bound| *bound < micros);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Adds what this histogram holds to `sum`.
    pub(super) fn add_to(&self, sum: &mut Distribution) {
        if sum.buckets.is_empty() {
            let bounds = self.bounds_micros.iter().map(|bound| *bound as f64 / 1e6);
            sum.buckets = bounds.chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
        }
        for (bucket, count) in sum.buckets.iter_mut().zip(&self.counts) {
            bucket.1 += count.load(Ordering::Relaxed);
        }
        sum.sum += self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6;
    }
}

impl Distribution {
    /// How many times were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// What they make together, in seconds.
    #[must_use]
    pub const fn sum_secs(&self) -> f64 {
        self.sum
    }

    /// The upper bound in seconds of the bucket in which the share `part` (0 to 1) of all times is
    /// reached; `None` without any, or where it lies above all bounds.
    #[must_use]
    pub fn quantile_bound(&self, part: f64) -> Option<f64> {
        let wanted = (self.count() as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = self.buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        reached.map(|(bound, _)| *bound).filter(|bound| bound.is_finite())
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_on_a_bound_belongs_to_its_bucket_and_one_above_all_to_the_last() {
        let histogram = Histogram::new(LATENCY_BOUNDS_MICROS);
        for time in [Duration::from_micros(50), Duration::from_micros(51), Duration::from_secs(99)]
        {
            histogram.observe(time);
        }
        let mut sum = Distribution::default();
        histogram.add_to(&mut sum);
        assert_eq!(sum.buckets[0], (0.000_05, 1));
        assert_eq!(sum.buckets[1], (0.000_1, 1));
        assert_eq!(sum.buckets.last(), Some(&(f64::INFINITY, 1)));
        assert_eq!(sum.count(), 3);
        assert!((sum.sum_secs() - 99.000_101).abs() < 1e-9);
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let histogram = Histogram::new(LATENCY_BOUNDS_MICROS);
        let empty = Distribution::default();
        assert_eq!(empty.quantile_bound(0.5), None);
        for _ in 0..99 {
            histogram.observe(Duration::from_micros(700));
        }
        histogram.observe(Duration::from_secs(60));
        let mut sum = Distribution::default();
        histogram.add_to(&mut sum);
        assert_eq!(sum.quantile_bound(0.5), Some(0.001));
        assert_eq!(sum.quantile_bound(0.99), Some(0.001));
        assert_eq!(sum.quantile_bound(1.0), None);
    }
}
