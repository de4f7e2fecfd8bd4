//! Precision of a condition's latency over the repetitions so far: input of the stopping rule `--until ci=5%`.

use std::collections::BTreeMap;

use crate::confidence_interval::Estimate;
use crate::percentile::Sorted;
use crate::random::Random;
use crate::sample::{Outcome, Phase, Sample};
use crate::statistic::Statistic;

/// A latency statistic of one condition over its repetitions so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    estimate: Estimate,
}

impl Precision {
    /// Computes the precision of `statistic` over the cells of one value of a condition; `samples` are all samples of
    /// these cells. Warm-up samples and failed operations are ignored.
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

    /// Returns the half-width of the confidence interval divided by the estimate; `None` without an interval.
    #[must_use]
    pub fn relative_half_width(&self) -> Option<f64> {
        self.estimate.relative_half_width()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::sample;

    #[test]
    fn warm_up_samples_and_failed_operations_are_ignored() {
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
