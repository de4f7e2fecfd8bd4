//! The samples of one operation, or of all, under one value of a condition: pooled, and apart for each repetition.

use crate::breakdown::LinkParameters;
use crate::confidence_interval::Estimate;
use crate::mean_breakdown::Breakdown;
use crate::measures::Measures;
use crate::metric::Metric;
use crate::outcome_counts::OutcomeCounts;
use crate::random::Random;
use crate::sample::Sample;
use crate::statistic::Statistic;

/// What the samples of some cells measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OperationSamples {
    /// All cells together.
    pub pooled: Measures,
    /// Each cell for itself.
    pub repetitions: Vec<Measures>,
    /// Where the time went, in all cells together.
    pub breakdown: Breakdown,
}

impl OperationSamples {
    /// The samples of several cells, each with its link.
    pub(crate) fn new(cells: &[(LinkParameters, Vec<&Sample>)]) -> Self {
        let linked = cells.iter().flat_map(|(link, samples)| samples.iter().map(|sample| (*sample, *link)));
        OperationSamples {
            pooled: cells.iter().flat_map(|(_, samples)| samples).copied().collect(),
            repetitions: cells.iter().map(|(_, samples)| samples.iter().copied().collect()).collect(),
            breakdown: Breakdown::of(linked),
        }
    }

    /// A statistic with its interval over the cells.
    pub(crate) fn estimate(&self, metric: Metric, statistic: Statistic, random: &mut Random) -> Estimate {
        let each: Vec<_> = self.repetitions.iter().map(|measures| metric.of(measures)).collect();
        Estimate::of(metric.of(&self.pooled), &each, statistic, random)
    }

    /// The share of operations that failed, percent, with its interval over the cells.
    pub(crate) fn error_percent(&self, random: &mut Random) -> Estimate {
        let tallies: Vec<OutcomeCounts> = self.repetitions.iter().map(|measures| measures.counts).collect();
        Estimate::error_percent(&tallies, random)
    }
}
