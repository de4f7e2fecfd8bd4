//! The description of a run on its graphs.

/// Description of the run, printed on every graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTitle {
    /// The run's id.
    pub run_id: String,
    /// Summary of the setup (`8 clients, netns, shaper`).
    pub line: String,
}
