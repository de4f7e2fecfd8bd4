//! The pictures of where the time went: for a condition a panel for each operation, and for the run one for each condition.

use super::RunTitle;
use super::font::Fonts;
use super::frame::TypeSizes;
use super::page::{self, page};
use super::parts_bars::{self, PartsChart};
use super::scene::{Rect, Scene};
use super::subject::{categories, operations};
use crate::condition;
use crate::mean_parts::{Breakdown, MeanParts};
use crate::pool::{ConditionPools, Pool, Pools};
use crate::summary::ALL_OPERATIONS;

const WIDTH: u32 = 1200;
const PANEL_HEIGHT: u32 = 250;
/// Title, legend and footer.
const AROUND: u32 = 190;
const COLUMNS: usize = 3;
const GAP: (f64, f64) = (36.0, 12.0);

const SIZES: TypeSizes = TypeSizes { tick: 15.0, axis: 16.0, legend: 17.0, note: 13.0 };

/// Which operations a picture is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    Every,
    Slowest,
}

impl Share {
    fn of(self, breakdown: &Breakdown) -> Option<MeanParts> {
        match self {
            Share::Every => breakdown.every,
            Share::Slowest => breakdown.slowest,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Share::Every => "where the time went",
            Share::Slowest => "where the time of the slowest 5 % went",
        }
    }

    /// Why there is no bar at all, and why one is missing beside others.
    fn absence(self) -> (&'static str, &'static str) {
        match self {
            Share::Every => ("no operation succeeded", "none"),
            Share::Slowest => ("fewer than 200 operations", "n < 200"),
        }
    }
}

/// The two pictures of a condition: every operation, and the slowest.
pub(crate) fn scenes(fonts: Fonts, pools: &Pools, of: &ConditionPools, title: &RunTitle) -> Vec<(String, Scene)> {
    let shown = pools.with_baseline(of);
    let picture = |(name, share): (&str, Share)| {
        let names = std::iter::once(ALL_OPERATIONS.to_owned()).chain(operations(pools));
        let charts: Vec<PartsChart> = names.map(|operation| chart(&of.condition, &shown, &operation, share)).collect();
        let heading = format!("{}: {}", condition::title(&of.condition), share.words());
        let footer = page::footer(title, &shown, pools.unlisted_samples);
        (format!("{}-{name}", of.condition), grid(fonts, &heading, &charts, footer))
    };
    [("breakdown", Share::Every), ("breakdown-slowest", Share::Slowest)].map(picture).to_vec()
}

/// The picture of the run: all operations of every condition, above; the slowest of them, below.
pub(crate) fn overview(fonts: Fonts, pools: &Pools, conditions: &[ConditionPools], title: &RunTitle) -> Scene {
    let conditions = &conditions[..conditions.len().min(COLUMNS)];
    let row = |share: Share| {
        conditions.iter().map(move |of| {
            let name = format!("{}, {}", condition::title(&of.condition), share_name(share));
            PartsChart { name, ..chart(&of.condition, &pools.with_baseline(of), ALL_OPERATIONS, share) }
        })
    };
    let charts: Vec<PartsChart> = row(Share::Every).chain(row(Share::Slowest)).collect();
    let footer = page::footer(title, &super::overview::counted(pools, conditions), pools.unlisted_samples);
    grid_of(fonts, "Where the time of all operations went", &charts, footer, conditions.len())
}

fn share_name(share: Share) -> &'static str {
    match share {
        Share::Every => "all operations",
        Share::Slowest => "slowest 5 %",
    }
}

fn chart(name: &str, pools: &[&Pool], operation: &str, share: Share) -> PartsChart {
    let (empty, missing) = share.absence();
    let of = |pool: &&Pool| pool.group(operation).and_then(|group| share.of(&group.breakdown));
    PartsChart {
        name: if operation == ALL_OPERATIONS { "all operations".to_owned() } else { operation.replace('_', " ") },
        categories: categories(name, pools),
        x_name: condition::axis_name(name),
        means: pools.iter().map(of).collect(),
        empty,
        missing,
    }
}

fn grid(fonts: Fonts, heading: &str, charts: &[PartsChart], footer: Vec<String>) -> Scene {
    grid_of(fonts, heading, charts, footer, charts.len().min(COLUMNS))
}

/// Panels in rows of `columns`, each on a scale of its own: operations differ by a hundred times.
fn grid_of(fonts: Fonts, heading: &str, charts: &[PartsChart], mut footer: Vec<String>, columns: usize) -> Scene {
    let rows = charts.len().div_ceil(columns);
    footer.push("mean milliseconds of successful operations; each panel has its own scale".to_owned());
    let size = (WIDTH, AROUND + PANEL_HEIGHT * rows as u32);
    let (mut scene, room) = page(fonts, size, heading, &parts_bars::entries(), &footer);
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
