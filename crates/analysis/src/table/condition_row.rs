//! One row of the table of conditions.

use serde::{Deserialize, Serialize};

use crate::cell_issue::CellIssue;
use crate::metric::Metric;
use crate::percentile::Sorted;
use crate::pooled_statistics::PooledStatistics;
use crate::statistic::{Statistic, undersampled};

/// Threshold of the column of slow operations, milliseconds.
const SLOW_MS: f64 = 200.0;

/// Statistics of one value of one condition over all its repetitions. Durations are milliseconds, of `ok` samples only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionRow {
    /// The swept parameter; `baseline` in the row of the pooled baseline.
    pub condition: String,
    /// The parameter's value with its unit.
    pub value: String,
    /// Number of pooled cells (repetitions).
    pub cells: usize,
    /// … whose condition was not confirmed.
    pub unverified_cells: usize,
    /// … that failed.
    pub failed_cells: usize,
    /// … that were interrupted.
    pub interrupted_cells: usize,
    /// … during which the host was overloaded.
    pub overloaded_cells: usize,
    /// … whose slow operations were slow in the server.
    pub stalled_cells: usize,
    /// Number of operations.
    pub n: u64,
    /// … that failed.
    pub errors: u64,
    /// … that failed, percent.
    pub error_percent: Option<f64>,
    /// Operations per second of the measurement window, over all clients; `None` without a measurement window.
    pub operations_per_s: Option<f64>,
    /// Percentage of successful operations with a latency above 200 ms.
    pub slower_than_200_ms_percent: Option<f64>,
    /// Median latency.
    pub latency_p50_ms: Option<f64>,
    /// Lower bound of the median's 95 % confidence interval over repetitions; `intervals.csv` contains those of all
    /// statistics.
    pub latency_p50_low_ms: Option<f64>,
    /// Upper bound of the same interval.
    pub latency_p50_high_ms: Option<f64>,
    /// Median latency minus the pooled baseline's. In a baseline row of a condition it shows how far baselines differ.
    pub latency_p50_delta_ms: Option<f64>,
    /// 95th percentile of the latency.
    pub latency_p95_ms: Option<f64>,
    /// 95th percentile of the latency minus the pooled baseline's.
    pub latency_p95_delta_ms: Option<f64>,
    /// 99th percentile of the latency; see `undersampled`.
    pub latency_p99_ms: Option<f64>,
    /// Median RTT of the requests.
    pub rtt_p50_ms: Option<f64>,
    /// Median RTT minus the pooled baseline's.
    pub rtt_p50_delta_ms: Option<f64>,
    /// 95th percentile of the RTT of the requests.
    pub rtt_p95_ms: Option<f64>,
    /// 95th percentile of the RTT minus the pooled baseline's.
    pub rtt_p95_delta_ms: Option<f64>,
    /// 99th percentile of the RTT of the requests; see `undersampled`.
    pub rtt_p99_ms: Option<f64>,
    /// The percentiles with fewer successful operations than [`Statistic::min_samples`], as in `p95 p99`.
    pub undersampled: String,
}

impl ConditionRow {
    pub(super) fn new(pooled: &PooledStatistics, baseline: Option<&PooledStatistics>) -> Self {
        let value = |metric, statistic| pooled.all.estimate(metric, statistic).value;
        let delta =
            |metric, statistic| Some(value(metric, statistic)? - baseline?.all.estimate(metric, statistic).value?);
        let interval = pooled.all.estimate(Metric::Latency, Statistic::P50).interval.ok();
        let counts = pooled.all.counts;
        ConditionRow {
            condition: pooled.condition.name().to_owned(),
            value: pooled.condition.value().to_owned(),
            cells: pooled.cells,
            unverified_cells: pooled.cells_with(CellIssue::Unverified),
            failed_cells: pooled.cells_with(CellIssue::Failed),
            interrupted_cells: pooled.cells_with(CellIssue::Interrupted),
            overloaded_cells: pooled.cells_with(CellIssue::Overloaded),
            stalled_cells: pooled.cells_with(CellIssue::ServerStalled),
            n: counts.total(),
            errors: counts.errors(),
            error_percent: counts.error_percent(),
            operations_per_s: (pooled.measured_s > 0.0).then(|| counts.total() as f64 / pooled.measured_s),
            slower_than_200_ms_percent: percent_above(&pooled.latency_ms, SLOW_MS),
            latency_p50_ms: value(Metric::Latency, Statistic::P50),
            latency_p50_low_ms: interval.map(|interval| interval.low),
            latency_p50_high_ms: interval.map(|interval| interval.high),
            latency_p50_delta_ms: delta(Metric::Latency, Statistic::P50),
            latency_p95_ms: value(Metric::Latency, Statistic::P95),
            latency_p95_delta_ms: delta(Metric::Latency, Statistic::P95),
            latency_p99_ms: value(Metric::Latency, Statistic::P99),
            rtt_p50_ms: value(Metric::Rtt, Statistic::P50),
            rtt_p50_delta_ms: delta(Metric::Rtt, Statistic::P50),
            rtt_p95_ms: value(Metric::Rtt, Statistic::P95),
            rtt_p95_delta_ms: delta(Metric::Rtt, Statistic::P95),
            rtt_p99_ms: value(Metric::Rtt, Statistic::P99),
            undersampled: undersampled(pooled.all.n(Metric::Latency)),
        }
    }

    pub(super) fn cells_with(&self, issue: CellIssue) -> usize {
        match issue {
            CellIssue::Unverified => self.unverified_cells,
            CellIssue::Failed => self.failed_cells,
            CellIssue::Interrupted => self.interrupted_cells,
            CellIssue::Overloaded => self.overloaded_cells,
            CellIssue::ServerStalled => self.stalled_cells,
        }
    }

    pub(super) fn issues(&self) -> impl Iterator<Item = CellIssue> {
        CellIssue::ALL.into_iter().filter(|issue| self.cells_with(*issue) > 0)
    }

    /// The larger half-width of the median's confidence interval.
    pub(super) fn median_half_width_ms(&self) -> Option<f64> {
        let (value, low, high) = (self.latency_p50_ms?, self.latency_p50_low_ms?, self.latency_p50_high_ms?);
        Some(f64::max(high - value, value - low))
    }

    pub(super) fn is_undersampled(&self, statistic: Statistic) -> bool {
        self.undersampled.split_whitespace().any(|word| word == statistic.name())
    }
}

/// Returns the percentage of the values above `threshold`; `None` without values.
fn percent_above(values: &Sorted, threshold: f64) -> Option<f64> {
    let above = values.len() - values.count_up_to(threshold);
    (!values.is_empty()).then(|| 100.0 * above as f64 / values.len() as f64)
}
