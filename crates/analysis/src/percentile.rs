//! Percentiles and means of values that may be missing or not finite. The result is never NaN.

use crate::numbers::Numbers;

/// Finite values in ascending order, as percentiles require.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sorted(Numbers);

impl Sorted {
    /// Sorts `values` and removes those that are not finite.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut numbers = Numbers::default();
        values.into_iter().filter(|value| value.is_finite()).for_each(|value| numbers.push(value));
        Sorted::from(numbers)
    }

    /// Merges several sets.
    pub(crate) fn merged<'a>(sets: impl Iterator<Item = &'a Sorted> + Clone) -> Self {
        Sorted::from(Numbers::concat(sets.map(|set| &set.0)))
    }

    /// Returns the values, smallest first.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        self.iter().collect()
    }

    /// Iterates over the values, smallest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter()
    }

    /// Returns the number of values up to `limit`.
    pub(crate) fn count_up_to(&self, limit: f64) -> usize {
        self.0.partition_point(|value| value <= limit)
    }

    /// Returns the number of values below `limit`.
    pub(crate) fn count_below(&self, limit: f64) -> usize {
        self.0.partition_point(|value| value < limit)
    }

    /// Returns the number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Returns the smallest value.
    #[must_use]
    pub(crate) fn min(&self) -> Option<f64> {
        self.0.iter().next()
    }

    /// Returns the largest value.
    #[must_use]
    pub(crate) fn max(&self) -> Option<f64> {
        self.0.iter().next_back()
    }
}

impl From<Numbers> for Sorted {
    /// Sorts finite `numbers`.
    fn from(mut numbers: Numbers) -> Self {
        numbers.sort();
        Sorted(numbers)
    }
}

impl FromIterator<f64> for Sorted {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Sorted::new(values)
    }
}

/// Returns the sample quantile at `q`; `None` without values, or if `q` is not in 0 to 1.
///
/// Definition 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50 (4),
/// 1996: linear interpolation between the order statistics around position `(n − 1)·q`. It is the default of R, `NumPy`
/// and Excel.
#[must_use]
pub fn percentile(sorted: &Sorted, q: f64) -> Option<f64> {
    if sorted.is_empty() || !(0.0..=1.0).contains(&q) {
        return None;
    }
    let position = (sorted.len() - 1) as f64 * q;
    let below = position.floor() as usize;
    let low = sorted.0.get(below);
    let high = sorted.0.get((below + 1).min(sorted.len() - 1));
    // Rounding must not leave the range of the two neighbours: q ≤ r must give percentile(q) ≤ percentile(r).
    Some((low + (high - low) * (position - position.floor())).clamp(low, high))
}

/// Returns the arithmetic mean; `None` without values.
#[must_use]
pub fn mean(sorted: &Sorted) -> Option<f64> {
    let (min, max) = (sorted.min()?, sorted.max()?);
    let n = sorted.len() as f64;
    // Each value is divided first: a sum of large finite values could overflow to infinity.
    Some(sorted.iter().map(|value| value / n).sum::<f64>().clamp(min, max))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[f64], q: f64, expected: Option<f64>) {
        let got = percentile(&values.iter().copied().collect(), q);
        let close = match (got, expected) {
            (Some(got), Some(expected)) => (got - expected).abs() < 1e-9,
            (got, expected) => got == expected,
        };
        assert!(close, "percentile({values:?}, {q}) = {got:?}, expected {expected:?}");
    }

    #[test]
    fn percentiles_are_those_of_r_type_7() {
        // R: quantile(c(…), q, type = 7)
        check(&[1.0, 2.0, 3.0, 4.0], 0.5, Some(2.5));
        check(&[1.0, 2.0, 3.0, 4.0], 0.25, Some(1.75));
        check(&[4.0, 1.0, 3.0, 2.0], 0.95, Some(3.85));
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        check(&ten, 0.1, Some(1.9));
        check(&ten, 0.9, Some(9.1));
        check(&ten, 0.99, Some(9.91));
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        check(&hundred, 0.95, Some(95.05));
        check(&hundred, 0.99, Some(99.01));
        check(&[10.0, 20.0, 50.0], 0.75, Some(35.0));
    }

    #[test]
    fn ends_and_single_values_are_exact() {
        check(&[7.5], 0.99, Some(7.5));
        check(&[3.0, 1.0, 2.0], 0.0, Some(1.0));
        check(&[3.0, 1.0, 2.0], 1.0, Some(3.0));
    }

    #[test]
    fn no_values_or_an_invalid_quantile_give_none() {
        check(&[], 0.5, None);
        check(&[f64::NAN, f64::INFINITY], 0.5, None);
        check(&[1.0], 1.1, None);
        check(&[1.0], -0.1, None);
        check(&[1.0], f64::NAN, None);
        assert_eq!(mean(&Sorted::default()), None);
    }

    #[test]
    fn values_that_are_not_finite_are_removed() {
        check(&[f64::NAN, 1.0, f64::NEG_INFINITY, 3.0], 0.5, Some(2.0));
        assert_eq!(mean(&Sorted::new([f64::NAN, 1.0, 3.0])), Some(2.0));
    }

    proptest! {
        #[test]
        fn percentiles_lie_between_min_and_max_and_never_fall(
            values in prop::collection::vec(-1e6..1e6f64, 1..60), q in 0.0..=1.0f64, r in 0.0..=1.0f64,
        ) {
            let sorted = Sorted::new(values);
            let (low, high) = (percentile(&sorted, q.min(r)).unwrap(), percentile(&sorted, q.max(r)).unwrap());
            prop_assert!(low <= high, "{low} > {high}");
            prop_assert!(sorted.min().unwrap() <= low && high <= sorted.max().unwrap());
        }

        #[test]
        fn the_mean_lies_between_min_and_max(values in prop::collection::vec(any::<f64>(), 1..60)) {
            let sorted = Sorted::new(values);
            if let Some(mean) = mean(&sorted) {
                prop_assert!(sorted.min().unwrap() <= mean && mean <= sorted.max().unwrap());
            }
        }
    }
}
