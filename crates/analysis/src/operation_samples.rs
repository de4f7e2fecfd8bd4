//! The samples of one operation, or of all, under one value of a condition: pooled, and separately per repetition.

use crate::breakdown::LinkParameters;
use crate::confidence_interval::Estimate;
use crate::mean_breakdown::Breakdown;
use crate::measures::Measures;
use crate::metric::Metric;
use crate::outcome_counts::OutcomeCounts;
use crate::random::Random;
use crate::sample::Sample;
use crate::statistic::Statistic;

/// Results of one operation, or of all operations, in a set of cells.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct OperationSamples {
    /// All cells pooled.
    pub(crate) pooled: Measures,
    /// Each cell separately.
    pub(crate) repetitions: Vec<Measures>,
    /// Latency breakdown of all cells pooled.
    pub(crate) breakdown: Breakdown,
}

impl OperationSamples {
    /// Pools the samples of several cells, each with its link.
    pub(crate) fn new(cells: &[(LinkParameters, Vec<&Sample>)]) -> Self {
        let linked = cells.iter().flat_map(|(link, samples)| samples.iter().map(|sample| (*sample, *link)));
        OperationSamples {
            pooled: cells.iter().flat_map(|(_, samples)| samples).copied().collect(),
            repetitions: cells.iter().map(|(_, samples)| samples.iter().copied().collect()).collect(),
            breakdown: Breakdown::of(linked),
        }
    }

    /// Returns a statistic with its confidence interval over the cells.
    pub(crate) fn estimate(&self, metric: Metric, statistic: Statistic, random: &mut Random) -> Estimate {
        let each: Vec<_> = self.repetitions.iter().map(|measures| metric.of(measures)).collect();
        Estimate::of(metric.of(&self.pooled), &each, statistic, random)
    }

    /// Returns the percentage of failed operations with its confidence interval over the cells.
    pub(crate) fn error_percent(&self, random: &mut Random) -> Estimate {
        let counts: Vec<OutcomeCounts> = self.repetitions.iter().map(|measures| measures.counts).collect();
        Estimate::error_percent(&counts, random)
    }
}
