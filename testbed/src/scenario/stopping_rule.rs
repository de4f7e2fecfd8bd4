//! `--until ci=5%`: which conditions are known well enough and need no further repetition.

use std::collections::BTreeMap;

use model::sample::Sample;

use crate::scenario::UntilPrecise;
use model::Cell;

/// What is known so far of each condition.
pub(crate) struct StoppingRule {
    until: Option<UntilPrecise>,
    seed: u64,
    /// By condition and value: the samples of all repetitions so far, with nothing in them but what precision stands on.
    known: BTreeMap<(&'static str, String), Vec<Sample>>,
    /// Of these, how exactly each is known.
    half_widths: BTreeMap<(&'static str, String), f64>,
}

impl StoppingRule {
    /// Nothing is known; without a wish nothing is ever enough, nor remembered.
    pub(crate) fn new(until: Option<UntilPrecise>, seed: u64) -> Self {
        Self { until, seed, known: BTreeMap::new(), half_widths: BTreeMap::new() }
    }

    /// One more repetition of a cell's condition.
    pub(crate) fn learn(&mut self, cell: &Cell, samples: &[Sample]) {
        let Some(until) = self.until else { return };
        let known = self.known.entry(condition_of(cell)).or_default();
        known.extend(samples.iter().map(|sample| Sample {
            cell: sample.cell.clone(),
            phase: sample.phase,
            ..Sample::tried("", sample.outcome, sample.latency_ms)
        }));
        let precision = analysis::Precision::of(known.iter(), until.statistic, self.seed);
        if let Some(width) = precision.relative_half_width() {
            self.half_widths.insert(condition_of(cell), width);
        }
    }

    /// Whether the cell's condition is known well enough without it.
    pub(crate) fn is_enough(&self, cell: &Cell) -> bool {
        let width = self.half_widths.get(&condition_of(cell));
        self.until.zip(width).is_some_and(|(until, width)| *width <= until.share())
    }
}

/// A cell's condition, whatever its repetition.
fn condition_of(cell: &Cell) -> (&'static str, String) {
    (cell.swept_parameter.as_str(), cell.value.clone())
}

#[cfg(test)]
mod tests {
    use model::sample::Outcome;

    use super::*;
    use crate::scenario::plan::cells;
    use crate::scenario::{Overrides, Scenario};

    fn repetition(cell: &Cell, median: f64) -> Vec<Sample> {
        let latency = |index: u32| median + f64::from(index % 11) / 100.0;
        let sample = |index| Sample { cell: cell.id.clone(), ..Sample::tried("login", Outcome::Ok, latency(index)) };
        (0..60).map(sample).collect()
    }

    #[test]
    fn a_condition_is_enough_when_its_repetitions_agree_and_says_nothing_of_others() {
        let overrides = Overrides { repetitions: Some(10), ..Overrides::default() };
        let plan = cells(&Scenario::load("default").unwrap().with(overrides), 1);
        let of = |value: &str| -> Vec<&Cell> { plan.iter().filter(|cell| cell.value == value).collect() };
        let (steady, wild) = (of("50ms"), of("100ms"));
        let mut precision = StoppingRule::new(Some("ci=5%".parse().unwrap()), 1);
        for (number, (one, other)) in steady.iter().zip(&wild).enumerate().take(6) {
            assert_eq!(precision.is_enough(one), number >= 5, "after {number} repetitions");
            precision.learn(one, &repetition(one, 10.0 + number as f64 / 50.0));
            precision.learn(other, &repetition(other, 10.0 * (1.0 + number as f64)));
        }
        assert!(precision.is_enough(steady[6]) && !precision.is_enough(wild[6]));
        let mut without = StoppingRule::new(None, 1);
        steady.iter().for_each(|cell| without.learn(cell, &repetition(cell, 10.0)));
        assert!(!without.is_enough(steady[9]) && without.known.is_empty());
    }
}
