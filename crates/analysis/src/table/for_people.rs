//! The table for people: which columns there are, and which of them fit.

use comfy_table::{Cell, CellAlignment, Table, TableStyle};

use crate::table::{ConditionRow, cells_of, notes};

/// A column for people.
pub(super) struct Column {
    /// Its head; those of the RTT follow its median.
    head: &'static str,
    /// Its name where it stands alone.
    name: &'static str,
    /// Its place among those that are omitted when the terminal is too narrow: 1 goes first, `None` never.
    omitted: Option<u8>,
}

const fn column(head: &'static str, name: &'static str, omitted: Option<u8>) -> Column {
    Column { head, name, omitted }
}

/// All columns.
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

/// The column of half widths, which is omitted when no row has one.
const OFF: usize = 8;

/// The table and its notes in a style with so much padding on the left, no wider than `width` columns.
pub(super) fn for_people(
    rows: &[ConditionRow],
    unlisted: usize,
    style: (TableStyle, u16),
    width: Option<usize>,
) -> String {
    let has_intervals = rows.iter().any(|row| row.median_off_ms().is_some());
    let mut shown: Vec<usize> = (0..COLUMNS.len()).filter(|index| *index != OFF || has_intervals).collect();
    let mut omitted = Vec::new();
    let mut text = table(rows, &shown, style);
    while width.is_some_and(|width| text.lines().any(|line| line.chars().count() > width)) {
        let can_go = shown.iter().enumerate().filter(|(_, index)| COLUMNS[**index].omitted.is_some());
        let Some((place, index)) = can_go.min_by_key(|(_, index)| COLUMNS[**index].omitted) else { break };
        omitted.push(COLUMNS[*index].name);
        shown.remove(place);
        text = table(rows, &shown, style);
    }
    if !omitted.is_empty() {
        text.push_str(&format!("\nToo narrow for: {} (--format csv has all).\n", omitted.join(", ")));
    }
    for note in notes(rows, unlisted) {
        text.push_str(&format!("\n{note}\n"));
    }
    text
}

fn table(rows: &[ConditionRow], shown: &[usize], (style, left_padding): (TableStyle, u16)) -> String {
    let mut table = Table::new();
    let head = |index: &usize| Cell::new(COLUMNS[*index].head).set_alignment(CellAlignment::Right);
    table.load_style(style).set_header(shown.iter().map(head));
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
