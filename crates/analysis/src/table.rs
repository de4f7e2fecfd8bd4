//! The table of conditions: what each value of each condition did, against the baseline.

mod for_people;

use comfy_table::presets;
use serde::{Deserialize, Serialize};

use crate::cell::CellInfo;
use crate::condition_label;
use crate::confidence_interval::MIN_REPETITIONS;
use crate::distribution::Distribution;
use crate::cell_issue::CellIssue;
use crate::format::Format;
use crate::metric::Metric;
use crate::percentile::Sorted;
use crate::pooled_samples::{PooledSamples, RunSamples};
use crate::sample::Sample;
use crate::statistic::{Statistic, undersampled};
use crate::summary::ALL_OPERATIONS;
use for_people::{COLUMNS, for_people};

/// Operations with a latency above this are slow, milliseconds.
const SLOW_MS: f64 = 200.0;

/// One value of one condition over all its repetitions. Durations are milliseconds and stand on `ok` samples only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionRow {
    /// What is varied; `baseline` in the row of the pooled baseline.
    pub condition: String,
    /// What it is set to, with its unit.
    pub value: String,
    /// How many cells (repetitions) are pooled.
    pub cells: usize,
    /// How many of them were measured without their condition being confirmed.
    pub unverified_cells: usize,
    /// How many of them failed.
    pub failed_cells: usize,
    /// How many of them were interrupted.
    pub interrupted_cells: usize,
    /// How many of them were measured on a host too busy for it.
    pub overloaded_cells: usize,
    /// In how many of them the server was slow itself.
    pub stalled_cells: usize,
    /// Operations tried.
    pub n: u64,
    /// … that did not succeed.
    pub errors: u64,
    /// … the same in percent.
    pub error_percent: Option<f64>,
    /// Operations tried per second of the measured time, all clients together; `None` when there was no such time.
    pub operations_per_s: Option<f64>,
    /// Subset of the operations that succeeded whose latency was above 200 ms, percent.
    pub slower_than_200_ms_percent: Option<f64>,
    /// Median latency.
    pub latency_p50_ms: Option<f64>,
    /// Lower end of the median's 95 % interval over repetitions; `intervals.csv` has those of all statistics.
    pub latency_p50_low_ms: Option<f64>,
    /// Upper end of it.
    pub latency_p50_high_ms: Option<f64>,
    /// Median latency less the pooled baseline's. In a baseline row of a condition it shows how far baselines differ.
    pub latency_p50_delta_ms: Option<f64>,
    /// 95th percentile of the latency.
    pub latency_p95_ms: Option<f64>,
    /// 95th percentile of the latency less the pooled baseline's.
    pub latency_p95_delta_ms: Option<f64>,
    /// 99th percentile of the latency; see `thin`.
    pub latency_p99_ms: Option<f64>,
    /// Median RTT of the requests.
    pub rtt_p50_ms: Option<f64>,
    /// Median RTT less the pooled baseline's.
    pub rtt_p50_delta_ms: Option<f64>,
    /// 95th percentile of the RTT of the requests.
    pub rtt_p95_ms: Option<f64>,
    /// 95th percentile of the RTT less the pooled baseline's.
    pub rtt_p95_delta_ms: Option<f64>,
    /// 99th percentile of the RTT of the requests; see `thin`.
    pub rtt_p99_ms: Option<f64>,
    /// The percentiles for which `n − errors` operations are too few ([`Statistic::needs`]), as in `p95 p99`.
    pub undersampled: String,
}

impl ConditionRow {
    fn new(pool: &PooledSamples, baseline: Option<&PooledSamples>, seed: u64) -> Self {
        let told = |pool: &PooledSamples, metric: Metric| Distribution::of(metric.of(&pool.all.pooled));
        let (latency, rtt) = (told(pool, Metric::Latency), told(pool, Metric::Rtt));
        let base = |metric| baseline.map(|pool| told(pool, metric)).unwrap_or_default();
        let (base_latency, base_rtt) = (base(Metric::Latency), base(Metric::Rtt));
        let median = pool.estimate(ALL_OPERATIONS, Metric::Latency, Statistic::P50, seed);
        let interval = median.and_then(|median| median.interval.ok());
        let delta = |value: Option<f64>, base: Option<f64>| Some(value? - base?);
        ConditionRow {
            condition: pool.condition.clone(),
            value: pool.value.clone(),
            cells: pool.cells,
            unverified_cells: pool.doubtful(CellIssue::Unverified),
            failed_cells: pool.doubtful(CellIssue::Failed),
            interrupted_cells: pool.doubtful(CellIssue::Interrupted),
            overloaded_cells: pool.doubtful(CellIssue::Overloaded),
            stalled_cells: pool.doubtful(CellIssue::ServerStalled),
            n: pool.all.pooled.counts.total(),
            errors: pool.all.pooled.counts.errors(),
            error_percent: pool.all.pooled.counts.error_percent(),
            operations_per_s: (pool.measured_s > 0.0).then(|| pool.all.pooled.counts.total() as f64 / pool.measured_s),
            slower_than_200_ms_percent: percent_above(&pool.all.pooled.latency_ms, SLOW_MS),
            latency_p50_ms: latency.p50,
            latency_p50_low_ms: interval.map(|interval| interval.low),
            latency_p50_high_ms: interval.map(|interval| interval.high),
            latency_p50_delta_ms: delta(latency.p50, base_latency.p50),
            latency_p95_ms: latency.p95,
            latency_p95_delta_ms: delta(latency.p95, base_latency.p95),
            latency_p99_ms: latency.p99,
            rtt_p50_ms: rtt.p50,
            rtt_p50_delta_ms: delta(rtt.p50, base_rtt.p50),
            rtt_p95_ms: rtt.p95,
            rtt_p95_delta_ms: delta(rtt.p95, base_rtt.p95),
            rtt_p99_ms: rtt.p99,
            undersampled: undersampled(latency.n),
        }
    }

    fn doubtful_cells(&self, doubt: CellIssue) -> usize {
        match doubt {
            CellIssue::Unverified => self.unverified_cells,
            CellIssue::Failed => self.failed_cells,
            CellIssue::Interrupted => self.interrupted_cells,
            CellIssue::Overloaded => self.overloaded_cells,
            CellIssue::ServerStalled => self.stalled_cells,
        }
    }

    /// What casts doubt on any of its cells.
    fn doubts(&self) -> impl Iterator<Item = CellIssue> {
        CellIssue::ALL.into_iter().filter(|doubt| self.doubtful_cells(*doubt) > 0)
    }

    /// How far the median may be off: the longer side of its interval.
    fn median_off_ms(&self) -> Option<f64> {
        let (value, low, high) = (self.latency_p50_ms?, self.latency_p50_low_ms?, self.latency_p50_high_ms?);
        Some(f64::max(high - value, value - low))
    }

    fn is_undersampled(&self, statistic: Statistic) -> bool {
        self.undersampled.split_whitespace().any(|word| word == statistic.as_str())
    }
}

/// The rows of the table: the pooled baseline first, then each condition's values from mild to severe.
///
/// The same `seed` gives the same intervals.
#[must_use]
pub fn condition_rows(samples: &[Sample], cells: &[CellInfo], seed: u64) -> Vec<ConditionRow> {
    rows_of(&RunSamples::new(samples, cells), seed)
}

/// The table of conditions in `format`; ends in a newline. The forms for people round and carry notes, CSV and JSON
/// carry every digit and no note. The same `seed` gives the same intervals.
#[must_use]
pub fn condition_table(samples: &[Sample], cells: &[CellInfo], format: Format, seed: u64) -> String {
    let values = RunSamples::new(samples, cells);
    let rows = rows_of(&values, seed);
    match format {
        Format::Table => for_people(&rows, values.unlisted_samples, (presets::NOTHING, 0), None),
        Format::Markdown => for_people(&rows, values.unlisted_samples, (presets::ASCII_MARKDOWN, 1), None),
        Format::Csv => as_csv(&rows),
        Format::Json => as_json(&rows),
    }
}

/// The table for a terminal of `width` columns. Columns that do not fit are omitted, those of the RTT first and those of
/// the latency last; a note names them. Lines of notes may be longer.
#[must_use]
pub fn condition_table_within(samples: &[Sample], cells: &[CellInfo], seed: u64, width: usize) -> String {
    let values = RunSamples::new(samples, cells);
    for_people(&rows_of(&values, seed), values.unlisted_samples, (presets::NOTHING, 0), Some(width))
}

fn rows_of(values: &RunSamples, seed: u64) -> Vec<ConditionRow> {
    let baseline = values.baseline.as_ref();
    let values = values.conditions.iter().flat_map(|condition| &condition.values);
    let first = baseline.map(|pool| ConditionRow::new(pool, None, seed));
    first.into_iter().chain(values.map(|pool| ConditionRow::new(pool, baseline, seed))).collect()
}

/// Which percentage of the values is above `limit`; `None` when there are none.
fn percent_above(values: &Sorted, limit: f64) -> Option<f64> {
    let above = values.len() - values.values().partition_point(|value| *value <= limit);
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
        short(row.median_off_ms()),
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

/// A mark for each doubt, behind a space; nothing without any.
fn marks(row: &ConditionRow) -> String {
    let marks: String = row.doubts().map(CellIssue::mark).collect();
    if marks.is_empty() { marks } else { format!(" {marks}") }
}

fn notes(rows: &[ConditionRow], unlisted: usize) -> Vec<String> {
    let mut notes =
        vec!["Milliseconds, of operations that succeeded; Δ is the difference from the baseline.".to_owned()];
    notes.push(">200 ms: share of the operations that succeeded with a latency above 200 ms, percent.".to_owned());
    notes.push(if rows.iter().any(|row| row.median_off_ms().is_some()) {
        "± is the longer side of the p50's 95 % interval over repetitions; intervals.csv has both, and of the others."
            .to_owned()
    } else {
        format!("No ±: an interval needs {MIN_REPETITIONS} repetitions that differ.")
    });
    if rows.iter().any(|row| !row.undersampled.is_empty()) {
        let min_samples =
            [Statistic::P50, Statistic::P95, Statistic::P99].map(|one| format!("{one} {}", one.min_samples()));
        notes.push(format!("* too few values to be trusted (they need: {}).", min_samples.join(", ")));
    }
    for doubt in CellIssue::ALL.into_iter().filter(|doubt| rows.iter().any(|row| row.doubtful_cells(*doubt) > 0)) {
        notes.push(format!("{} {}: {}", doubt.mark(), doubt.words(), doubt.remedy()));
    }
    let baseline = rows.first().filter(|row| row.condition == condition_label::BASELINE);
    if let Some(doubt) = baseline.and_then(|row| row.doubts().find(|doubt| row.doubtful_cells(*doubt) == row.cells)) {
        notes.push(format!("Δ: every baseline cell is in doubt ({}), and so are the differences.", doubt.words()));
    }
    if unlisted > 0 {
        notes.push(format!("{unlisted} samples belong to no listed cell and are not counted here."));
    }
    notes
}

/// Three digits that count; nothing where nothing was measured.
fn short(value: Option<f64>) -> String {
    let Some(value) = value else { return String::new() };
    match value.abs() {
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
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
        writer.serialize(row).expect("a flat row is written to memory");
    }
    let bytes = writer.into_inner().expect("memory is flushed");
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
    fn numbers_keep_three_digits_and_differences_a_sign() {
        let values = [0.004, 1.234, 9.996, 45.678, 99.96, 1234.5];
        assert_eq!(values.map(|value| short(Some(value))), ["0.00", "1.23", "10.0", "45.7", "100", "1234"]);
        let differences = [Some(0.001), Some(-0.001), Some(99.7), Some(-3.0), None];
        assert_eq!(differences.map(signed), ["0.00", "0.00", "+99.7", "-3.00", ""]);
    }
}
