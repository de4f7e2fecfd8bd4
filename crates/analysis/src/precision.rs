//! How precisely a condition is known so far: what `--until ci=5%` goes by.

use std::collections::BTreeMap;

use crate::bootstrap::half_width;
use crate::confidence_interval::{Estimate, MIN_REPETITIONS, logarithmic};
use crate::percentile::Sorted;
use crate::random::Random;
use crate::sample::{Outcome, Phase, Sample};
use crate::statistic::Statistic;

/// A statistic of the latency of one condition's operations over its repetitions so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    /// The statistic and its interval, as the report will give them.
    pub estimate: Estimate,
}

impl Precision {
    /// The precision of `statistic` over the cells of one condition's value; `samples` are all of theirs. Warm-up and
    /// failed operations do not count.
    #[must_use]
    pub fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>, statistic: Statistic, seed: u64) -> Self {
        let mut cells: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for sample in samples {
            if sample.phase == Phase::Measured && sample.outcome == Outcome::Ok {
                cells.entry(&sample.cell).or_default().push(sample.latency_ms);
            }
        }
        let pooled: Sorted = cells.values().flatten().copied().collect();
        let repetitions: Vec<Sorted> = cells.into_values().map(Sorted::new).collect();
        let repetitions: Vec<&Sorted> = repetitions.iter().collect();
        let mut random = Random::new(seed, &["precision", statistic.as_str()]);
        Precision { estimate: Estimate::of(&pooled, &repetitions, statistic, &mut random) }
    }

    /// Half the interval's width over the estimate; `None` while there is no interval.
    #[must_use]
    pub fn relative_half_width(&self) -> Option<f64> {
        self.estimate.relative_half_width()
    }
}

/// Half the width of the interval of the mean of `values` over that mean, where each value is a repetition's statistic;
/// `None` below [`MIN_REPETITIONS`] values, when they do not differ, or when their mean is not above zero.
///
/// [`Precision::of`] is better where the samples are at hand: percentiles that leap between repetitions mislead a mean
/// of percentiles.
#[must_use]
pub fn relative_half_width(values: &[f64], seed: u64) -> Option<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    if values.len() < MIN_REPETITIONS || !mean.is_finite() || mean <= 0.0 {
        return None;
    }
    let half = half_width(values, &mut Random::new(seed, &["relative half width"]))?;
    let interval = logarithmic(mean, half);
    Some((interval.high - interval.low) / 2.0 / mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::sample;

    #[test]
    fn below_five_values_nothing_is_known() {
        assert_eq!(relative_half_width(&[1.0, 1.1, 0.9, 1.0], 1), None);
        assert_eq!(relative_half_width(&[0.0; 6], 1), None);
        assert_eq!(relative_half_width(&[1.0, 1.1, f64::NAN, 1.0, 0.9], 1), None);
        // Student's t of 4 degrees of freedom, 2.776, times the standard error 0.0316 over 1.0.
        let got = relative_half_width(&[1.0, 1.1, 0.9, 1.05, 0.95], 1).unwrap();
        assert!((got - 0.098).abs() < 0.02, "{got}");
    }

    #[test]
    fn more_repetitions_make_it_narrower() {
        let values: Vec<f64> = (0..40).map(|index| 10.0 + f64::from(index % 5)).collect();
        let widths: Vec<f64> = [5, 10, 20, 40].map(|n| relative_half_width(&values[..n], 1).unwrap()).to_vec();
        assert!(widths.windows(2).all(|pair| pair[1] < pair[0]), "{widths:?}");
    }

    #[test]
    fn warm_up_and_failures_do_not_count() {
        let mut samples = Vec::new();
        for cell in ["a", "b", "c", "d", "e"] {
            let latency = |index: u32| f64::from(10 + index % 7) + f64::from(cell.as_bytes()[0] % 16) / 10.0;
            samples.extend((0..60).map(|index| sample(cell, "login", Outcome::Ok, latency(index))));
        }
        let of = |samples: &[Sample]| Precision::of(samples, Statistic::P50, 3);
        let clean = of(&samples);
        assert!(clean.relative_half_width().unwrap() < 0.2, "{clean:?}");
        samples.push(sample("a", "login", Outcome::Timeout, 5000.0));
        samples.push(Sample { phase: Phase::WarmUp, ..sample("f", "login", Outcome::Ok, 900.0) });
        assert_eq!(of(&samples), clean);
        let four: Vec<Sample> = samples.into_iter().filter(|sample| sample.cell != "e").collect();
        assert_eq!(of(&four).relative_half_width(), None);
    }
}
