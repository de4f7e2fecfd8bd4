//! What the user sees while a run goes on: one line that changes on a terminal, plain lines elsewhere.

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
use crate::output::{Verbosity, say, say_coloured};
use crate::run::cell_line::cell_line;
use crate::run::live_counts::{Count, LiveCounts};
use crate::store::cell_row::CellRow;

/// How often the line on a terminal is drawn.
const REDRAW: Duration = Duration::from_millis(250);
/// Steps of the bar in each cell.
const STEPS: u64 = 1_000;
/// Columns of the bar itself: a quarter of the terminal's, within these bounds.
const BAR_COLUMNS: (usize, usize) = (6, 24);

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
    condition: Condition,
    /// What its clients tell, once they work.
    counts: Option<(Instant, LiveCounts)>,
}

/// What a cell takes beside its clients' work, until it is known.
const FIRST_GUESS: Duration = Duration::from_secs(3);

impl Progress {
    /// A display for so many cells of this length.
    pub(crate) fn new(cells: usize, cell_time: Duration) -> Self {
        let is_shown = std::io::stderr().is_terminal() && output::verbosity() > Verbosity::Quiet;
        let bar = is_shown.then(|| {
            let bar = ProgressBar::new(cells as u64 * STEPS);
            let columns = output::width(&Term::stderr()).map_or(BAR_COLUMNS.1, |width| width / 4);
            let columns = columns.clamp(BAR_COLUMNS.0, BAR_COLUMNS.1);
            // A wide_msg is cut at the terminal's edge.
            let style = ProgressStyle::with_template(&format!("{{bar:{columns}}} {{wide_msg}}"));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        output::set_bar(bar.clone());
        let (overhead, done, cells) = (Cell::new(FIRST_GUESS), Cell::new(0), Cell::new(cells));
        Self { bar, cell_time, cells, overhead, done, under_way: RefCell::default() }
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        say(text);
    }

    /// The next cell begins.
    pub(crate) fn begin(&self, cell: &model::Cell) {
        let under_way = UnderWay { start: Instant::now(), condition: cell.condition, counts: None };
        self.under_way.borrow_mut().insert(cell.id.clone(), under_way);
        tracing::debug!("cell {}: started", cell.id);
        self.draw();
    }

    /// A cell is not measured at all.
    pub(crate) fn skip(&self) {
        self.cells.set(self.cells.get() - 1);
    }

    /// The cell is over; its outcome stays as a line.
    pub(crate) fn end(&self, row: &CellRow, samples: &[Sample]) {
        self.done.set(self.done.get() + 1);
        let Some(under_way) = self.under_way.borrow_mut().remove(&row.cell) else { return };
        let taken = under_way.start.elapsed();
        self.overhead.set(taken.saturating_sub(Duration::from_secs_f64(row.duration_s)));
        let count = format!("{}/{}", self.done.get(), self.cells.get());
        let line = |is_coloured| format!("{count} {}", cell_line(row, &under_way.condition, samples, is_coloured));
        self.draw();
        say_coloured(&line(false), &line(true));
    }

    /// Nothing more will come.
    pub(crate) fn finish(&self) {
        output::set_bar(None);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Shows the counts of the cell from now on.
    pub(crate) async fn watch(&self, cell: &model::Cell, counts: &LiveCounts) -> Infallible {
        if let Some(under_way) = self.under_way.borrow_mut().get_mut(&cell.id) {
            under_way.counts = Some((Instant::now(), counts.clone()));
        }
        std::future::pending().await
    }

    /// Keeps the line up to date until this is dropped.
    pub(crate) async fn keep_drawing(&self) -> Infallible {
        loop {
            self.draw();
            tokio::time::sleep(REDRAW).await;
        }
    }

    fn draw(&self) {
        let Some(bar) = &self.bar else { return };
        let now = Instant::now();
        bar.set_length(self.cells.get() as u64 * STEPS);
        bar.set_position(self.position(now));
        bar.set_message(self.message(now));
    }

    /// The bar's steps: those of the cells done, and of those under way by the time they have taken.
    fn position(&self, now: Instant) -> u64 {
        let expected = (self.cell_time + self.overhead.get()).as_secs_f64();
        let parts = self.under_way.borrow();
        let parts = parts.values().map(|cell| {
            let share = (now - cell.start).as_secs_f64() / expected;
            // A cell is done when it has ended, however long it takes.
            (share.min(0.99) * STEPS as f64) as u64
        });
        self.done.get() as u64 * STEPS + parts.sum::<u64>()
    }

    /// The line's text: the cell under way, or several together. What matters most comes first, since the end is cut.
    fn message(&self, now: Instant) -> String {
        let under_way = self.under_way.borrow();
        let count = format!("{}/{}", self.done.get(), self.cells.get());
        let what = match under_way.keys().collect::<Vec<_>>().as_slice() {
            [] if self.done.get() == 0 => return format!("{count} starting the environment"),
            [] => return count,
            [one] => (*one).clone(),
            several => format!("{} cells in parallel", several.len()),
        };
        let working: Vec<(Duration, Count)> = under_way
            .values()
            .filter_map(|cell| cell.counts.as_ref())
            .map(|(start, counts)| (now - *start, counts.total()))
            .collect();
        let Some(longest) = working.iter().map(|(elapsed, _)| *elapsed).max() else {
            return format!("{count} {what}: starting clients, verifying the condition");
        };
        let per_second =
            |(elapsed, count): &(Duration, Count)| count.operations as f64 / elapsed.as_secs_f64().max(0.001);
        let rate: f64 = working.iter().map(per_second).sum();
        let errors: u64 = working.iter().map(|(_, count)| count.errors).sum();
        format!(
            "{count} {} left, {what} {} left, {rate:.0} operations/s, {errors} errors",
            clock(self.left(longest, under_way.len())),
            clock(self.cell_time.saturating_sub(longest)),
        )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::plan;
    use crate::scenario::{Overrides, Scenario};

    #[test]
    fn times_left_are_minutes_and_seconds() {
        for (milliseconds, expected) in [(0, "0:00"), (900, "0:01"), (75_000, "1:15"), (600_000, "10:00")] {
            assert_eq!(clock(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn the_bar_moves_with_time_inside_a_cell_and_never_past_its_end() {
        let plan = plan::cells(&Scenario::load("default").unwrap().with(Overrides::default()), 1);
        let progress = Progress::new(9, Duration::from_secs(17));
        assert_eq!(progress.position(Instant::now()), 0);
        progress.begin(&plan[0]);
        let start = progress.under_way.borrow()[&plan[0].id].start;
        let after = |seconds| progress.position(start + Duration::from_secs(seconds));
        assert_eq!([after(0), after(5), after(10), after(600)], [0, 250, 500, 990]);
        let message = progress.message(start);
        assert!(message.starts_with("0/9 loss-0%-r1: "), "{message}");
        progress.end(&CellRow::new(&plan[0], 0.1), &[]);
        assert_eq!(progress.position(start), 1_000);
    }
}
