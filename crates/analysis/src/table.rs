//! The table of conditions: statistics of each value of each condition, compared with the baseline.

mod human_readable;

use comfy_table::presets;
use serde::{Deserialize, Serialize};

use crate::cell_issue::CellIssue;
use crate::confidence_interval::MIN_REPETITIONS;
use crate::format::Format;
use crate::metric::Metric;
use crate::percentile::Sorted;
use crate::pool::Pool;
use crate::run_statistics::RunStatistics;
use crate::statistic::{Statistic, undersampled};
use human_readable::{COLUMNS, human_readable};

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
    fn new(pool: &Pool, baseline: Option<&Pool>) -> Self {
        let value = |metric, statistic| pool.all.estimate(metric, statistic).value;
        let delta =
            |metric, statistic| Some(value(metric, statistic)? - baseline?.all.estimate(metric, statistic).value?);
        let interval = pool.all.estimate(Metric::Latency, Statistic::P50).interval.ok();
        let counts = pool.all.counts;
        ConditionRow {
            condition: pool.name.condition().to_owned(),
            value: pool.name.value().to_owned(),
            cells: pool.cells,
            unverified_cells: pool.cells_with(CellIssue::Unverified),
            failed_cells: pool.cells_with(CellIssue::Failed),
            interrupted_cells: pool.cells_with(CellIssue::Interrupted),
            overloaded_cells: pool.cells_with(CellIssue::Overloaded),
            stalled_cells: pool.cells_with(CellIssue::ServerStalled),
            n: counts.total(),
            errors: counts.errors(),
            error_percent: counts.error_percent(),
            operations_per_s: (pool.measured_s > 0.0).then(|| counts.total() as f64 / pool.measured_s),
            slower_than_200_ms_percent: percent_above(&pool.latency_ms, SLOW_MS),
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
            undersampled: undersampled(pool.all.n(Metric::Latency)),
        }
    }

    fn cells_with(&self, issue: CellIssue) -> usize {
        match issue {
            CellIssue::Unverified => self.unverified_cells,
            CellIssue::Failed => self.failed_cells,
            CellIssue::Interrupted => self.interrupted_cells,
            CellIssue::Overloaded => self.overloaded_cells,
            CellIssue::ServerStalled => self.stalled_cells,
        }
    }

    fn issues(&self) -> impl Iterator<Item = CellIssue> {
        CellIssue::ALL.into_iter().filter(|issue| self.cells_with(*issue) > 0)
    }

    /// The larger half-width of the median's confidence interval.
    fn median_half_width_ms(&self) -> Option<f64> {
        let (value, low, high) = (self.latency_p50_ms?, self.latency_p50_low_ms?, self.latency_p50_high_ms?);
        Some(f64::max(high - value, value - low))
    }

    fn is_undersampled(&self, statistic: Statistic) -> bool {
        self.undersampled.split_whitespace().any(|word| word == statistic.as_str())
    }
}

/// The rows of the table: the pooled baseline, then each condition's values from mild to severe.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConditionTable {
    rows: Vec<ConditionRow>,
    /// Whether the first row is that of the pooled baseline.
    has_baseline: bool,
    unlisted_samples: u64,
}

impl ConditionTable {
    pub(crate) fn new(run: &RunStatistics) -> Self {
        let baseline = run.baseline.as_ref();
        let first = baseline.map(|baseline| ConditionRow::new(baseline, None));
        let values = run.sweeps.iter().flat_map(|sweep| &sweep.values).map(|pool| ConditionRow::new(pool, baseline));
        ConditionTable {
            rows: first.into_iter().chain(values).collect(),
            has_baseline: baseline.is_some(),
            unlisted_samples: run.unlisted_samples,
        }
    }

    pub(crate) fn into_rows(self) -> Vec<ConditionRow> {
        self.rows
    }

    /// Formats the table, with a final newline. `width` limits [`Format::Table`].
    pub(crate) fn to_text(&self, format: Format, width: Option<usize>) -> String {
        match format {
            Format::Table => human_readable(&self.rows, &self.notes(), (presets::NOTHING, 0), width),
            Format::Markdown => human_readable(&self.rows, &self.notes(), (presets::ASCII_MARKDOWN, 1), None),
            Format::Csv => as_csv(&self.rows),
            Format::Json => as_json(&self.rows),
        }
    }

    fn notes(&self) -> Vec<String> {
        let rows = &self.rows;
        let mut notes = vec!["Times in ms, successful operations only; Δ: difference from the baseline".to_owned()];
        notes.push(">200 ms: percentage of successful operations with a latency above 200 ms".to_owned());
        notes.push(if rows.iter().any(|row| row.median_half_width_ms().is_some()) {
            "±: larger half-width of the p50's 95 % CI over repetitions; all CIs: intervals.csv".to_owned()
        } else {
            format!("No ±: a CI needs at least {MIN_REPETITIONS} differing repetitions")
        });
        if rows.iter().any(|row| !row.undersampled.is_empty()) {
            let min_samples =
                [Statistic::P50, Statistic::P95, Statistic::P99].map(|one| format!("{one} {}", one.min_samples()));
            notes.push(format!("* undersampled (minimum: {})", min_samples.join(", ")));
        }
        for issue in CellIssue::ALL.into_iter().filter(|issue| rows.iter().any(|row| row.cells_with(*issue) > 0)) {
            notes.push(format!("{} {}: {}", issue.mark(), issue.label(), issue.advice()));
        }
        let baseline = rows.first().filter(|_| self.has_baseline);
        if let Some(issue) = baseline.and_then(|row| row.issues().find(|issue| row.cells_with(*issue) == row.cells)) {
            notes.push(format!("Δ unreliable: every baseline cell is marked {} ({})", issue.mark(), issue.label()));
        }
        if self.unlisted_samples > 0 {
            notes.push(format!("{} samples of cells not in cells.csv ignored", self.unlisted_samples));
        }
        notes
    }
}

/// Returns the percentage of the values above `threshold`; `None` without values.
fn percent_above(values: &Sorted, threshold: f64) -> Option<f64> {
    let above = values.len() - values.count_up_to(threshold);
    (!values.is_empty()).then(|| 100.0 * above as f64 / values.len() as f64)
}

fn cells_of(row: &ConditionRow) -> [String; COLUMNS.len()] {
    let percentile = |value: Option<f64>, statistic: Statistic| match value {
        Some(_) if row.is_undersampled(statistic) => format!("{}*", short(value)),
        _ => short(value),
    };
    [
        row.condition.clone(),
        format!("{}{}", row.value, marks(row)),
        row.n.to_string(),
        row.errors.to_string(),
        row.error_percent.map_or_else(String::new, |percent| format!("{percent:.1}")),
        short(row.operations_per_s),
        row.slower_than_200_ms_percent.map_or_else(String::new, |percent| format!("{percent:.1}")),
        percentile(row.latency_p50_ms, Statistic::P50),
        short(row.median_half_width_ms()),
        signed(row.latency_p50_delta_ms),
        percentile(row.latency_p95_ms, Statistic::P95),
        signed(row.latency_p95_delta_ms),
        percentile(row.latency_p99_ms, Statistic::P99),
        percentile(row.rtt_p50_ms, Statistic::P50),
        signed(row.rtt_p50_delta_ms),
        percentile(row.rtt_p95_ms, Statistic::P95),
        signed(row.rtt_p95_delta_ms),
        percentile(row.rtt_p99_ms, Statistic::P99),
    ]
}

/// Returns the marks of all issues after a space; empty without issues.
fn marks(row: &ConditionRow) -> String {
    let marks: String = row.issues().map(CellIssue::mark).collect();
    if marks.is_empty() { marks } else { format!(" {marks}") }
}

/// Formats a value with three significant digits; empty without a value.
fn short(value: Option<f64>) -> String {
    let Some(value) = value else { return String::new() };
    match value.abs() {
        magnitude if magnitude < 9.995 => format!("{value:.2}"),
        magnitude if magnitude < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn signed(value: Option<f64>) -> String {
    match short(value) {
        text if text.is_empty() => text,
        text if text == "-0.00" => "0.00".to_owned(),
        text if text.starts_with('-') || text == "0.00" => text,
        text => format!("+{text}"),
    }
}

fn as_csv(rows: &[ConditionRow]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).expect("a flat row can be written to memory");
    }
    let bytes = writer.into_inner().expect("memory can be flushed");
    String::from_utf8(bytes).expect("strings and numbers are UTF-8")
}

fn as_json(rows: &[ConditionRow]) -> String {
    let text = serde_json::to_string_pretty(rows).expect("rows of strings and numbers are JSON");
    format!("{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_differences_a_sign() {
        let values = [0.004, 1.234, 9.996, 45.678, 99.96, 1234.5];
        assert_eq!(values.map(|value| short(Some(value))), ["0.00", "1.23", "10.0", "45.7", "100", "1234"]);
        let differences = [Some(0.001), Some(-0.001), Some(99.7), Some(-3.0), None];
        assert_eq!(differences.map(signed), ["0.00", "0.00", "+99.7", "-3.00", ""]);
    }
}
