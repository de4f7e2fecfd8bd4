//! The stopping rule, `--until ci=5%`: determines which conditions need no further repetition.

use std::collections::BTreeMap;

use analysis::Precision;
use model::{Cell, Sample, SweptParameter};

use crate::scenario::UntilPrecise;

/// Precision reached so far for each condition, and the precision at which repetitions stop.
pub(crate) struct StoppingRule {
    until: Option<UntilPrecise>,
    seed: u64,
    /// Latencies of all repetitions so far, by swept parameter and value.
    repetitions: BTreeMap<(SweptParameter, String), Precision>,
    /// Half-width of the confidence interval relative to the estimate, by swept parameter and value.
    half_widths: BTreeMap<(SweptParameter, String), f64>,
}

impl StoppingRule {
    /// Returns a rule without samples. Without `until` it keeps none, and no condition is ever precise enough.
    pub(crate) fn new(until: Option<UntilPrecise>, seed: u64) -> Self {
        Self { until, seed, repetitions: BTreeMap::new(), half_widths: BTreeMap::new() }
    }

    /// Adds the samples of a cell, which is a further repetition of its condition.
    pub(crate) fn add_samples(&mut self, cell: &Cell, samples: &[Sample]) {
        let Some(until) = self.until else { return };
        let repetitions = self.repetitions.entry(condition_of(cell)).or_default();
        repetitions.add(&cell.id, samples);
        if let Some(width) = repetitions.relative_half_width(until.statistic, self.seed) {
            self.half_widths.insert(condition_of(cell), width);
        }
    }

    /// Returns whether the cell's condition is precise enough without this cell.
    pub(crate) fn is_precise(&self, cell: &Cell) -> bool {
        let width = self.half_widths.get(&condition_of(cell));
        self.until.zip(width).is_some_and(|(until, width)| *width <= until.max_relative_half_width())
    }
}

/// Returns the cell's swept parameter and value, which all its repetitions have in common.
fn condition_of(cell: &Cell) -> (SweptParameter, String) {
    (cell.swept_parameter, cell.value.clone())
}

#[cfg(test)]
mod tests {
    use model::sample::Outcome;

    use super::*;
    use crate::scenario::plan::cells;
    use crate::scenario::tests::default_with;

    fn repetition(median: f64) -> Vec<Sample> {
        let latency = |index: u32| median + f64::from(index % 11) / 100.0;
        let sample = |index| Sample::with_latency("login", Outcome::Ok, latency(index));
        (0..60).map(sample).collect()
    }

    #[test]
    fn a_condition_needs_no_repetition_once_its_own_repetitions_agree() {
        let plan = cells(&default_with(&["--repetitions=10"]), 1);
        let of = |value: &str| -> Vec<&Cell> { plan.iter().filter(|cell| cell.value == value).collect() };
        let (steady, wild) = (of("50ms"), of("100ms"));
        let mut rule = StoppingRule::new(Some("ci=5%".parse().unwrap()), 1);
        for (number, (one, other)) in steady.iter().zip(&wild).enumerate().take(6) {
            assert_eq!(rule.is_precise(one), number >= 5, "after {number} repetitions");
            rule.add_samples(one, &repetition(10.0 + number as f64 / 50.0));
            rule.add_samples(other, &repetition(10.0 * (1.0 + number as f64)));
        }
        assert!(rule.is_precise(steady[6]) && !rule.is_precise(wild[6]));
        let mut without = StoppingRule::new(None, 1);
        steady.iter().for_each(|cell| without.add_samples(cell, &repetition(10.0)));
        assert!(!without.is_precise(steady[9]) && without.repetitions.is_empty());
    }
}
