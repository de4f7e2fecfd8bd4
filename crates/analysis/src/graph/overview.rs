//! The graph on top of a README: every condition side by side, medians above and distributions below.

use crate::graph::RunTitle;
use crate::graph::axis::Axis;
use crate::graph::condition_graphs;
use crate::graph::ecdf_curves::EcdfChart;
use crate::graph::font::Fonts;
use crate::graph::legend;
use crate::graph::legend::Entry;
use crate::graph::line_chart::LineChart;
use crate::graph::page;
use crate::graph::page::MARGIN;
use crate::graph::plot_area::TypeSizes;
use crate::graph::scene::{Label, Rect, Scene};
use crate::pooled_samples::{PooledSamples, RunSamples, SweepSamples};

const WIDTH: u32 = 1500;
const HEIGHT: u32 = 900;
/// How many conditions stand side by side; further ones have graphs of their own.
const COLUMNS: usize = 3;
const COLUMN_GAP: f64 = 40.0;

const SIZES: TypeSizes = TypeSizes { tick: 19.0, axis: 19.0, legend: 19.0, note: 15.0 };

/// Lays out the overview of `conditions`.
pub(crate) fn scene(
    fonts: Fonts,
    values: &RunSamples,
    conditions: &[SweepSamples],
    title: &RunTitle,
    seed: u64,
) -> Scene {
    let conditions = &conditions[..conditions.len().min(COLUMNS)];
    let mut scene = Scene::new(WIDTH, HEIGHT);
    let room = Rect { left: MARGIN, top: 0.0, right: f64::from(WIDTH) - MARGIN, bottom: f64::from(HEIGHT) - 14.0 };
    scene.label(Label::new("Operation latency under impaired network conditions", (room.left, 46.0), 28.0).bold());
    let footer = page::footer(title, &counted(values, conditions), values.unlisted_samples);
    let footer_top = page::draw_footer(&mut scene, fonts, &footer, room, SIZES.note);
    let room = Rect { top: 64.0, bottom: footer_top - 10.0, ..room };
    let middle = room.center().1 + 14.0;
    draw_medians(&mut scene, fonts, values, conditions, Rect { bottom: middle - 12.0, ..room }, seed);
    draw_distributions(&mut scene, fonts, values, conditions, Rect { top: middle + 12.0, ..room });
    scene
}

/// The upper row: one legend, and one scale for all columns so that they can be compared.
fn draw_medians(
    scene: &mut Scene,
    fonts: Fonts,
    values: &RunSamples,
    conditions: &[SweepSamples],
    room: Rect,
    seed: u64,
) {
    let chart = |of: &SweepSamples| condition_graphs::by_operation(values, of, seed);
    let charts: Vec<LineChart> = conditions.iter().map(chart).collect();
    let mut entries: Vec<Entry> = Vec::new();
    for entry in charts.iter().flat_map(LineChart::entries) {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    legend::draw(scene, fonts, &entries, (room.left, room.top), room.width(), SIZES.legend);
    let top = room.top + legend::height(fonts, &entries, room.width(), SIZES.legend) + 8.0;
    let y = Axis::covering(charts.iter().flat_map(LineChart::values));
    for (chart, column) in charts.iter().zip(columns(Rect { top, ..room }, charts.len())) {
        chart.draw(scene, fonts, column, SIZES, y.clone());
    }
}

/// The lower row: each column has curves, and so a legend, of its own.
fn draw_distributions(scene: &mut Scene, fonts: Fonts, values: &RunSamples, conditions: &[SweepSamples], room: Rect) {
    let charts: Vec<EcdfChart> =
        conditions.iter().map(|of| condition_graphs::ecdf(&values.with_baseline(of))).collect();
    let columns = columns(room, charts.len());
    let legend =
        |chart: &EcdfChart, column: &Rect| legend::height(fonts, &chart.entries(), column.width(), SIZES.legend);
    let highest = charts.iter().zip(&columns).map(|(chart, column)| legend(chart, column)).fold(0.0, f64::max);
    for (chart, column) in charts.iter().zip(columns) {
        // Legends end, not start, at the same height: each stands right above its plot.
        let top = room.top + highest - legend(chart, &column);
        legend::draw(scene, fonts, &chart.entries(), (column.left, top), column.width(), SIZES.legend);
        chart.draw(scene, fonts, Rect { top: room.top + highest + 4.0, ..column }, SIZES);
    }
}

fn columns(room: Rect, count: usize) -> Vec<Rect> {
    let width = (room.width() - COLUMN_GAP * (count as f64 - 1.0)) / count as f64;
    let column = |index: usize| {
        let left = room.left + index as f64 * (width + COLUMN_GAP);
        Rect { left, right: left + width, ..room }
    };
    (0..count).map(column).collect()
}

/// The pools that count every sample once, though the baseline may stand in several columns.
pub(crate) fn counted<'a>(values: &'a RunSamples, conditions: &'a [SweepSamples]) -> Vec<&'a PooledSamples> {
    let varied = conditions.iter().flat_map(|condition| &condition.values).filter(|pool| !pool.baseline);
    varied.chain(&values.baseline).collect()
}
