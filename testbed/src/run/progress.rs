//! What the user sees while a run goes on: one line that changes on a terminal, plain lines elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::board::{Board, Count};
use crate::cell_row::{CellRow, Verdict};
use crate::output::say;
use crate::plan;

/// How often the line on a terminal is drawn.
const REDRAW: Duration = Duration::from_millis(250);

/// The display of one run.
pub(crate) struct Progress {
    /// The line on a terminal; hidden elsewhere.
    bar: Option<ProgressBar>,
    /// How long clients work in a cell.
    cell_time: Duration,
    /// Cells that are to be measured.
    cells: Cell<usize>,
    /// What a cell takes beside its clients' work: known after the first.
    overhead: Cell<Duration>,
    /// Cells done.
    done: Cell<usize>,
    /// The cells under way, by their ids.
    under_way: RefCell<BTreeMap<String, UnderWay>>,
}

/// A cell under way.
struct UnderWay {
    start: Instant,
    /// What its clients tell, once they work.
    board: Option<(Instant, Board)>,
}

/// What a cell takes beside its clients' work, until it is known.
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
        let (overhead, done, cells) = (Cell::new(FIRST_GUESS), Cell::new(0), Cell::new(cells));
        Self { bar, cell_time, cells, overhead, done, under_way: RefCell::default() }
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say(text),
        }
    }

    /// The next cell begins.
    pub(crate) fn begin(&self, cell: &plan::Cell) {
        let under_way = UnderWay { start: Instant::now(), board: None };
        self.under_way.borrow_mut().insert(cell.id.clone(), under_way);
        self.draw();
    }

    /// A cell is not measured at all.
    pub(crate) fn pass_over(&self) {
        self.cells.set(self.cells.get() - 1);
        if let Some(bar) = &self.bar {
            bar.set_length(self.cells.get() as u64);
        }
    }

    /// The cell is over; its outcome stays as a line.
    pub(crate) fn end(&self, row: &CellRow) {
        self.done.set(self.done.get() + 1);
        if let Some(under_way) = self.under_way.borrow_mut().remove(&row.cell) {
            let taken = under_way.start.elapsed();
            self.overhead.set(taken.saturating_sub(Duration::from_secs_f64(row.duration_s)));
        }
        self.line(&format!("cell {}/{} {}", self.done.get(), self.cells.get(), summary(row)));
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

    /// Shows the counts of the cell until this is dropped.
    pub(crate) async fn watch(&self, cell: &plan::Cell, board: &Board) -> Infallible {
        if let Some(under_way) = self.under_way.borrow_mut().get_mut(&cell.id) {
            under_way.board = Some((Instant::now(), board.clone()));
        }
        loop {
            tokio::time::sleep(REDRAW).await;
            self.draw();
        }
    }

    /// Draws the line: the cell under way, or several together.
    fn draw(&self) {
        let Some(bar) = &self.bar else { return };
        let under_way = self.under_way.borrow();
        let what = match under_way.keys().collect::<Vec<_>>().as_slice() {
            [one] => (*one).clone(),
            several => format!("{} cells beside each other", several.len()),
        };
        let working: Vec<(Duration, Count)> = under_way
            .values()
            .filter_map(|cell| cell.board.as_ref())
            .map(|(start, board)| (start.elapsed(), board.total()))
            .collect();
        let Some(longest) = working.iter().map(|(elapsed, _)| *elapsed).max() else {
            bar.set_message(format!("{what}: clients get ready, the link is proved"));
            return;
        };
        let rate: f64 = working.iter().map(|(elapsed, count)| count.operations as f64 / elapsed.as_secs_f64()).sum();
        let errors: u64 = working.iter().map(|(_, count)| count.errors).sum();
        bar.set_message(format!(
            "{what}: {rate:.0} operations/s, {errors} errors, {} left, {} in all",
            clock(self.cell_time.saturating_sub(longest)),
            clock(self.left(longest, under_way.len())),
        ));
    }

    /// Time until the last cell ends, when as many go on beside each other as now.
    fn left(&self, in_cell: Duration, at_once: usize) -> Duration {
        let after_these = self.cells.get().saturating_sub(self.done.get() + at_once).div_ceil(at_once.max(1));
        let each = self.cell_time + self.overhead.get();
        self.cell_time.saturating_sub(in_cell) + each * u32::try_from(after_these).unwrap_or(u32::MAX)
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
    if !row.overload.is_empty() {
        text.push_str(&format!(", OVERLOADED: {}", row.overload));
    }
    if !row.server_stall.is_empty() {
        text.push_str(&format!(", SERVER STALLED: {}", row.server_stall));
    }
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
