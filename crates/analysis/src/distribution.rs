//! The statistics that summarise a set of durations.

use crate::percentile::{Sorted, mean, percentile};

/// Statistics of a set of durations, milliseconds; `None` without values.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Distribution {
    /// Number of values.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
}

impl Distribution {
    /// Computes the statistics of `values`.
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
    fn no_values_have_no_statistics() {
        assert_eq!(Distribution::of(&Sorted::default()), Distribution::default());
    }
}
