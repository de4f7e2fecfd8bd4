//! The human-readable table: its columns, and which of them fit a terminal.

use comfy_table::{Cell, CellAlignment, Table, TableStyle};

use crate::table::{ConditionRow, cells_of};

pub(super) struct Column {
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

pub(super) const COLUMNS: [Column; 18] = [
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
