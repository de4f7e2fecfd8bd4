//! Statistics of one operation, or of all, in pooled cells.

use crate::confidence_interval::Estimate;
use crate::mean_breakdown::Breakdown;
use crate::measures::Measures;
use crate::metric::Metric;
use crate::outcome_counts::OutcomeCounts;
use crate::random::Random;
use crate::statistic::Statistic;

/// Results of one operation, or of all operations, in pooled cells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OperationStatistics {
    /// Outcomes of all operations.
    pub(crate) counts: OutcomeCounts,
    /// Percentage of failed operations with its confidence interval over the cells.
    pub(crate) error_percent: Estimate,
    /// Latency breakdown of successful operations.
    pub(crate) breakdown: Breakdown,
    /// Number of values, by [`Metric::ESTIMATED`].
    n: [usize; Metric::ESTIMATED.len()],
    /// Statistics with their confidence intervals over the cells, by [`Metric::ESTIMATED`] and [`Statistic::ALL`].
    estimates: [[Estimate; Statistic::ALL.len()]; Metric::ESTIMATED.len()],
}

impl OperationStatistics {
    /// Computes the statistics of `pooled`, the measures of all `cells`; operations must still be added to the breakdown.
    /// `random` returns the random numbers for a statistic with these names.
    pub(crate) fn new(pooled: &Measures, cells: &[&Measures], random: impl Fn(&[&str]) -> Random) -> Self {
        let estimate = |metric: Metric, statistic: Statistic| {
            let each: Vec<_> = cells.iter().map(|measures| measures.of(metric)).collect();
            let mut random = random(&[metric.name(), statistic.name()]);
            Estimate::of(pooled.of(metric), &each, statistic, &mut random)
        };
        let counts: Vec<OutcomeCounts> = cells.iter().map(|measures| measures.counts).collect();
        OperationStatistics {
            counts: pooled.counts,
            error_percent: Estimate::error_percent(&counts, &mut random(&["errors"])),
            breakdown: Breakdown::of(pooled.of(Metric::Latency)),
            n: Metric::ESTIMATED.map(|metric| pooled.of(metric).len()),
            estimates: Metric::ESTIMATED
                .map(|metric| std::array::from_fn(|index| estimate(metric, Statistic::ALL[index]))),
        }
    }

    /// Returns a statistic of an estimated metric.
    pub(crate) fn estimate(&self, metric: Metric, statistic: Statistic) -> &Estimate {
        &self.estimates[metric as usize][statistic as usize]
    }

    /// Returns a statistic, unless it is undersampled.
    pub(crate) fn reliable(&self, metric: Metric, statistic: Statistic) -> Option<f64> {
        let estimate = self.estimate(metric, statistic);
        estimate.value.filter(|_| !estimate.undersampled)
    }

    /// Returns the number of successful operations with an estimated metric.
    pub(crate) fn n(&self, metric: Metric) -> usize {
        self.n[metric as usize]
    }
}
