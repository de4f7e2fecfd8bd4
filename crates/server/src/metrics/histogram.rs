//! Histogram with fixed buckets that several threads fill.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of numbers by their size.
#[derive(Debug)]
pub(super) struct Histogram<const BUCKETS: usize> {
    /// Upper bounds, included.
    bounds: &'static [u64; BUCKETS],
    counts: [AtomicU64; BUCKETS],
    /// Numbers above the last bound.
    larger: AtomicU64,
    sum: AtomicU64,
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    pub(super) fn new(bounds: &'static [u64; BUCKETS]) -> Self {
        Self {
            bounds,
            counts: array::from_fn(|_| AtomicU64::new(0)),
            larger: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts `number`.
    pub(super) fn add(&self, number: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < number);
        self.counts.get(bucket).unwrap_or(&self.larger).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(number, Ordering::Relaxed);
    }

    /// Returns sum, count, and (upper bound, count) of each bucket, sum and bounds divided by `unit`.
    pub(super) fn snapshot(&self, unit: f64) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / unit);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum::<u64>() + self.larger.load(Ordering::Relaxed);
        (self.sum.load(Ordering::Relaxed) as f64 / unit, count, buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_up_to_and_including_their_bound() {
        let histogram = Histogram::new(&[1, 10]);
        for number in [0, 1, 2, 10, 11, 1000] {
            histogram.add(number);
        }
        assert_eq!(histogram.snapshot(2.0), (512.0, 6, vec![(0.5, 2), (5.0, 2)]));
    }
}
