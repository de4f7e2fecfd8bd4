//! The rows of `intervals.csv`: every statistic of every condition and operation with its confidence interval.

use serde::{Deserialize, Serialize};

use crate::bootstrap::LEVEL;
use crate::confidence_interval::{Estimate, MissingInterval};
use crate::metric::Metric;
use crate::pooled_statistics::PooledStatistics;
use crate::run_statistics::RunStatistics;
use crate::statistic::Statistic;

/// One statistic of one operation under one value of a condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntervalRow {
    /// The swept parameter; `baseline` for the pooled baseline.
    pub condition: String,
    /// The parameter's value with its unit.
    pub value: String,
    /// The operation, or `all`.
    pub operation: String,
    /// `latency`, `rtt` or `service` of successful operations; `errors` of all operations.
    pub metric: String,
    /// `p50`, `p95`, `p99` or `mean`; `rate` for errors.
    pub statistic: String,
    /// Unit of the next three columns: `ms` or `percent`.
    pub unit: String,
    /// The statistic over all repetitions, pooled.
    pub estimate: Option<f64>,
    /// Lower bound of the confidence interval.
    pub low: Option<f64>,
    /// Upper bound; `None` with a lower bound if the interval has no upper bound.
    pub high: Option<f64>,
    /// Nominal coverage of the confidence interval.
    pub level: f64,
    /// Number of repetitions with samples.
    pub repetitions: usize,
    /// Whether the estimate has too few samples to be reliable.
    pub undersampled: bool,
    /// Reason for a missing confidence interval or upper bound; otherwise empty.
    pub note: String,
}

/// Returns the rows of the pooled baseline, then of each condition's values from mild to severe.
pub(crate) fn interval_rows(run: &RunStatistics) -> Vec<IntervalRow> {
    run.pooled().flat_map(rows_of).collect()
}

fn rows_of(pooled: &PooledStatistics) -> Vec<IntervalRow> {
    let mut rows = Vec::new();
    for (operation, statistics) in pooled.operations() {
        let mut add = |metric: &str, statistic: &str, unit: &str, estimate: &Estimate| {
            let names = [pooled.condition.name(), pooled.condition.value(), operation, metric, statistic, unit];
            rows.push(row(names, estimate));
        };
        for metric in Metric::ESTIMATED {
            for &statistic in Statistic::ALL {
                add(metric.name(), statistic.name(), "ms", statistics.estimate(metric, statistic));
            }
        }
        add("errors", "rate", "percent", &statistics.error_percent);
    }
    rows
}

fn row(names: [&str; 6], estimate: &Estimate) -> IntervalRow {
    let [condition, value, operation, metric, statistic, unit] = names.map(str::to_owned);
    let (low, high, note) = match estimate.interval {
        Ok(interval) => (Some(interval.low), Some(interval.high), String::new()),
        Err(MissingInterval::Unbounded { low }) => (Some(low), None, MissingInterval::Unbounded { low }.to_string()),
        Err(reason) => (None, None, reason.to_string()),
    };
    IntervalRow {
        condition,
        value,
        operation,
        metric,
        statistic,
        unit,
        estimate: estimate.value,
        low,
        high,
        level: LEVEL,
        repetitions: estimate.repetitions,
        undersampled: estimate.undersampled,
        note,
    }
}
