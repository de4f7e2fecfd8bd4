//! The handful of numbers by which a set of durations is told.

use crate::percentile::{Sorted, mean, percentile};

/// Below this many values a 99th percentile says little more than the maximum does: it is marked, or not drawn.
pub const P99_NEEDS: usize = 100;

/// Statistics of a set of durations, all in milliseconds. `None` where there was nothing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Distribution {
    /// How many values it stands on.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile; see [`Distribution::p99_thin`].
    pub p99: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
}

impl Distribution {
    /// The statistics of `values`.
    #[must_use]
    pub fn of(values: &Sorted) -> Self {
        Distribution {
            n: values.len(),
            mean: mean(values),
            p50: percentile(values, 0.50),
            p95: percentile(values, 0.95),
            p99: percentile(values, 0.99),
            max: values.max(),
        }
    }

    /// Whether there are too few values ([`P99_NEEDS`]) for the 99th percentile to be trusted.
    #[must_use]
    pub fn p99_thin(&self) -> bool {
        self.n < P99_NEEDS
    }

    /// The 99th percentile where it can be trusted.
    #[must_use]
    pub fn solid_p99(&self) -> Option<f64> {
        if self.p99_thin() { None } else { self.p99 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_set_has_its_known_statistics() {
        let got = Distribution::of(&(1..=5).map(f64::from).collect());
        assert_eq!((got.n, got.mean, got.p50, got.max), (5, Some(3.0), Some(3.0), Some(5.0)));
        assert!((got.p95.unwrap() - 4.8).abs() < 1e-9);
    }

    #[test]
    fn p99_is_thin_below_one_hundred_values() {
        let with = |n: u32| Distribution::of(&(0..n).map(f64::from).collect());
        assert!(with(99).p99_thin() && with(99).solid_p99().is_none() && with(99).p99.is_some());
        assert!(!with(100).p99_thin() && with(100).solid_p99().is_some());
    }

    #[test]
    fn nothing_is_not_zero() {
        assert_eq!(Distribution::of(&Sorted::default()), Distribution::default());
    }
}
