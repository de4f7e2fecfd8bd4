//! The overview graph: one column per condition, medians above and distributions below.

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
use crate::graph::run_title::RunTitle;
use crate::graph::scene::{Label, Rect, Scene};
use crate::pooled_statistics::PooledStatistics;
use crate::run_statistics::{RunStatistics, Sweep};

const WIDTH: u32 = 1500;
const HEIGHT: u32 = 900;
/// Maximum number of conditions; further ones only have their own graphs.
const COLUMNS: usize = 3;
const COLUMN_GAP: f64 = 40.0;

const SIZES: TypeSizes = TypeSizes { tick: 19.0, axis: 19.0, legend: 19.0, note: 15.0 };

/// Lays out the overview of `sweeps`.
pub(crate) fn scene(fonts: Fonts, run: &RunStatistics, sweeps: &[&Sweep], title: &RunTitle) -> Scene {
    let sweeps = &sweeps[..sweeps.len().min(COLUMNS)];
    let mut scene = Scene::new(WIDTH, HEIGHT);
    let area = Rect { left: MARGIN, top: 0.0, right: f64::from(WIDTH) - MARGIN, bottom: f64::from(HEIGHT) - 14.0 };
    scene.label(Label::new("Operation latency under impaired network conditions", (area.left, 46.0), 28.0).bold());
    let footer = page::footer(title, &counted(run, sweeps), run.unlisted_samples);
    let footer_top = page::draw_footer(&mut scene, fonts, &footer, area, SIZES.note);
    let area = Rect { top: 64.0, bottom: footer_top - 10.0, ..area };
    let middle = area.center().1 + 14.0;
    draw_medians(&mut scene, fonts, run, sweeps, Rect { bottom: middle - 12.0, ..area });
    draw_distributions(&mut scene, fonts, run, sweeps, Rect { top: middle + 12.0, ..area });
    scene
}

/// Draws the upper row, with one legend and one scale for comparable columns.
fn draw_medians(scene: &mut Scene, fonts: Fonts, run: &RunStatistics, sweeps: &[&Sweep], area: Rect) {
    let chart = |sweep: &&Sweep| condition_graphs::by_operation(run, sweep);
    let charts: Vec<LineChart> = sweeps.iter().map(chart).collect();
    let mut entries: Vec<Entry> = Vec::new();
    for entry in charts.iter().flat_map(LineChart::entries) {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    legend::draw(scene, fonts, &entries, (area.left, area.top), area.width(), SIZES.legend);
    let top = area.top + legend::height(fonts, &entries, area.width(), SIZES.legend) + 8.0;
    let y = Axis::covering(charts.iter().flat_map(LineChart::values));
    for (chart, column) in charts.iter().zip(columns(Rect { top, ..area }, charts.len())) {
        chart.draw(scene, fonts, column, SIZES, y.clone());
    }
}

/// Draws the lower row; each column has its own curves and legend.
fn draw_distributions(scene: &mut Scene, fonts: Fonts, run: &RunStatistics, sweeps: &[&Sweep], area: Rect) {
    let charts: Vec<EcdfChart> = sweeps.iter().map(|sweep| condition_graphs::ecdf(&run.with_baseline(sweep))).collect();
    let columns = columns(area, charts.len());
    let legend =
        |chart: &EcdfChart, column: &Rect| legend::height(fonts, &chart.entries(), column.width(), SIZES.legend);
    let highest = charts.iter().zip(&columns).map(|(chart, column)| legend(chart, column)).fold(0.0, f64::max);
    for (chart, column) in charts.iter().zip(columns) {
        // Legends are aligned at the bottom: each is directly above its plot.
        let top = area.top + highest - legend(chart, &column);
        legend::draw(scene, fonts, &chart.entries(), (column.left, top), column.width(), SIZES.legend);
        chart.draw(scene, fonts, Rect { top: area.top + highest + 4.0, ..column }, SIZES);
    }
}

fn columns(area: Rect, count: usize) -> Vec<Rect> {
    let width = (area.width() - COLUMN_GAP * (count as f64 - 1.0)) / count as f64;
    let column = |index: usize| {
        let left = area.left + index as f64 * (width + COLUMN_GAP);
        Rect { left, right: left + width, ..area }
    };
    (0..count).map(column).collect()
}

/// Returns the pooled statistics that contain every sample once: the baseline may be shown in several columns.
pub(crate) fn counted<'a>(run: &'a RunStatistics, sweeps: &'a [&'a Sweep]) -> Vec<&'a PooledStatistics> {
    let swept = sweeps.iter().flat_map(|sweep| &sweep.values).filter(|pooled| !pooled.is_baseline);
    swept.chain(&run.baseline).collect()
}
