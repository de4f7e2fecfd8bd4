//! The surroundings of the plots of a graph: title and legend above, footer below.

use crate::graph::font::{Fonts, Weight};
use crate::graph::legend;
use crate::graph::legend::Entry;
use crate::graph::palette::FAINT_INK;
use crate::graph::plot_area::TypeSizes;
use crate::graph::run_title::RunTitle;
use crate::graph::scene::{Label, Rect, Scene};
use crate::pooled_statistics::PooledStatistics;

/// Width and height of a graph with a single plot, pixels.
pub(crate) const SINGLE_PLOT: (u32, u32) = (960, 600);
pub(crate) const MARGIN: f64 = 24.0;

pub(crate) const SIZES: TypeSizes = TypeSizes { tick: 18.0, axis: 18.0, legend: 18.0, note: 14.0 };

/// Creates a scene of `size` pixels with title, legend and footer; returns it with the remaining area for the plots.
pub(crate) fn page(fonts: Fonts, size: (u32, u32), title: &str, entries: &[Entry], footer: &[String]) -> (Scene, Rect) {
    let mut scene = Scene::new(size.0, size.1);
    let (right, bottom) = (f64::from(size.0) - MARGIN, f64::from(size.1) - 14.0);
    scene.label(Label::new(title, (MARGIN, 40.0), 24.0).bold());
    let width = right - MARGIN;
    let legend_top = 58.0;
    legend::draw(&mut scene, fonts, entries, (MARGIN, legend_top), width, SIZES.legend);
    let legend = legend::height(fonts, entries, width, SIZES.legend);
    let footer_top = draw_footer(&mut scene, fonts, footer, Rect { left: MARGIN, top: 0.0, right, bottom }, SIZES.note);
    (scene, Rect { left: MARGIN, top: legend_top + legend + 10.0, right, bottom: footer_top - 10.0 })
}

/// Returns the entries of a footer: the run and its numbers of operations.
pub(crate) fn footer(title: &RunTitle, values: &[&PooledStatistics], unlisted: u64) -> Vec<String> {
    let total: u64 = values.iter().map(|pooled| pooled.all.counts.total()).sum();
    let errors: u64 = values.iter().map(|pooled| pooled.all.counts.errors()).sum();
    let mut entries = vec![format!("run {}", title.run_id), title.line.clone()];
    entries.push(match errors {
        0 => format!("n = {total} operations, no errors"),
        _ => format!("n = {total} operations, {errors} failed"),
    });
    if unlisted > 0 {
        entries.push(format!("{unlisted} samples of unlisted cells ignored"));
    }
    entries.retain(|entry| !entry.is_empty());
    entries
}

/// Writes `entries` at the bottom of `area` in as many lines as needed; returns the top of the first line.
pub(crate) fn draw_footer(scene: &mut Scene, fonts: Fonts, entries: &[String], area: Rect, size: f64) -> f64 {
    let mut lines: Vec<String> = Vec::new();
    for entry in entries {
        let longer = lines.last().map(|line| format!("{line}  ·  {entry}"));
        match (longer, lines.last_mut()) {
            (Some(longer), Some(line)) if fonts.width(&longer, size, Weight::Regular) <= area.width() => *line = longer,
            _ => lines.push(entry.clone()),
        }
    }
    let line_height = size * 1.35;
    let top = area.bottom - line_height * lines.len() as f64;
    for (index, line) in lines.iter().enumerate() {
        let baseline = top + line_height * (index as f64 + 1.0) - size * 0.2;
        scene.label(Label::new(line, (area.left, baseline), size).colored(FAINT_INK));
    }
    top
}
