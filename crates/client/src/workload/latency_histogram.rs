//! Histogram of start latenesses, of fixed size and shared by threads without a lock.
//!
//! Exact to the microsecond up to [`EXACT_US`]; of larger values only the maximum is known.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Number of counters, one per microsecond.
const EXACT_US: usize = 65_536;

/// Histogram of start latenesses.
#[derive(Debug)]
pub(super) struct StartLateness {
    /// Count of each number of microseconds, rounded up; the last one counts all larger values.
    counts: Box<[AtomicU32]>,
    max_us: AtomicU64,
}

impl Default for StartLateness {
    fn default() -> Self {
        Self { counts: (0..EXACT_US).map(|_| AtomicU32::new(0)).collect(), max_us: AtomicU64::new(0) }
    }
}

impl StartLateness {
    /// Adds a start lateness, rounded up to microseconds.
    pub(super) fn add(&self, lateness: Duration) {
        let us = lateness.as_nanos().div_ceil(1000).try_into().unwrap_or(u64::MAX);
        let index = usize::try_from(us).unwrap_or(usize::MAX).min(EXACT_US - 1);
        self.counts[index].fetch_add(1, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    /// Returns the number of values.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(count.load(Ordering::Relaxed))).sum()
    }

    /// Returns the maximum in microseconds; 0 without values.
    pub(super) fn max_us(&self) -> u64 {
        self.max_us.load(Ordering::Relaxed)
    }

    /// Returns a percentile in microseconds by the nearest-rank method; 0 without values.
    pub(super) fn percentile_us(&self, percent: u64) -> u64 {
        let rank = (self.count() * percent).div_ceil(100);
        let mut seen = 0;
        for (us, count) in (0..).zip(&self.counts) {
            seen += u64::from(count.load(Ordering::Relaxed));
            if seen >= rank && us < EXACT_US as u64 - 1 {
                return us;
            }
        }
        self.max_us()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(us: impl IntoIterator<Item = u64>) -> StartLateness {
        let lateness = StartLateness::default();
        us.into_iter().for_each(|us| lateness.add(Duration::from_micros(us)));
        lateness
    }

    #[test]
    fn percentiles_use_the_nearest_rank() {
        let hundred = of(1..=100);
        assert_eq!([50, 99, 100].map(|percent| hundred.percentile_us(percent)), [50, 99, 100]);
        let few = of([7, 3, 5]);
        assert_eq!([1, 50, 99].map(|percent| few.percentile_us(percent)), [3, 5, 7]);
        assert_eq!((few.count(), few.max_us()), (3, 7));
    }

    #[test]
    fn values_are_rounded_up_and_the_maximum_is_exact() {
        let lateness = of([]);
        assert_eq!((lateness.count(), lateness.percentile_us(99), lateness.max_us()), (0, 0, 0));
        lateness.add(Duration::from_nanos(1001));
        assert_eq!(lateness.percentile_us(50), 2, "rounded up");
        let with_outlier = of([10, 10, 5_000_000]);
        assert_eq!((with_outlier.percentile_us(50), with_outlier.percentile_us(99)), (10, 5_000_000));
    }
}
