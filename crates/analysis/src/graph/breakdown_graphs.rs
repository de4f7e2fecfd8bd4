//! The graphs of the latency breakdown: per condition with a panel per operation, per run with panels per condition.

use model::SweptParameter;

use crate::condition_label;
use crate::graph::condition_graphs::{categories, operations};
use crate::graph::font::Fonts;
use crate::graph::page;
use crate::graph::page::page;
use crate::graph::plot_area::TypeSizes;
use crate::graph::run_title::RunTitle;
use crate::graph::scene::{Rect, Scene};
use crate::graph::stacked_bars;
use crate::graph::stacked_bars::StackedBars;
use crate::mean_breakdown::{Breakdown, MeanBreakdown};
use crate::measures::ALL_OPERATIONS;
use crate::pooled_statistics::PooledStatistics;
use crate::run_statistics::{RunStatistics, Sweep};

const WIDTH: u32 = 1200;
const PANEL_HEIGHT: u32 = 250;
/// Height of title, legend and footer.
const SURROUNDINGS: u32 = 190;
const COLUMNS: usize = 3;
const GAP: (f64, f64) = (36.0, 12.0);

const SIZES: TypeSizes = TypeSizes { tick: 15.0, axis: 16.0, legend: 17.0, note: 13.0 };

/// The operations that a graph shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subset {
    All,
    Slowest,
}

impl Subset {
    fn of(self, breakdown: &Breakdown) -> Option<MeanBreakdown> {
        match self {
            Subset::All => breakdown.all,
            Subset::Slowest => breakdown.slowest,
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Subset::All => "latency breakdown",
            Subset::Slowest => "latency breakdown, slowest 5 %",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Subset::All => "all operations",
            Subset::Slowest => "slowest 5 %",
        }
    }

    /// Returns the texts for a graph without bars and for a single missing bar.
    fn absence(self) -> (&'static str, &'static str) {
        match self {
            Subset::All => ("no successful operations", "none"),
            Subset::Slowest => ("fewer than 200 operations", "n < 200"),
        }
    }
}

/// Lays out the two graphs of a condition: all operations, and the slowest.
pub(crate) fn scenes(fonts: Fonts, run: &RunStatistics, sweep: &Sweep, title: &RunTitle) -> Vec<(String, Scene)> {
    let shown = run.with_baseline(sweep);
    let graph = |(name, subset): (&str, Subset)| {
        let names = std::iter::once(ALL_OPERATIONS.to_owned()).chain(operations(run));
        let charts: Vec<StackedBars> =
            names.map(|operation| chart(sweep.parameter, &shown, &operation, subset)).collect();
        let heading = format!("{}: {}", condition_label::title(sweep.parameter), subset.heading());
        let footer = page::footer(title, &shown, run.unlisted_samples);
        (format!("{}-{name}", sweep.parameter), grid(fonts, &heading, &charts, footer))
    };
    [("breakdown", Subset::All), ("breakdown-slowest", Subset::Slowest)].map(graph).to_vec()
}

/// Lays out the graph of the run: all operations of each condition above, the slowest below.
pub(crate) fn overview(fonts: Fonts, run: &RunStatistics, sweeps: &[&Sweep], title: &RunTitle) -> Scene {
    let sweeps = &sweeps[..sweeps.len().min(COLUMNS)];
    let row = |subset: Subset| {
        sweeps.iter().map(move |sweep| {
            let name = format!("{}, {}", condition_label::title(sweep.parameter), subset.name());
            StackedBars { name, ..chart(sweep.parameter, &run.with_baseline(sweep), ALL_OPERATIONS, subset) }
        })
    };
    let charts: Vec<StackedBars> = row(Subset::All).chain(row(Subset::Slowest)).collect();
    let footer = page::footer(title, &crate::graph::overview::counted(run, sweeps), run.unlisted_samples);
    grid_of(fonts, "Latency breakdown, all operations", &charts, footer, sweeps.len())
}

fn chart(parameter: SweptParameter, values: &[&PooledStatistics], operation: &str, subset: Subset) -> StackedBars {
    let (empty, missing) = subset.absence();
    let of = |pooled: &&PooledStatistics| {
        pooled.operation(operation).and_then(|statistics| subset.of(&statistics.breakdown))
    };
    StackedBars {
        name: if operation == ALL_OPERATIONS { "all operations".to_owned() } else { operation.replace('_', " ") },
        categories: categories(values),
        x_name: condition_label::axis_name(parameter),
        means: values.iter().map(of).collect(),
        empty,
        missing,
    }
}

fn grid(fonts: Fonts, heading: &str, charts: &[StackedBars], footer: Vec<String>) -> Scene {
    grid_of(fonts, heading, charts, footer, charts.len().min(COLUMNS))
}

/// Lays out panels in rows of `columns`. Each panel has its own scale: latencies of operations differ by a factor of
/// 100.
fn grid_of(fonts: Fonts, heading: &str, charts: &[StackedBars], mut footer: Vec<String>, columns: usize) -> Scene {
    let rows = charts.len().div_ceil(columns);
    footer.push("mean of successful operations (ms); each panel has its own scale".to_owned());
    let size = (WIDTH, SURROUNDINGS + PANEL_HEIGHT * rows as u32);
    let (mut scene, area) = page(fonts, size, heading, &stacked_bars::entries(charts), &footer);
    for (index, chart) in charts.iter().enumerate() {
        chart.draw(&mut scene, fonts, panel(area, (index % columns, index / columns), (columns, rows)), SIZES);
    }
    scene
}

/// Returns the area of the panel at a column and row.
fn panel(area: Rect, at: (usize, usize), of: (usize, usize)) -> Rect {
    let width = (area.width() - GAP.0 * (of.0 as f64 - 1.0)) / of.0 as f64;
    let height = (area.height() - GAP.1 * (of.1 as f64 - 1.0)) / of.1 as f64;
    let (left, top) = (area.left + at.0 as f64 * (width + GAP.0), area.top + at.1 as f64 * (height + GAP.1));
    Rect { left, top, right: left + width, bottom: top + height }
}
