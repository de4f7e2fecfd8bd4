//! Estimates with their intervals over repetitions.
//!
//! The unit is the repetition: operations of one cell share a server, a moment and a queue, so that a thousand of them
//! say less than their number. An estimate is taken over the operations of all repetitions together, so that it is the
//! number in the table and on the curve; how far it may be off is told by how the repetitions differ.

use std::fmt;

use crate::bootstrap::half_width;
use crate::outcome_counts::OutcomeCounts;
use crate::percentile::{Sorted, mean, percentile};
use crate::random::Random;
use crate::statistic::Statistic;

/// Fewer repetitions than this give no interval. From three on one could be computed, but of the percentiles' only the
/// lucky narrow ones would have two ends, and those cover too rarely (see docs/measuring.md).
pub const MIN_REPETITIONS: usize = 5;

/// Fewer failed (or fewer successful) operations than this are too few for an interval of the error rate.
pub const MIN_ERRORS: u64 = 10;

/// A nominal 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfidenceInterval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Why there is no interval, or no upper end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MissingInterval {
    /// Nothing was measured.
    Nothing,
    /// There are fewer repetitions with a value than [`MIN_REPETITIONS`].
    FewRepetitions(usize),
    /// There are too few values for this statistic: [`Statistic::needs`].
    FewValues,
    /// Fewer operations failed, or fewer succeeded, than [`MIN_ERRORS`].
    FewErrors,
    /// The repetitions do not differ, so that they say nothing of what another one would do.
    Alike,
    /// The repetitions differ so much that the percentile may lie beyond all that was measured.
    Unbounded {
        /// The lower end, which is known.
        low: f64,
    },
}

impl fmt::Display for MissingInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MissingInterval::Nothing => f.write_str("nothing measured"),
            MissingInterval::FewRepetitions(n) => write!(f, "{n} repetitions; {MIN_REPETITIONS} are needed"),
            MissingInterval::FewValues => f.write_str("too few values"),
            MissingInterval::FewErrors => write!(f, "fewer than {MIN_ERRORS} errors, or than {MIN_ERRORS} successes"),
            MissingInterval::Alike => f.write_str("the repetitions do not differ"),
            MissingInterval::Unbounded { .. } => f.write_str("open above: the repetitions differ too much"),
        }
    }
}

/// A statistic over all repetitions of a condition's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The statistic of all operations together; `None` when nothing was measured.
    pub value: Option<f64>,
    /// How many repetitions measured something.
    pub repetitions: usize,
    /// Whether it stands on too few values to be trusted.
    pub undersampled: bool,
    /// How far it may be off.
    pub interval: Result<ConfidenceInterval, MissingInterval>,
}

impl Estimate {
    /// `statistic` of `pooled`, the values of all `repetitions` together.
    pub(crate) fn of(pooled: &Sorted, repetitions: &[&Sorted], statistic: Statistic, random: &mut Random) -> Self {
        let measured: Vec<&Sorted> = repetitions.iter().copied().filter(|values| !values.is_empty()).collect();
        let value = match statistic.quantile() {
            Some(q) => percentile(pooled, q),
            None => mean(pooled),
        };
        let undersampled = statistic.is_undersampled(pooled.len());
        let reason = undersampled.then_some(MissingInterval::FewValues);
        let interval = usable(value, measured.len(), reason).and_then(|value| match statistic.quantile() {
            Some(q) => of_percentile(pooled, &measured, q, value, random),
            None => of_mean(&measured, value, random),
        });
        Estimate { value, repetitions: measured.len(), undersampled, interval }
    }

    /// The share of operations that failed, percent.
    pub(crate) fn error_percent(tallies: &[OutcomeCounts], random: &mut Random) -> Self {
        let measured: Vec<&OutcomeCounts> = tallies.iter().filter(|counts| counts.total() > 0).collect();
        let errors: u64 = measured.iter().map(|counts| counts.errors()).sum();
        let tried: u64 = measured.iter().map(|counts| counts.total()).sum();
        let value = (tried > 0).then(|| 100.0 * errors as f64 / tried as f64);
        let undersampled = errors < MIN_ERRORS || tried - errors < MIN_ERRORS;
        let reason = undersampled.then_some(MissingInterval::FewErrors);
        let interval = usable(value, measured.len(), reason).and_then(|value| {
            let sums = measured.iter().map(|counts| (100.0 * counts.errors() as f64, counts.total() as f64));
            let interval = of_ratio(&sums.collect::<Vec<_>>(), value, random)?;
            Ok(ConfidenceInterval { high: interval.high.min(100.0), ..interval })
        });
        Estimate { value, repetitions: measured.len(), undersampled, interval }
    }

    /// Half the interval's width over the value.
    #[must_use]
    pub fn relative_half_width(&self) -> Option<f64> {
        let interval = self.interval.ok()?;
        self.value.filter(|value| *value > 0.0).map(|value| (interval.high - interval.low) / 2.0 / value)
    }
}

/// The value, unless there is a reason to make no interval: too few repetitions, or that it is `thin`.
fn usable(
    value: Option<f64>,
    repetitions: usize,
    undersampled: Option<MissingInterval>,
) -> Result<f64, MissingInterval> {
    let value = value.ok_or(MissingInterval::Nothing)?;
    if repetitions < MIN_REPETITIONS {
        return Err(MissingInterval::FewRepetitions(repetitions));
    }
    undersampled.map_or(Ok(value), Err)
}

/// A percentile's interval: how far the share of values below the estimate may be off, and the percentiles that far up and
/// down.
///
/// Woodruff, "Confidence Intervals for Medians and Other Position Measures", J. Am. Statist. Assoc. 47 (260), 1952. The
/// shares vary evenly even where the percentiles themselves leap, as between operations with and without a retransmission
/// timeout. The mean of the repetitions' percentiles is then neither the one nor the other.
fn of_percentile(
    pooled: &Sorted,
    repetitions: &[&Sorted],
    q: f64,
    value: f64,
    random: &mut Random,
) -> Result<ConfidenceInterval, MissingInterval> {
    let below = |values: &Sorted| values.values().partition_point(|one| *one <= value) as f64;
    let sums: Vec<(f64, f64)> = repetitions.iter().map(|values| (below(values), values.len() as f64)).collect();
    let half = half_width(&linearised(&sums), random).ok_or(MissingInterval::Alike)?;
    let low = percentile(pooled, (q - half).max(0.0)).ok_or(MissingInterval::Nothing)?;
    let high = percentile(pooled, q + half).ok_or(MissingInterval::Unbounded { low })?;
    Ok(ConfidenceInterval { low, high })
}

fn of_mean(repetitions: &[&Sorted], value: f64, random: &mut Random) -> Result<ConfidenceInterval, MissingInterval> {
    let sums = repetitions.iter().map(|values| (values.values().iter().sum(), values.len() as f64));
    of_ratio(&sums.collect::<Vec<_>>(), value, random)
}

/// The interval of a ratio of sums, which cannot be negative: made on a logarithmic scale (delta method), on which it
/// covers better when the repetitions are skewed.
fn of_ratio(sums: &[(f64, f64)], value: f64, random: &mut Random) -> Result<ConfidenceInterval, MissingInterval> {
    let half = half_width(&linearised(sums), random).ok_or(MissingInterval::Alike)?;
    Ok(logarithmic(value, half))
}

/// `value` ± `half` to the first order, but never below zero.
pub(crate) fn logarithmic(value: f64, half: f64) -> ConfidenceInterval {
    if value <= 0.0 {
        return ConfidenceInterval { low: value - half, high: value + half };
    }
    ConfidenceInterval { low: value * (-half / value).exp(), high: value * (half / value).exp() }
}

/// What each repetition adds to the error of the ratio of sums, in the ratio's own unit (Taylor linearisation, as for any
/// ratio estimator: Cochran, "Sampling Techniques", 3rd ed., 1977, §6.3). Repetitions need not have equally many
/// operations.
fn linearised(sums: &[(f64, f64)]) -> Vec<f64> {
    let (above, below) = sums.iter().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
    let (ratio, mean) = (above / below, below / sums.len() as f64);
    sums.iter().map(|(above, below)| (above - ratio * below) / mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Outcome;

    fn estimate(repetitions: &[Vec<f64>], statistic: Statistic) -> Estimate {
        let sorted: Vec<Sorted> = repetitions.iter().map(|values| values.iter().copied().collect()).collect();
        let pooled: Sorted = repetitions.iter().flatten().copied().collect();
        Estimate::of(&pooled, &sorted.iter().collect::<Vec<_>>(), statistic, &mut Random::new(1, &[]))
    }

    /// `n` repetitions of 1 to 300, each shifted by its number.
    fn shifted(n: u32) -> Vec<Vec<f64>> {
        (0..n).map(|shift| (1..=300).map(|value| f64::from(value + shift)).collect()).collect()
    }

    #[test]
    fn the_interval_holds_the_estimate_and_fewer_than_five_repetitions_have_none() {
        for statistic in Statistic::ALL {
            let got = estimate(&shifted(5), statistic);
            let (value, interval) = (got.value.unwrap(), got.interval.unwrap());
            assert!(interval.low < value && value < interval.high, "{statistic}: {got:?}");
            let few = estimate(&shifted(4), statistic);
            assert_eq!((few.interval, few.repetitions), (Err(MissingInterval::FewRepetitions(4)), 4));
        }
    }

    #[test]
    fn empty_repetitions_do_not_count() {
        let mut repetitions = shifted(4);
        repetitions.push(Vec::new());
        assert_eq!(estimate(&repetitions, Statistic::P50).interval, Err(MissingInterval::FewRepetitions(4)));
        assert_eq!(estimate(&[], Statistic::P50).interval, Err(MissingInterval::Nothing));
    }

    #[test]
    fn thin_percentiles_and_repetitions_that_do_not_differ_have_no_interval() {
        let few: Vec<Vec<f64>> = (0..5).map(|shift| (0..39).map(|value| f64::from(value + shift)).collect()).collect();
        assert_eq!(estimate(&few, Statistic::P95).interval, Err(MissingInterval::FewValues));
        assert!(estimate(&few, Statistic::P50).interval.is_ok());
        assert_eq!(estimate(&vec![vec![5.0; 300]; 5], Statistic::P50).interval, Err(MissingInterval::Alike));
        assert_eq!(estimate(&vec![vec![5.0; 300]; 5], Statistic::Mean).interval, Err(MissingInterval::Alike));
    }

    #[test]
    fn a_percentile_that_one_repetition_decides_is_open_above() {
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
