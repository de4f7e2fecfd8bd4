//! The graphs of a run: layout, and encoding as PNG and SVG. Nothing here writes files.
//!
//! A graph is laid out once, as a scene of lines, areas and labels in pixels. plotters paints it as SVG, and resvg paints
//! the SVG as PNG: they cannot differ, and layouts can be tested without looking at pixels.

mod axis;
mod breakdown_graphs;
mod condition_graphs;
mod ecdf_curves;
mod error_bars;
mod font;
mod graph_error;
#[cfg(test)]
mod layout_tests;
mod legend;
mod line_chart;
mod marker;
mod overview;
mod page;
mod palette;
mod plot_area;
mod render;
mod run_title;
mod scene;
mod stacked_bars;

use crate::run_statistics::{RunStatistics, Sweep};
use font::Fonts;
pub use graph_error::GraphError;
pub use render::Graph;
pub use run_title::RunTitle;
use scene::Scene;

/// Draws all graphs of a run.
pub(crate) fn draw_all(run: &RunStatistics, title: &RunTitle) -> Result<Vec<Graph>, GraphError> {
    let fonts = Fonts::load()?;
    let scenes = lay_out(fonts, run, title)?;
    scenes.into_iter().map(|(name, scene)| render::graph(fonts, name, &scene)).collect()
}

/// Lays out all graphs; returns each with its name.
fn lay_out(fonts: Fonts, run: &RunStatistics, title: &RunTitle) -> Result<Vec<(String, Scene)>, GraphError> {
    let has_samples = |sweep: &&Sweep| sweep.values.iter().any(|pooled| pooled.all.counts.total() > 0);
    let sweeps: Vec<&Sweep> = run.sweeps.iter().filter(has_samples).collect();
    if sweeps.is_empty() {
        return Err(GraphError::NoSamples { cells: run.cells, samples: run.samples });
    }
    let of_sweep = |sweep: &&Sweep| {
        let measurements = condition_graphs::scenes(fonts, run, sweep, title);
        [measurements, breakdown_graphs::scenes(fonts, run, sweep, title)].concat()
    };
    let mut scenes: Vec<(String, Scene)> = sweeps.iter().flat_map(of_sweep).collect();
    scenes.push(("overview".to_owned(), overview::scene(fonts, run, &sweeps, title)));
    scenes.push(("overview-breakdown".to_owned(), breakdown_graphs::overview(fonts, run, &sweeps, title)));
    Ok(scenes)
}
