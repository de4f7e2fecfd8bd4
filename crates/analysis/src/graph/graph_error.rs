//! Errors of drawing.

/// Reason for which graphs could not be drawn.
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
    /// plotters or resvg failed.
    #[error("cannot draw {graph}: {reason}")]
    Drawing {
        /// Name of the graph.
        graph: String,
        /// Its error message.
        reason: String,
    },
}
