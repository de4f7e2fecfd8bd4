//! The table of conditions: statistics of each value of each condition, compared with the baseline.

mod condition_row;
mod human_readable;

use comfy_table::presets;

use crate::cell_issue::CellIssue;
use crate::confidence_interval::MIN_REPETITIONS;
use crate::format::Format;
use crate::run_statistics::RunStatistics;
use crate::statistic::Statistic;
pub use condition_row::ConditionRow;
use human_readable::human_readable;

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
        let values =
            run.sweeps.iter().flat_map(|sweep| &sweep.values).map(|pooled| ConditionRow::new(pooled, baseline));
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
