//! The graphs of a run: what to draw, and the drawn thing as PNG and SVG. Nothing here writes files.
//!
//! A graph is laid out once, as a scene of lines, areas and labels in pixels; one routine paints a scene on
//! whatever plotters can paint on. So PNG and SVG cannot differ, and a layout can be tested without looking at pixels.

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
use crate::pooled_samples::{RunSamples, SweepSamples};
use crate::sample::Sample;
use font::Fonts;
use scene::Scene;

/// Why no graphs could be drawn.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// No listed cell has a sample.
    #[error("nothing to draw: none of the {cells} cells has a sample ({samples} samples read)")]
    NoSamples {
        /// How many cells were listed.
        cells: usize,
        /// How many samples there were, all of cells that are not listed.
        samples: usize,
    },
    /// The embedded font could not be used.
    #[error("font '{0}' embedded in the program cannot be read")]
    Font(&'static str),
    /// A backend refused to draw.
    #[error("drawing {graph}: {reason}")]
    Backend {
        /// The graph's name.
        graph: String,
        /// What the backend said.
        reason: String,
    },
    /// The pixels could not be encoded.
    #[error("encoding {graph} as PNG")]
    Png {
        /// The graph's name.
        graph: String,
        /// What the encoder said.
        source: png::EncodingError,
    },
}

/// What every graph says of the run it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTitle {
    /// The run's id.
    pub run_id: String,
    /// How it was made, in a few words (`8 clients, netns, shaper`).
    pub line: String,
}

/// A graph, ready to be written to `<name>.png` and `<name>.svg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// What it shows, as a file name without extension (`loss-latency`).
    pub name: String,
    /// The encoded PNG.
    pub png: Vec<u8>,
    /// The SVG document.
    pub svg: String,
}

/// Draws every graph of a run: five of what was measured and two of where the time went for each varied condition that
/// has samples, and an overview of either kind.
///
/// A run that varies nothing gets the same graphs of its baseline. Graphs of a single plot are 960×600 pixels, the
/// overview 1500×900, those of where the time went 1200 and as high as their panels. The same `seed` gives the same
/// intervals.
///
/// # Errors
/// [`GraphError::NoSamples`] when no listed cell has a sample; the other kinds when drawing itself fails.
pub fn draw_all(samples: &[Sample], cells: &[CellInfo], title: &RunTitle, seed: u64) -> Result<Vec<Graph>, GraphError> {
    let fonts = Fonts::load()?;
    let scenes = lay_out(fonts, samples, cells, title, seed)?;
    scenes.into_iter().map(|(name, scene)| render::graph(fonts, name, &scene)).collect()
}

/// All graph's name and layout.
fn lay_out(
    fonts: Fonts,
    samples: &[Sample],
    cells: &[CellInfo],
    title: &RunTitle,
    seed: u64,
) -> Result<Vec<(String, Scene)>, GraphError> {
    let values = RunSamples::new(samples, cells);
    let conditions = drawn(&values);
    if conditions.is_empty() {
        return Err(GraphError::NoSamples { cells: cells.len(), samples: samples.len() });
    }
    let of_condition = |condition: &SweepSamples| {
        let measured = condition_graphs::scenes(fonts, &values, condition, title, seed);
        [measured, breakdown_graphs::scenes(fonts, &values, condition, title)].concat()
    };
    let mut scenes: Vec<(String, Scene)> = conditions.iter().flat_map(of_condition).collect();
    scenes.push(("overview".to_owned(), overview::scene(fonts, &values, &conditions, title, seed)));
    scenes.push(("overview-breakdown".to_owned(), breakdown_graphs::overview(fonts, &values, &conditions, title)));
    Ok(scenes)
}

/// The varied conditions with at least one sample; the baseline alone where nothing else is there.
fn drawn(values: &RunSamples) -> Vec<SweepSamples> {
    let has_samples = |of: &&SweepSamples| of.values.iter().any(|pool| pool.all.pooled.counts.total() > 0);
    let varied: Vec<SweepSamples> = values.conditions.iter().filter(has_samples).cloned().collect();
    if !varied.is_empty() {
        return varied;
    }
    let baseline = values.baseline.iter().filter(|pool| pool.all.pooled.counts.total() > 0);
    baseline.map(|pool| SweepSamples { condition: pool.condition.clone(), values: vec![pool.clone()] }).collect()
}
