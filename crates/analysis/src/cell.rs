//! What the analysis needs to know about a cell in addition to its samples: its condition and its verdict.

use serde::{Deserialize, Serialize};

use crate::cell_issue::CellIssue;

/// How far a cell's numbers can be trusted.
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

/// One cell of the run (one condition × one repetition), as planned and verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellInfo {
    /// The cell's id, as in its samples (`loss-1%-r1`).
    pub cell: String,
    /// The swept parameter: `loss`, `delay`, `rate` …; empty for a cell that sweeps none.
    pub condition: String,
    /// The parameter's value with its unit (`1%`, `50ms`, `100kbit`).
    pub value: String,
    /// Number of the repetition, from 1.
    pub repetition: u32,
    /// Whether the link has no impairment (no condition, or loss 0 %, delay 0): the cell belongs to the baseline.
    pub baseline: bool,
    /// The value as a number for the x axis: percent for loss, milliseconds for delay, kbit/s for rate.
    pub magnitude: f64,
    /// How far the cell's numbers can be trusted.
    pub verdict: Verdict,
    /// Length of the measurement window, seconds.
    pub measured_s: f64,
    /// Whether the host was overloaded: values may reflect its CPU load, not the link.
    pub overloaded: bool,
    /// Whether slow operations were slow in the server.
    pub stalled: bool,
    /// Rate limit of the link, kbit/s, if it has one.
    pub rate_kbit: Option<f64>,
}

impl CellInfo {
    /// Returns whether the cell is verified, its host was not overloaded and its server did not stall.
    #[must_use]
    pub fn is_reliable(&self) -> bool {
        !CellIssue::ALL.iter().any(|issue| issue.applies_to(self))
    }
}
