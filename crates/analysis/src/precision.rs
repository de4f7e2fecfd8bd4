//! Precision of a condition's latency over the repetitions so far: input of the stopping rule `--until ci=5%`.

use std::collections::BTreeMap;

use model::sample::{Outcome, Phase, Sample};

use crate::confidence_interval::Estimate;
use crate::percentile::Sorted;
use crate::random::Random;
use crate::statistic::Statistic;

/// Latencies of one value of a swept parameter in its repetitions so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Precision {
    /// Latencies by the id of the cell.
    repetitions: BTreeMap<String, Sorted>,
}

impl Precision {
    /// Adds the samples of a cell, one more repetition. Warm-up samples and failed operations are ignored.
    pub fn add(&mut self, cell: &str, samples: &[Sample]) {
        self.repetitions.insert(cell.to_owned(), measured_latencies(samples));
    }

    /// Returns the half-width of the confidence interval of `statistic` divided by the estimate; `None` without an
    /// interval. The same `seed` gives the same interval.
    #[must_use]
    pub fn relative_half_width(&self, statistic: Statistic, seed: u64) -> Option<f64> {
        let repetitions: Vec<&Sorted> = self.repetitions.values().collect();
        let pooled = Sorted::merged(self.repetitions.values());
        let mut random = Random::new(seed, &["precision", statistic.name()]);
        Estimate::of(&pooled, &repetitions, statistic, &mut random).relative_half_width()
    }
}

/// Returns the latencies of the successful operations in the measurement window, milliseconds.
#[must_use]
pub fn measured_latencies(samples: &[Sample]) -> Sorted {
    let is_included = |sample: &&Sample| sample.phase == Phase::Measured && sample.outcome == Outcome::Ok;
    samples.iter().filter(is_included).map(|sample| sample.latency_ms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::{sample, warm_up};

    #[test]
    fn warm_up_samples_and_failed_operations_are_ignored() {
        let repetition = |cell: &str| -> Vec<Sample> {
            let latency = |index: u32| f64::from(10 + index % 7) + f64::from(cell.as_bytes()[0] % 16) / 10.0;
            (0..60).map(|index| sample(cell, "login", Outcome::Ok, latency(index)).sample).collect()
        };
        let mut precision = Precision::default();
        let half_width = |precision: &Precision| precision.relative_half_width(Statistic::P50, 3);
        ["a", "b", "c", "d"].into_iter().for_each(|cell| precision.add(cell, &repetition(cell)));
        assert_eq!(half_width(&precision), None);
        precision.add("e", &repetition("e"));
        let clean = half_width(&precision).unwrap();
        assert!(clean < 0.2, "{clean}");
        let mut with_others = repetition("e");
        with_others.push(sample("e", "login", Outcome::Timeout, 5000.0).sample);
        with_others.push(warm_up("e", Outcome::Ok).sample);
        precision.add("e", &with_others);
        precision.add("f", &with_others[60..]);
        assert_eq!(half_width(&precision), Some(clean));
    }
}
