//! Progress display of a run: a progress bar on a terminal, plain lines elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use model::Condition;
use model::sample::Sample;

use crate::output;
use crate::output::{Verbosity, print_status, print_status_coloured};
use crate::run::cell_line::cell_line;
use crate::run::live_counts::{ClientCounts, LiveCounts};
use crate::store::cell_row::CellRow;

const REDRAW_INTERVAL: Duration = Duration::from_millis(250);
/// Steps of the bar for each cell.
const STEPS: u64 = 1_000;
/// Minimum and maximum width of the bar, columns. Between them it is a quarter of the terminal's width.
const BAR_COLUMNS: (usize, usize) = (6, 24);

/// Progress display of one run.
pub(crate) struct Progress {
    /// `None` if stderr is not a terminal, or with `--quiet`.
    bar: Option<ProgressBar>,
    /// Time that clients work in a cell.
    cell_time: Duration,
    /// Cells to measure.
    cells: Cell<usize>,
    /// Time that a cell takes in addition to its clients' work: estimated until the first has ended.
    overhead: Cell<Duration>,
    /// Cells that have ended.
    done: Cell<usize>,
    /// Running cells, by id.
    running: RefCell<BTreeMap<String, RunningCell>>,
}

struct RunningCell {
    start: Instant,
    condition: Condition,
    /// Start and counts of its workload, once its clients work.
    workload: Option<(Instant, LiveCounts)>,
}

/// Initial estimate of the time that a cell takes in addition to its clients' work.
const INITIAL_OVERHEAD: Duration = Duration::from_secs(3);

impl Progress {
    /// Creates a display for this many cells of this duration.
    pub(crate) fn new(cells: usize, cell_time: Duration) -> Self {
        let is_shown = std::io::stderr().is_terminal() && output::verbosity() > Verbosity::Quiet;
        let bar = is_shown.then(|| {
            let bar = ProgressBar::new(cells as u64 * STEPS);
            let columns = output::width(&Term::stderr()).map_or(BAR_COLUMNS.1, |width| width / 4);
            let columns = columns.clamp(BAR_COLUMNS.0, BAR_COLUMNS.1);
            // `wide_msg` truncates the message to the terminal's width.
            let style = ProgressStyle::with_template(&format!("{{bar:{columns}}} {{wide_msg}}"));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        output::set_bar(bar.clone());
        let (overhead, done, cells) = (Cell::new(INITIAL_OVERHEAD), Cell::new(0), Cell::new(cells));
        Self { bar, cell_time, cells, overhead, done, running: RefCell::default() }
    }

    /// Prints a line above the bar.
    pub(crate) fn line(&self, text: &str) {
        print_status(text);
    }

    /// Shows that a cell has started.
    pub(crate) fn start(&self, cell: &model::Cell) {
        let running = RunningCell { start: Instant::now(), condition: cell.condition, workload: None };
        self.running.borrow_mut().insert(cell.id.clone(), running);
        tracing::debug!("cell {}: started", cell.id);
        self.draw();
    }

    /// Removes a skipped cell from the number of cells.
    pub(crate) fn skip(&self) {
        self.cells.set(self.cells.get() - 1);
    }

    /// Shows that a cell has ended, and prints its line.
    pub(crate) fn end(&self, row: &CellRow, samples: &[Sample]) {
        self.done.set(self.done.get() + 1);
        let Some(cell) = self.running.borrow_mut().remove(&row.cell) else { return };
        let taken = cell.start.elapsed();
        self.overhead.set(taken.saturating_sub(Duration::from_secs_f64(row.duration_s)));
        let count = format!("{}/{}", self.done.get(), self.cells.get());
        let line = |is_coloured| format!("{count} {}", cell_line(row, &cell.condition, samples, is_coloured));
        self.draw();
        print_status_coloured(&line(false), &line(true));
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        output::set_bar(None);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Shows the counts of a cell whose clients work, until it ends. Never resolves.
    pub(crate) async fn watch(&self, cell: &model::Cell, counts: &LiveCounts) -> Infallible {
        if let Some(running) = self.running.borrow_mut().get_mut(&cell.id) {
            running.workload = Some((Instant::now(), counts.clone()));
        }
        std::future::pending().await
    }

    /// Redraws the bar at regular intervals. Never resolves.
    pub(crate) async fn keep_drawing(&self) -> Infallible {
        loop {
            self.draw();
            tokio::time::sleep(REDRAW_INTERVAL).await;
        }
    }

    fn draw(&self) {
        let Some(bar) = &self.bar else { return };
        let now = Instant::now();
        bar.set_length(self.cells.get() as u64 * STEPS);
        bar.set_position(self.position(now));
        bar.set_message(self.message(now));
    }

    /// Returns the bar's position: all steps of cells that have ended, and of running cells by their elapsed time.
    fn position(&self, now: Instant) -> u64 {
        let expected = (self.cell_time + self.overhead.get()).as_secs_f64();
        let running = self.running.borrow();
        let steps = running.values().map(|cell| {
            let share = (now - cell.start).as_secs_f64() / expected;
            // Below 1 until the cell has ended, however long it takes.
            (share.min(0.99) * STEPS as f64) as u64
        });
        self.done.get() as u64 * STEPS + steps.sum::<u64>()
    }

    /// Returns the text about the running cell, or several together. The end may be truncated: the most important comes
    /// first.
    fn message(&self, now: Instant) -> String {
        let running = self.running.borrow();
        let count = format!("{}/{}", self.done.get(), self.cells.get());
        let what = match running.keys().collect::<Vec<_>>().as_slice() {
            [] if self.done.get() == 0 => return format!("{count} starting the environment"),
            [] => return count,
            [one] => (*one).clone(),
            several => format!("{} cells in parallel", several.len()),
        };
        let working: Vec<(Duration, ClientCounts)> = running
            .values()
            .filter_map(|cell| cell.workload.as_ref())
            .map(|(start, counts)| (now - *start, counts.total()))
            .collect();
        let Some(longest) = working.iter().map(|(elapsed, _)| *elapsed).max() else {
            return format!("{count} {what}: starting clients, verifying the condition");
        };
        let per_second =
            |(elapsed, count): &(Duration, ClientCounts)| count.operations as f64 / elapsed.as_secs_f64().max(0.001);
        let rate: f64 = working.iter().map(per_second).sum();
        let errors: u64 = working.iter().map(|(_, count)| count.errors).sum();
        format!(
            "{count} {} left in run, {what} {} left in cell, {rate:.0} operations/s, {errors} errors",
            clock(self.left(longest, running.len())),
            clock(self.cell_time.saturating_sub(longest)),
        )
    }

    /// Estimates the time until the last cell ends, with as many cells in parallel as now.
    fn left(&self, in_cell: Duration, parallel: usize) -> Duration {
        let rounds = self.cells.get().saturating_sub(self.done.get() + parallel).div_ceil(parallel.max(1));
        let each = self.cell_time + self.overhead.get();
        self.cell_time.saturating_sub(in_cell) + each * u32::try_from(rounds).unwrap_or(u32::MAX)
    }
}

/// Formats `75 s` as `1:15`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().ceil() as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::plan;
    use crate::scenario::tests::default_with;

    #[test]
    fn remaining_times_are_minutes_and_seconds() {
        for (milliseconds, expected) in [(0, "0:00"), (900, "0:01"), (75_000, "1:15"), (600_000, "10:00")] {
            assert_eq!(clock(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn the_bar_advances_with_time_within_a_cell_and_never_past_its_end() {
        let plan = plan::cells(&default_with(&[]), 1);
        let progress = Progress::new(9, Duration::from_secs(17));
        assert_eq!(progress.position(Instant::now()), 0);
        progress.start(&plan[0]);
        let start = progress.running.borrow()[&plan[0].id].start;
        let after = |seconds| progress.position(start + Duration::from_secs(seconds));
        assert_eq!([after(0), after(5), after(10), after(600)], [0, 250, 500, 990]);
        let message = progress.message(start);
        assert!(message.starts_with("0/9 loss-0%-r1: "), "{message}");
        progress.end(&CellRow::new(&plan[0], 0.1), &[]);
        assert_eq!(progress.position(start), 1_000);
    }
}
