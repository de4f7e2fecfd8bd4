//! Estimates with their confidence intervals (CIs) over repetitions.
//!
//! The unit is the repetition: operations of one cell share a server, a queue and a period of time, so a thousand of
//! them contain less information than a thousand independent ones. An estimate is computed from the pooled operations
//! of all repetitions: it equals the number in the table and on the curve. Its CI is computed from the differences
//! between repetitions.

use std::fmt;

use crate::bootstrap::half_width;
use crate::outcome_counts::OutcomeCounts;
use crate::percentile::{Sorted, mean, percentile};
use crate::random::Random;
use crate::statistic::Statistic;

/// Minimum number of repetitions for a CI. It could be computed from three, but of the percentiles' CIs only those that
/// are narrow by chance would have an upper bound, and their coverage is too low (docs/measuring.md).
pub(crate) const MIN_REPETITIONS: usize = 5;

/// Minimum number of failed and of successful operations for a CI of the error rate.
pub(crate) const MIN_ERRORS: u64 = 10;

/// A nominal 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ConfidenceInterval {
    /// Lower bound.
    pub(crate) low: f64,
    /// Upper bound.
    pub(crate) high: f64,
}

/// Reason for a missing CI or upper bound of an estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum MissingInterval {
    /// There are no samples.
    NoSamples,
    /// Fewer repetitions have samples than [`MIN_REPETITIONS`].
    FewRepetitions(usize),
    /// There are fewer samples than [`Statistic::min_samples`].
    Undersampled,
    /// Fewer than [`MIN_ERRORS`] operations failed, or fewer than [`MIN_ERRORS`] succeeded.
    FewErrors,
    /// The repetitions do not differ: they show nothing about the spread.
    NoVariation,
    /// The repetitions differ so much that the percentile may lie beyond all samples.
    Unbounded {
        /// Lower bound.
        low: f64,
    },
}

impl fmt::Display for MissingInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MissingInterval::NoSamples => f.write_str("no samples"),
            MissingInterval::FewRepetitions(n) => write!(f, "{n} repetitions (minimum: {MIN_REPETITIONS})"),
            MissingInterval::Undersampled => f.write_str("undersampled"),
            MissingInterval::FewErrors => write!(f, "fewer than {MIN_ERRORS} errors or successes"),
            MissingInterval::NoVariation => f.write_str("repetitions do not differ"),
            MissingInterval::Unbounded { .. } => f.write_str("no upper bound: repetitions differ too much"),
        }
    }
}

/// A statistic over all repetitions of a condition's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// The statistic of all operations, pooled; `None` without samples.
    pub(crate) value: Option<f64>,
    /// Number of repetitions with samples.
    pub(crate) repetitions: usize,
    /// Whether there are too few samples for the value to be reliable.
    pub(crate) undersampled: bool,
    /// The CI of the value.
    pub(crate) interval: Result<ConfidenceInterval, MissingInterval>,
}

impl Estimate {
    /// Estimates `statistic` from `pooled`, the values of all `repetitions`.
    pub(crate) fn of(pooled: &Sorted, repetitions: &[&Sorted], statistic: Statistic, random: &mut Random) -> Self {
        let measured: Vec<&Sorted> = repetitions.iter().copied().filter(|values| !values.is_empty()).collect();
        let value = match statistic.quantile() {
            Some(q) => percentile(pooled, q),
            None => mean(pooled),
        };
        let undersampled = statistic.is_undersampled(pooled.len());
        let reason = undersampled.then_some(MissingInterval::Undersampled);
        let interval = check_sufficiency(value, measured.len(), reason).and_then(|value| match statistic.quantile() {
            Some(q) => of_percentile(pooled, &measured, q, value, random),
            None => of_mean(&measured, value, random),
        });
        Estimate { value, repetitions: measured.len(), undersampled, interval }
    }

    /// Estimates the percentage of failed operations.
    pub(crate) fn error_percent(repetitions: &[OutcomeCounts], random: &mut Random) -> Self {
        let measured: Vec<&OutcomeCounts> = repetitions.iter().filter(|counts| counts.total() > 0).collect();
        let errors: u64 = measured.iter().map(|counts| counts.errors()).sum();
        let total: u64 = measured.iter().map(|counts| counts.total()).sum();
        let value = (total > 0).then(|| 100.0 * errors as f64 / total as f64);
        let undersampled = errors < MIN_ERRORS || total - errors < MIN_ERRORS;
        let reason = undersampled.then_some(MissingInterval::FewErrors);
        let interval = check_sufficiency(value, measured.len(), reason).and_then(|value| {
            let sums = measured.iter().map(|counts| (100.0 * counts.errors() as f64, counts.total() as f64));
            let interval = of_ratio(&sums.collect::<Vec<_>>(), value, random)?;
            Ok(ConfidenceInterval { high: interval.high.min(100.0), ..interval })
        });
        Estimate { value, repetitions: measured.len(), undersampled, interval }
    }

    /// Returns the half-width of the CI divided by the value.
    #[must_use]
    pub(crate) fn relative_half_width(&self) -> Option<f64> {
        let interval = self.interval.ok()?;
        self.value.filter(|value| *value > 0.0).map(|value| (interval.high - interval.low) / 2.0 / value)
    }
}

/// Returns the value if a CI can be computed: there are enough repetitions, and `undersampled` is `None`.
fn check_sufficiency(
    value: Option<f64>,
    repetitions: usize,
    undersampled: Option<MissingInterval>,
) -> Result<f64, MissingInterval> {
    let value = value.ok_or(MissingInterval::NoSamples)?;
    if repetitions < MIN_REPETITIONS {
        return Err(MissingInterval::FewRepetitions(repetitions));
    }
    undersampled.map_or(Ok(value), Err)
}

/// Computes the CI of a percentile: the CI of the fraction of values below the estimate, and the percentiles at its
/// bounds.
///
/// Woodruff, "Confidence Intervals for Medians and Other Position Measures", J. Am. Statist. Assoc. 47 (260), 1952. The
/// fractions vary smoothly even where the percentiles jump, as between operations with and without a retransmission
/// timeout. The mean of the repetitions' percentiles would then be close to neither value.
fn of_percentile(
    pooled: &Sorted,
    repetitions: &[&Sorted],
    q: f64,
    value: f64,
    random: &mut Random,
) -> Result<ConfidenceInterval, MissingInterval> {
    let below = |values: &Sorted| values.count_up_to(value) as f64;
    let sums: Vec<(f64, f64)> = repetitions.iter().map(|values| (below(values), values.len() as f64)).collect();
    let half = half_width(&linearised(&sums), random).ok_or(MissingInterval::NoVariation)?;
    let low = percentile(pooled, (q - half).max(0.0)).ok_or(MissingInterval::NoSamples)?;
    let high = percentile(pooled, q + half).ok_or(MissingInterval::Unbounded { low })?;
    Ok(ConfidenceInterval { low, high })
}

fn of_mean(repetitions: &[&Sorted], value: f64, random: &mut Random) -> Result<ConfidenceInterval, MissingInterval> {
    let sums = repetitions.iter().map(|values| (values.iter().sum(), values.len() as f64));
    of_ratio(&sums.collect::<Vec<_>>(), value, random)
}

/// Computes the CI of a ratio of sums, which cannot be negative, on a logarithmic scale (delta method): the coverage is
/// better if the repetitions are skewed.
fn of_ratio(sums: &[(f64, f64)], value: f64, random: &mut Random) -> Result<ConfidenceInterval, MissingInterval> {
    let half = half_width(&linearised(sums), random).ok_or(MissingInterval::NoVariation)?;
    Ok(logarithmic(value, half))
}

/// Returns `value` ± `half` to the first order, but never below zero.
fn logarithmic(value: f64, half: f64) -> ConfidenceInterval {
    if value <= 0.0 {
        return ConfidenceInterval { low: value - half, high: value + half };
    }
    ConfidenceInterval { low: value * (-half / value).exp(), high: value * (half / value).exp() }
}

/// Returns the contribution of each repetition to the error of the ratio of sums, in the unit of the ratio (Taylor
/// linearisation, as for any ratio estimator: Cochran, "Sampling Techniques", 3rd ed., 1977, §6.3). Repetitions may
/// have different numbers of operations.
fn linearised(sums: &[(f64, f64)]) -> Vec<f64> {
    let (numerator, denominator) = sums.iter().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
    let (ratio, mean) = (numerator / denominator, denominator / sums.len() as f64);
    sums.iter().map(|(numerator, denominator)| (numerator - ratio * denominator) / mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Outcome;

    fn estimate(repetitions: &[Vec<f64>], statistic: Statistic) -> Estimate {
        let sorted: Vec<Sorted> = repetitions.iter().map(|values| values.iter().copied().collect()).collect();
        let pooled: Sorted = repetitions.iter().flatten().copied().collect();
        Estimate::of(&pooled, &sorted.iter().collect::<Vec<_>>(), statistic, &mut Random::new(1, &[]))
    }

    /// Returns `n` repetitions of the values 1 to 300, each shifted by its index.
    fn shifted(n: u32) -> Vec<Vec<f64>> {
        (0..n).map(|shift| (1..=300).map(|value| f64::from(value + shift)).collect()).collect()
    }

    #[test]
    fn the_interval_contains_the_estimate_and_fewer_than_five_repetitions_have_none() {
        for &statistic in Statistic::ALL {
            let got = estimate(&shifted(5), statistic);
            let (value, interval) = (got.value.unwrap(), got.interval.unwrap());
            assert!(interval.low < value && value < interval.high, "{statistic}: {got:?}");
            let few = estimate(&shifted(4), statistic);
            assert_eq!((few.interval, few.repetitions), (Err(MissingInterval::FewRepetitions(4)), 4));
        }
    }

    #[test]
    fn empty_repetitions_are_ignored() {
        let mut repetitions = shifted(4);
        repetitions.push(Vec::new());
        assert_eq!(estimate(&repetitions, Statistic::P50).interval, Err(MissingInterval::FewRepetitions(4)));
        assert_eq!(estimate(&[], Statistic::P50).interval, Err(MissingInterval::NoSamples));
    }

    #[test]
    fn undersampled_percentiles_and_repetitions_that_do_not_differ_have_no_interval() {
        let few: Vec<Vec<f64>> = (0..5).map(|shift| (0..39).map(|value| f64::from(value + shift)).collect()).collect();
        assert_eq!(estimate(&few, Statistic::P95).interval, Err(MissingInterval::Undersampled));
        assert!(estimate(&few, Statistic::P50).interval.is_ok());
        assert_eq!(estimate(&vec![vec![5.0; 300]; 5], Statistic::P50).interval, Err(MissingInterval::NoVariation));
        assert_eq!(estimate(&vec![vec![5.0; 300]; 5], Statistic::Mean).interval, Err(MissingInterval::NoVariation));
    }

    #[test]
    fn a_percentile_that_depends_on_one_repetition_has_no_upper_bound() {
        let mut repetitions = shifted(6);
        repetitions[0].iter_mut().for_each(|value| *value += 10_000.0);
        let got = estimate(&repetitions, Statistic::P99);
        assert!(matches!(got.interval, Err(MissingInterval::Unbounded { low }) if low < got.value.unwrap()), "{got:?}");
        assert_eq!(got.relative_half_width(), None);
    }

    #[test]
    fn error_rates_need_ten_errors() {
        let counts = |errors: usize| -> OutcomeCounts {
            let failed = std::iter::repeat_n(Outcome::Timeout, errors);
            failed.chain(std::iter::repeat_n(Outcome::Ok, 200 - errors)).collect()
        };
        let of = |errors: [usize; 5]| Estimate::error_percent(&errors.map(counts), &mut Random::new(1, &[]));
        assert_eq!((of([0; 5]).value, of([0; 5]).interval), (Some(0.0), Err(MissingInterval::FewErrors)));
        let some = of([2, 5, 1, 3, 4]);
        let interval = some.interval.unwrap();
        assert!(some.value == Some(1.5) && interval.low > 0.0 && interval.low < 1.5 && interval.high > 1.5, "{some:?}");
        let most = of([199, 180, 150, 199, 170]).interval.unwrap();
        assert!(most.high <= 100.0, "{most:?}");
    }
}
