//! Properties of a cell that the analysis needs in addition to its samples: condition and verdict.

use model::Cell;
use serde::{Deserialize, Serialize};

/// Reliability of a cell's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Measured, and the condition was confirmed before and after.
    Verified,
    /// Measured, but the condition was not confirmed.
    Unverified,
    /// A node failed during the measurement.
    Failed,
    /// The run was stopped during the measurement.
    Interrupted,
}

/// One cell of the run, as planned and verified.
#[derive(Debug, Clone, PartialEq)]
pub struct CellInfo {
    /// The cell as planned.
    pub cell: Cell,
    /// Reliability of the cell's numbers.
    pub verdict: Verdict,
    /// Length of the measurement window, seconds.
    pub measured_s: f64,
    /// Whether the host was overloaded: values may reflect its CPU load, not the link.
    pub overloaded: bool,
    /// Whether slow operations were slow in the server.
    pub stalled: bool,
}

impl CellInfo {
    /// Returns whether the link has no impairment: the cell belongs to the baseline.
    pub(crate) fn is_baseline(&self) -> bool {
        self.cell.condition.is_baseline()
    }

    /// Returns the rate limit of the link, kbit/s, if it has one.
    pub(crate) fn rate_kbit(&self) -> Option<f64> {
        self.cell.condition.rate.map(|rate| rate.bits_per_second() as f64 / 1e3)
    }
}
