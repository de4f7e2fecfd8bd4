//! The rows of `intervals.csv`: every statistic of every condition and operation, and how far it may be off.

use serde::{Deserialize, Serialize};

use crate::bootstrap::LEVEL;
use crate::cell::CellInfo;
use crate::confidence_interval::{Estimate, MissingInterval};
use crate::metric::Metric;
use crate::pooled_samples::{PooledSamples, RunSamples};
use crate::sample::Sample;
use crate::statistic::Statistic;

/// One statistic of one operation under one value of a condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntervalRow {
    /// What is varied; `baseline` for the pooled baseline.
    pub condition: String,
    /// What it is set to, with its unit.
    pub value: String,
    /// The operation, or `all`.
    pub operation: String,
    /// `latency`, `rtt` or `service` of successful operations; `errors` of all that were tried.
    pub metric: String,
    /// `p50`, `p95`, `p99`, `mean`; `rate` of errors.
    pub statistic: String,
    /// What the next three are in: `ms` or `percent`.
    pub unit: String,
    /// The statistic over all repetitions together.
    pub estimate: Option<f64>,
    /// Lower end of the interval.
    pub low: Option<f64>,
    /// Upper end; empty if the interval has no upper bound.
    pub high: Option<f64>,
    /// The nominal confidence of the interval.
    pub level: f64,
    /// How many repetitions measured something.
    pub repetitions: usize,
    /// Whether the estimate stands on too few values to be trusted.
    pub undersampled: bool,
    /// Why there is no interval, or no upper end; else empty.
    pub note: String,
}

/// The rows of the pooled baseline, then of each condition's values from mild to severe. The same `seed` gives the same
/// rows.
#[must_use]
pub fn interval_rows(samples: &[Sample], cells: &[CellInfo], seed: u64) -> Vec<IntervalRow> {
    let values = RunSamples::new(samples, cells);
    values.all().flat_map(|pool| rows_of(pool, seed)).collect()
}

fn rows_of(pool: &PooledSamples, seed: u64) -> Vec<IntervalRow> {
    let statistics = Metric::ALL.into_iter().flat_map(|metric| Statistic::ALL.map(|statistic| (metric, statistic)));
    let mut rows = Vec::new();
    for operation in pool.operations() {
        let mut add = |metric: &str, statistic: &str, unit: &str, estimate: Option<Estimate>| {
            let names = [&pool.condition, &pool.value, operation, metric, statistic, unit];
            rows.extend(estimate.map(|estimate| row(names, &estimate)));
        };
        for (metric, statistic) in statistics.clone() {
            let estimate = pool.estimate(operation, metric, statistic, seed);
            add(metric.as_str(), statistic.as_str(), "ms", estimate);
        }
        add("errors", "rate", "percent", pool.error_percent(operation, seed));
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
