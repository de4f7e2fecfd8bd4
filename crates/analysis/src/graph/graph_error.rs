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
