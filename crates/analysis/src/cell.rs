//! What the analysis has to know of a cell beyond its samples: where it stands in the sweep, and whether it was
//! verified.

use serde::{Deserialize, Serialize};

use crate::doubt::Doubt;

/// How far a cell's numbers may be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Measured, and the condition was seen to hold before and after.
    Verified,
    /// Measured, but something speaks against the condition.
    Unverified,
    /// A node failed while it was measured.
    Failed,
    /// The run was stopped while it was measured.
    Interrupted,
}

/// One cell of the run, as the plan and the verification know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellInfo {
    /// The cell's id, as its samples carry it (`loss-1%-r1`).
    pub cell: String,
    /// What is varied: `loss`, `delay`, `rate` …; empty for a cell that varies nothing.
    pub condition: String,
    /// What it is set to, with its unit (`1%`, `50ms`, `100kbit`).
    pub value: String,
    /// Which repetition of the cell, from 1.
    pub repetition: u32,
    /// Whether the link was left alone (no condition, or loss 0 %, delay 0): the cell belongs to the baseline.
    pub baseline: bool,
    /// The value as a number for the x axis: percent for loss, milliseconds for delay, kbit/s for rate.
    pub magnitude: f64,
    /// How far its numbers may be trusted.
    pub verdict: Verdict,
    /// How long operations were measured, seconds, without the warm-up.
    pub measured_s: f64,
    /// Whether the host was so busy that the cell may have measured it instead of the link.
    pub overloaded: bool,
    /// Whether its slow operations were slow in the server.
    pub stalled: bool,
    /// The link's rate where one was set, kbit/s.
    pub rate_kbit: Option<f64>,
}

impl CellInfo {
    /// Whether nothing casts doubt on it.
    #[must_use]
    pub fn is_reliable(&self) -> bool {
        !Doubt::ALL.iter().any(|doubt| doubt.applies(self))
    }
}
