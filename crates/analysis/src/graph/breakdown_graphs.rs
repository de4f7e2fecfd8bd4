//! The graphs of where the time went: for a condition a panel for each operation, and for the run one for each
//! condition.

use crate::condition_label;
use crate::graph::RunTitle;
use crate::graph::condition_graphs::{categories, operations};
use crate::graph::font::Fonts;
use crate::graph::page;
use crate::graph::page::page;
use crate::graph::plot_area::TypeSizes;
use crate::graph::scene::{Rect, Scene};
use crate::graph::stacked_bars;
use crate::graph::stacked_bars::StackedBars;
use crate::mean_breakdown::{Breakdown, MeanBreakdown};
use crate::pooled_samples::{PooledSamples, RunSamples, SweepSamples};
use crate::summary::ALL_OPERATIONS;

const WIDTH: u32 = 1200;
const PANEL_HEIGHT: u32 = 250;
/// Title, legend and footer.
const AROUND: u32 = 190;
const COLUMNS: usize = 3;
const GAP: (f64, f64) = (36.0, 12.0);

const SIZES: TypeSizes = TypeSizes { tick: 15.0, axis: 16.0, legend: 17.0, note: 13.0 };

/// Which operations a graph is about.
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

    fn words(self) -> &'static str {
        match self {
            Subset::All => "latency breakdown",
            Subset::Slowest => "latency breakdown, slowest 5 %",
        }
    }

    /// Why there is no bar at all, and why one of several is missing.
    fn absence(self) -> (&'static str, &'static str) {
        match self {
            Subset::All => ("no operation succeeded", "none"),
            Subset::Slowest => ("fewer than 200 operations", "n < 200"),
        }
    }
}

/// The two graphs of a condition: every operation, and the slowest.
pub(crate) fn scenes(fonts: Fonts, values: &RunSamples, of: &SweepSamples, title: &RunTitle) -> Vec<(String, Scene)> {
    let shown = values.with_baseline(of);
    let graph = |(name, subset): (&str, Subset)| {
        let names = std::iter::once(ALL_OPERATIONS.to_owned()).chain(operations(values));
        let charts: Vec<StackedBars> =
            names.map(|operation| chart(&of.condition, &shown, &operation, subset)).collect();
        let heading = format!("{}: {}", condition_label::title(&of.condition), subset.words());
        let footer = page::footer(title, &shown, values.unlisted_samples);
        (format!("{}-{name}", of.condition), grid(fonts, &heading, &charts, footer))
    };
    [("breakdown", Subset::All), ("breakdown-slowest", Subset::Slowest)].map(graph).to_vec()
}

/// The graph of the run: all operations of every condition, above; the slowest of them, below.
pub(crate) fn overview(fonts: Fonts, values: &RunSamples, conditions: &[SweepSamples], title: &RunTitle) -> Scene {
    let conditions = &conditions[..conditions.len().min(COLUMNS)];
    let row = |subset: Subset| {
        conditions.iter().map(move |of| {
            let name = format!("{}, {}", condition_label::title(&of.condition), subset_name(subset));
            StackedBars { name, ..chart(&of.condition, &values.with_baseline(of), ALL_OPERATIONS, subset) }
        })
    };
    let charts: Vec<StackedBars> = row(Subset::All).chain(row(Subset::Slowest)).collect();
    let footer = page::footer(title, &crate::graph::overview::counted(values, conditions), values.unlisted_samples);
    grid_of(fonts, "Latency breakdown, all operations", &charts, footer, conditions.len())
}

fn subset_name(subset: Subset) -> &'static str {
    match subset {
        Subset::All => "all operations",
        Subset::Slowest => "slowest 5 %",
    }
}

fn chart(name: &str, values: &[&PooledSamples], operation: &str, subset: Subset) -> StackedBars {
    let (empty, missing) = subset.absence();
    let of = |pool: &&PooledSamples| pool.group(operation).and_then(|group| subset.of(&group.breakdown));
    StackedBars {
        name: if operation == ALL_OPERATIONS { "all operations".to_owned() } else { operation.replace('_', " ") },
        categories: categories(name, values),
        x_name: condition_label::axis_name(name),
        means: values.iter().map(of).collect(),
        empty,
        missing,
    }
}

fn grid(fonts: Fonts, heading: &str, charts: &[StackedBars], footer: Vec<String>) -> Scene {
    grid_of(fonts, heading, charts, footer, charts.len().min(COLUMNS))
}

/// Panels in rows of `columns`, each on a scale of its own: operations differ by a hundred times.
fn grid_of(fonts: Fonts, heading: &str, charts: &[StackedBars], mut footer: Vec<String>, columns: usize) -> Scene {
    let rows = charts.len().div_ceil(columns);
    footer.push("mean milliseconds of successful operations; each panel has its own scale".to_owned());
    let size = (WIDTH, AROUND + PANEL_HEIGHT * rows as u32);
    let (mut scene, room) = page(fonts, size, heading, &stacked_bars::entries(), &footer);
    for (index, chart) in charts.iter().enumerate() {
        chart.draw(&mut scene, fonts, panel(room, (index % columns, index / columns), (columns, rows)), SIZES);
    }
    scene
}

/// The room of the panel at a column and row.
fn panel(room: Rect, at: (usize, usize), of: (usize, usize)) -> Rect {
    let width = (room.width() - GAP.0 * (of.0 as f64 - 1.0)) / of.0 as f64;
    let height = (room.height() - GAP.1 * (of.1 as f64 - 1.0)) / of.1 as f64;
    let (left, top) = (room.left + at.0 as f64 * (width + GAP.0), room.top + at.1 as f64 * (height + GAP.1));
    Rect { left, top, right: left + width, bottom: top + height }
}
