//! Counts durations with a relative error below one percent, in constant space.

use std::time::Duration;

/// Each power of two is cut into this many steps.
const STEPS: u64 = 128;
const STEP_BITS: u32 = STEPS.trailing_zeros();
const CELLS: usize = (64 - STEP_BITS as usize + 1) * STEPS as usize;

/// How often each duration was seen.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    cells: Vec<u64>,
    count: u64,
    longest_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { cells: vec![0; CELLS], count: 0, longest_ns: 0 }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.cells[cell_of(ns)] += 1;
        self.count += 1;
        self.longest_ns = self.longest_ns.max(ns);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (cell, more) in self.cells.iter_mut().zip(&other.cells) {
            *cell += more;
        }
        self.count += other.count;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The longest duration, exactly.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns)
    }

    /// The duration that a share of `quantile` does not exceed; zero when nothing was recorded.
    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        let wanted = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (cell, count) in self.cells.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(middle_of(cell).min(self.longest_ns));
            }
        }
        Duration::ZERO
    }
}

fn cell_of(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let shift = ns.ilog2() - STEP_BITS;
    let step = (ns >> shift) - STEPS;
    ((u64::from(shift) + 1) * STEPS + step) as usize
}

fn middle_of(cell: usize) -> u64 {
    let cell = cell as u64;
    if cell < STEPS {
        return cell;
    }
    let shift = cell / STEPS - 1;
    let low = (STEPS + cell % STEPS) << shift;
    low + ((1_u64 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_one_percent() {
        let mut histogram = Histogram::default();
        for us in 1..=10_000 {
            histogram.record(Duration::from_micros(us));
        }
        for (quantile, us) in [(0.01, 100.0), (0.5, 5_000.0), (0.99, 9_900.0)] {
            let found = histogram.quantile(quantile).as_secs_f64() * 1e6;
            assert!((found - us).abs() / us < 0.01, "{quantile}: {found} us");
        }
        assert_eq!(histogram.count(), 10_000);
        assert_eq!(histogram.longest(), Duration::from_micros(10_000));
    }

    #[test]
    fn the_smallest_and_largest_durations_have_a_cell() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.count(), 2);
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
    }

    #[test]
    fn sums_of_histograms_hold_both() {
        let (mut one, mut two) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_millis(1));
        two.record(Duration::from_millis(3));
        one.add(&two);
        assert_eq!((one.count(), one.longest()), (2, Duration::from_millis(3)));
    }
}
