//! Result table: one column per emulator, and the targets that the shaper missed.

use std::fmt::Write as _;

use crate::emulator::Emulator;

/// One measurement with every emulator.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) target: String,
    /// One per emulator, in their order.
    pub(crate) cells: Vec<Cell>,
}

/// Result of one emulator.
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) target: TargetResult,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetResult {
    Met,
    Missed,
    /// No target.
    None,
}

impl Cell {
    pub(crate) fn without_target(text: impl Into<String>) -> Self {
        Self { text: text.into(), target: TargetResult::None }
    }

    pub(crate) fn judged(text: impl Into<String>, is_met: bool) -> Self {
        Self { text: text.into(), target: if is_met { TargetResult::Met } else { TargetResult::Missed } }
    }
}

pub(crate) fn markdown(emulators: &[Emulator], rows: &[Row]) -> String {
    let mut text = "| | target |".to_owned();
    for emulator in emulators {
        let _ = write!(text, " {} |", emulator.name());
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(emulators.len()));
    for row in rows {
        let _ = write!(text, "\n| {} | {} |", row.what, row.target);
        for cell in &row.cells {
            let _ = write!(text, " {} |", cell.text);
        }
    }
    text
}

/// Returns the targets that the shaper built with this bench missed; other emulators have no targets.
pub(crate) fn missed(emulators: &[Emulator], rows: &[Row]) -> Vec<String> {
    let Some(column) = emulators.iter().position(Emulator::is_this_build) else { return Vec::new() };
    let missed =
        rows.iter().filter(|row| row.cells.get(column).is_some_and(|cell| cell.target == TargetResult::Missed));
    missed.map(|row| format!("{} ({})", row.what, row.cells[column].text)).collect()
}
