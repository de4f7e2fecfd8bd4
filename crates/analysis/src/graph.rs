//! The graphs of a run: layout, and encoding as PNG and SVG. Nothing here writes files.
//!
//! A graph is laid out once, as a scene of lines, areas and labels in pixels. One function paints a scene with any
//! backend of plotters. PNG and SVG therefore cannot differ, and layouts can be tested without looking at pixels.

mod axis;
mod breakdown_graphs;
mod condition_graphs;
mod ecdf_curves;
mod error_bars;
mod font;
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
mod scene;
mod stacked_bars;
mod text_placement;

use crate::cell::CellInfo;
use crate::pooled_samples::{PooledSamples, RunSamples, SweepSamples};
use crate::sample::Sample;
use font::Fonts;
use scene::Scene;

/// Why graphs could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// No listed cell has a sample.
    #[error("no samples to draw: none of the {cells} cells has a sample ({samples} samples read)")]
    NoSamples {
        /// Number of listed cells.
        cells: usize,
        /// Number of samples, all of unlisted cells.
        samples: usize,
    },
    /// The embedded font could not be read.
    #[error("cannot read the embedded font '{0}'")]
    Font(&'static str),
    /// A backend of plotters failed.
    #[error("cannot draw {graph}: {reason}")]
    Backend {
        /// Name of the graph.
        graph: String,
        /// The backend's error message.
        reason: String,
    },
    /// The pixels could not be encoded.
    #[error("cannot encode {graph} as PNG")]
    Png {
        /// Name of the graph.
        graph: String,
        /// The encoder's error.
        source: png::EncodingError,
    },
}

/// Description of the run, printed on every graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTitle {
    /// The run's id.
    pub run_id: String,
    /// How it was measured, in a few words (`8 clients, netns, shaper`).
    pub line: String,
}

/// An encoded graph, to be written to `<name>.png` and `<name>.svg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// File name without extension (`loss-latency`).
    pub name: String,
    /// The encoded PNG.
    pub png: Vec<u8>,
    /// The SVG document.
    pub svg: String,
}

/// Draws all graphs of a run: for each condition with samples five graphs of the measurements and two latency
/// breakdowns, and for the run one overview of each kind.
///
/// A run without conditions gets the same graphs of its baseline. Graphs with a single plot are 960×600 pixels, the
/// overview is 1500×900, latency breakdowns are 1200 pixels wide and as high as their panels. The same `seed` gives the
/// same confidence intervals.
///
/// # Errors
/// [`GraphError::NoSamples`] if no listed cell has a sample; the other variants if drawing or encoding fails.
pub fn draw_all(samples: &[Sample], cells: &[CellInfo], title: &RunTitle, seed: u64) -> Result<Vec<Graph>, GraphError> {
    let fonts = Fonts::load()?;
    let scenes = lay_out(fonts, samples, cells, title, seed)?;
    scenes.into_iter().map(|(name, scene)| render::graph(fonts, name, &scene)).collect()
}

/// Lays out all graphs; returns each with its name.
fn lay_out(
    fonts: Fonts,
    samples: &[Sample],
    cells: &[CellInfo],
    title: &RunTitle,
    seed: u64,
) -> Result<Vec<(String, Scene)>, GraphError> {
    let run = RunSamples::new(samples, cells);
    let conditions = drawn_conditions(&run);
    if conditions.is_empty() {
        return Err(GraphError::NoSamples { cells: cells.len(), samples: samples.len() });
    }
    let of_condition = |condition: &SweepSamples| {
        let measurements = condition_graphs::scenes(fonts, &run, condition, title, seed);
        [measurements, breakdown_graphs::scenes(fonts, &run, condition, title)].concat()
    };
    let mut scenes: Vec<(String, Scene)> = conditions.iter().flat_map(of_condition).collect();
    scenes.push(("overview".to_owned(), overview::scene(fonts, &run, &conditions, title, seed)));
    scenes.push(("overview-breakdown".to_owned(), breakdown_graphs::overview(fonts, &run, &conditions, title)));
    Ok(scenes)
}

/// Returns the conditions with at least one sample; if there are none, the baseline.
fn drawn_conditions(run: &RunSamples) -> Vec<SweepSamples> {
    let has_samples = |pooled: &PooledSamples| pooled.all.pooled.counts.total() > 0;
    let swept = run.conditions.iter().filter(|sweep| sweep.values.iter().any(has_samples));
    let swept: Vec<SweepSamples> = swept.cloned().collect();
    if !swept.is_empty() {
        return swept;
    }
    let baseline = run.baseline.iter().filter(|pooled| has_samples(pooled));
    let sweep =
        |pooled: &PooledSamples| SweepSamples { condition: pooled.condition.clone(), values: vec![pooled.clone()] };
    baseline.map(sweep).collect()
}
