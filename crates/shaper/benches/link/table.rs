//! Rows of figures, a column an emulator, and which of the shaper's miss their goal.

use std::fmt::Write as _;

use crate::emulator::Emulator;

/// One thing measured of every emulator.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) goal: String,
    /// In the order of the emulators.
    pub(crate) cells: Vec<Cell>,
}

/// What one emulator did.
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) goal: Goal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Met,
    Missed,
    /// There is none for it.
    None,
}

impl Cell {
    pub(crate) fn without_goal(text: impl Into<String>) -> Self {
        Self { text: text.into(), goal: Goal::None }
    }

    pub(crate) fn judged(text: impl Into<String>, is_met: bool) -> Self {
        Self { text: text.into(), goal: if is_met { Goal::Met } else { Goal::Missed } }
    }
}

pub(crate) fn markdown(emulators: &[Emulator], rows: &[Row]) -> String {
    let mut text = "| | goal |".to_owned();
    for emulator in emulators {
        let _ = write!(text, " {} |", emulator.name());
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(emulators.len()));
    for row in rows {
        let _ = write!(text, "\n| {} | {} |", row.what, row.goal);
        for cell in &row.cells {
            let _ = write!(text, " {} |", cell.text);
        }
    }
    text
}

/// What the shaper built with this bench did not reach; the others have no goals to reach.
pub(crate) fn missed(emulators: &[Emulator], rows: &[Row]) -> Vec<String> {
    let Some(ours) = emulators.iter().position(Emulator::is_ours) else { return Vec::new() };
    let missed = rows.iter().filter(|row| row.cells.get(ours).is_some_and(|cell| cell.goal == Goal::Missed));
    missed.map(|row| format!("{} ({})", row.what, row.cells[ours].text)).collect()
}
