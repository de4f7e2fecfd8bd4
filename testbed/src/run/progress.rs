//! What the user sees while a run goes on: one line that changes on a terminal, plain lines elsewhere.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::board::Board;
use crate::cell_row::{CellRow, Verdict};
use crate::output::say;
use crate::plan::Cell;

/// How often the line on a terminal is drawn.
const REDRAW: Duration = Duration::from_millis(250);

/// The display of one run.
pub(crate) struct Progress {
    /// The line on a terminal; hidden elsewhere.
    bar: Option<ProgressBar>,
    /// Measured time of a cell.
    cell_time: Duration,
    /// All cells.
    cells: usize,
    /// What a cell takes beside its measured time: known after the first.
    overhead: std::cell::Cell<Duration>,
    /// Cells done.
    done: std::cell::Cell<usize>,
    /// Since when the present cell is under way.
    cell_start: std::cell::Cell<Instant>,
}

/// What a cell takes beside its measured time, until it is known.
const FIRST_GUESS: Duration = Duration::from_secs(3);

impl Progress {
    /// A display for so many cells of this length.
    pub(crate) fn new(cells: usize, cell_time: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(cells as u64);
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let now = std::cell::Cell::new(Instant::now());
        let (overhead, done) = (std::cell::Cell::new(FIRST_GUESS), std::cell::Cell::new(0));
        Self { bar, cell_time, cells, overhead, done, cell_start: now }
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say(text),
        }
    }

    /// The next cell begins.
    pub(crate) fn begin(&self, cell: &Cell) {
        self.cell_start.set(Instant::now());
        let text = format!("{} {}: clients get ready, the link is proved", cell.varied.as_str(), cell.value);
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        }
    }

    /// The cell is over; its outcome stays as a line.
    pub(crate) fn end(&self, row: &CellRow) {
        self.done.set(self.done.get() + 1);
        let taken = self.cell_start.get().elapsed();
        self.overhead.set(taken.saturating_sub(Duration::from_secs_f64(row.duration_s)));
        self.line(&format!("cell {}/{} {}", self.done.get(), self.cells, summary(row)));
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Nothing more will come.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Draws the counts of the cell until it is dropped.
    pub(crate) async fn watch(&self, cell: &Cell, board: &Board) -> Infallible {
        let start = Instant::now();
        loop {
            tokio::time::sleep(REDRAW).await;
            let Some(bar) = &self.bar else { continue };
            let count = board.total();
            let elapsed = start.elapsed();
            let rate = count.operations as f64 / elapsed.as_secs_f64();
            bar.set_message(format!(
                "{} {}: {rate:.0} operations/s, {} errors, {} left, {} in all",
                cell.varied.as_str(),
                cell.value,
                count.errors,
                clock(self.cell_time.saturating_sub(elapsed)),
                clock(self.left(elapsed)),
            ));
        }
    }

    /// Time until the last cell ends.
    fn left(&self, in_cell: Duration) -> Duration {
        let after_this = self.cells.saturating_sub(self.done.get() + 1);
        let each = self.cell_time + self.overhead.get();
        self.cell_time.saturating_sub(in_cell) + each * u32::try_from(after_this).unwrap_or(u32::MAX)
    }
}

/// `75 s` → `1:15`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().ceil() as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// A cell's outcome in a line.
fn summary(row: &CellRow) -> String {
    let verdict = match row.verdict {
        Verdict::Proved => "proved",
        Verdict::NotProved => "NOT PROVED",
        Verdict::Failed => "FAILED",
        Verdict::Interrupted => "interrupted",
    };
    let rtt = row.before_rtt_ms.map_or(String::new(), |rtt| format!(", probe {rtt:.2} ms"));
    let mut text = format!(
        "{} {}: {} operations, {} errors{rtt}, {verdict}",
        row.condition, row.value, row.operations, row.errors
    );
    for remark in [&row.problems, &row.notes].into_iter().filter(|remark| !remark.is_empty()) {
        text.push_str("\n    ");
        text.push_str(remark.trim());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_left_are_minutes_and_seconds() {
        for (milliseconds, expected) in [(0, "0:00"), (900, "0:01"), (75_000, "1:15"), (600_000, "10:00")] {
            assert_eq!(clock(Duration::from_millis(milliseconds)), expected);
        }
    }
}
