//! One row of `cells.csv`: what was asked of a cell's link, what was measured, and how far its numbers may be trusted.

use serde::{Deserialize, Serialize};
use testbed_analysis::CellInfo;

use crate::plan::Cell;

/// How far a cell's numbers may be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Measured, and the condition was seen to hold before and after.
    Proved,
    /// Measured, but something speaks against the condition.
    NotProved,
    /// A node failed while it was measured.
    Failed,
    /// Ctrl-C came while it was measured.
    Interrupted,
}

/// One row of `cells.csv`. Empty means not measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CellRow {
    /// The cell's id.
    pub(crate) cell: String,
    /// What is varied.
    pub(crate) condition: String,
    /// Its value with its unit.
    pub(crate) value: String,
    /// The value as a number: percent, milliseconds or kbit/s.
    pub(crate) magnitude: f64,
    /// Which repetition, from 1.
    pub(crate) repetition: u32,
    /// Whether the link was left alone.
    pub(crate) baseline: bool,
    /// Seed of workload and packet drops.
    pub(crate) seed: u64,
    /// How far the numbers may be trusted.
    pub(crate) verdict: Verdict,
    /// What speaks against them; empty for a proved cell.
    pub(crate) problems: String,
    /// What does not speak against them but should be known.
    pub(crate) notes: String,
    /// What the link was asked to be.
    pub(crate) asked: String,
    /// What the emulator said it was.
    pub(crate) read_back: String,
    /// Median round trip of the bare link, milliseconds.
    pub(crate) floor_rtt_ms: f64,
    /// Median round trip of the probe before, milliseconds.
    pub(crate) before_rtt_ms: Option<f64>,
    /// Median round trip of the probe after, milliseconds.
    pub(crate) after_rtt_ms: Option<f64>,
    /// Probe packets sent, before and after together.
    pub(crate) probe_sent: u32,
    /// Probe packets lost, before and after together.
    pub(crate) probe_lost: u32,
    /// Rate that the probe saw, kbit/s; the mean of before and after.
    pub(crate) achieved_rate_kbit: Option<f64>,
    /// Packets that left the link, as the emulator counts them.
    pub(crate) link_sent: Option<u64>,
    /// Packets that the emulator dropped.
    pub(crate) link_dropped: Option<u64>,
    /// Of these, packets that it dropped because the queue was full.
    pub(crate) link_dropped_queue_full: Option<u64>,
    /// The latest that a packet left the link after its time, milliseconds.
    pub(crate) link_max_lateness_ms: Option<f64>,
    /// Operations that the clients tried: rows of `samples.csv`.
    pub(crate) operations: u64,
    /// Operations that ended other than `ok`.
    pub(crate) errors: u64,
    /// Operations under way when the clients had to stop; neither rows nor errors.
    pub(crate) cut_off: u64,
    /// When the measured time began, UTC.
    pub(crate) started: String,
    /// Time from letting the clients go to the last one's end, seconds; operations under way at the end of the measured
    /// time are waited for.
    pub(crate) duration_s: f64,
    /// Share of the host's CPU time that was in use, percent of all cores.
    pub(crate) host_cpu_percent: Option<f64>,
    /// CPU time of the server's node, percent of one core.
    pub(crate) server_cpu_percent: Option<f64>,
}

impl CellRow {
    /// A row for a cell of which nothing is known yet.
    pub(crate) fn new(cell: &Cell, floor_rtt_ms: f64) -> Self {
        Self {
            cell: cell.id.clone(),
            condition: cell.varied.as_str().to_owned(),
            value: cell.value.clone(),
            magnitude: cell.magnitude,
            repetition: cell.repetition,
            baseline: cell.condition.is_baseline(),
            seed: cell.seed,
            verdict: Verdict::Failed,
            problems: String::new(),
            notes: String::new(),
            asked: cell.condition.to_string(),
            read_back: String::new(),
            floor_rtt_ms,
            before_rtt_ms: None,
            after_rtt_ms: None,
            probe_sent: 0,
            probe_lost: 0,
            achieved_rate_kbit: None,
            link_sent: None,
            link_dropped: None,
            link_dropped_queue_full: None,
            link_max_lateness_ms: None,
            operations: 0,
            errors: 0,
            cut_off: 0,
            started: String::new(),
            duration_s: 0.0,
            host_cpu_percent: None,
            server_cpu_percent: None,
        }
    }

    /// What the analysis needs to know.
    pub(crate) fn info(&self) -> CellInfo {
        CellInfo {
            cell: self.cell.clone(),
            condition: self.condition.clone(),
            value: self.value.clone(),
            repetition: self.repetition,
            baseline: self.baseline,
            magnitude: self.magnitude,
            proved: self.verdict == Verdict::Proved,
            overloaded: false,
            rate_kbit: None,
        }
    }
}
