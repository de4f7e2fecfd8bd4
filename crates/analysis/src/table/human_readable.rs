//! The human-readable table: its columns, and which of them fit a terminal.

use comfy_table::{Cell, CellAlignment, Table, TableStyle};

use crate::cell_issue::CellIssue;
use crate::statistic::Statistic;
use crate::table::condition_row::ConditionRow;

struct Column {
    /// The header; the columns of the RTT follow its median.
    header: &'static str,
    /// The unambiguous name.
    name: &'static str,
    /// Position in the order of omission on a narrow terminal: 1 is omitted first, `None` never.
    omission_rank: Option<u8>,
}

const fn column(header: &'static str, name: &'static str, omission_rank: Option<u8>) -> Column {
    Column { header, name, omission_rank }
}

const COLUMNS: [Column; 18] = [
    column("condition", "condition", None),
    column("value", "value", None),
    column("n", "n", Some(8)),
    column("errors", "errors", Some(6)),
    column("%", "errors %", Some(12)),
    column("ops/s", "ops/s", Some(11)),
    column(">200 ms", ">200 ms", Some(13)),
    column("latency p50", "latency p50", None),
    column("±", "latency p50 ±", Some(9)),
    column("Δ", "latency p50 Δ", Some(14)),
    column("p95", "latency p95", Some(10)),
    column("Δ", "latency p95 Δ", Some(5)),
    column("p99", "latency p99", None),
    column("RTT p50", "RTT p50", Some(7)),
    column("Δ", "RTT p50 Δ", Some(4)),
    column("p95", "RTT p95", Some(3)),
    column("Δ", "RTT p95 Δ", Some(1)),
    column("p99", "RTT p99", Some(2)),
];

/// Index of the column of half-widths, which is omitted if no row has one.
const HALF_WIDTH: usize = 8;

/// Formats the table and its notes in a style with its left padding; the table is at most `width` columns wide.
pub(super) fn human_readable(
    rows: &[ConditionRow],
    notes: &[String],
    style: (TableStyle, u16),
    width: Option<usize>,
) -> String {
    let has_intervals = rows.iter().any(|row| row.median_half_width_ms().is_some());
    let mut shown: Vec<usize> = (0..COLUMNS.len()).filter(|index| *index != HALF_WIDTH || has_intervals).collect();
    let mut omitted = Vec::new();
    let mut text = table(rows, &shown, style);
    while width.is_some_and(|width| text.lines().any(|line| line.chars().count() > width)) {
        let candidates = shown.iter().enumerate().filter(|(_, index)| COLUMNS[**index].omission_rank.is_some());
        let Some((position, index)) = candidates.min_by_key(|(_, index)| COLUMNS[**index].omission_rank) else { break };
        omitted.push(COLUMNS[*index].name);
        shown.remove(position);
        text = table(rows, &shown, style);
    }
    if !omitted.is_empty() {
        text.push_str(&format!(
            "\nTerminal too narrow, omitted: {} (--format csv prints all columns)\n",
            omitted.join(", ")
        ));
    }
    for note in notes {
        text.push_str(&format!("\n{note}\n"));
    }
    text
}

fn table(rows: &[ConditionRow], shown: &[usize], (style, left_padding): (TableStyle, u16)) -> String {
    let mut table = Table::new();
    let header = |index: &usize| Cell::new(COLUMNS[*index].header).set_alignment(CellAlignment::Right);
    table.load_style(style).set_header(shown.iter().map(header));
    for row in rows {
        let cells = cells_of(row);
        table.add_row(shown.iter().map(|&index| cells[index].clone()));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((left_padding, 1));
        column.set_cell_alignment(if index < 2 { CellAlignment::Left } else { CellAlignment::Right });
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
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
