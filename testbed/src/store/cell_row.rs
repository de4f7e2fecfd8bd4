//! One row of `cells.csv`: what was asked of a cell's link, what was measured, and how far its numbers may be trusted.

use analysis::CellInfo;
pub(crate) use analysis::Verdict;
use serde::{Deserialize, Serialize};

use crate::scenario::Scenario;
use model::Cell;

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
    pub(crate) requested: String,
    /// What the emulator said it was.
    pub(crate) read_back: String,
    /// Median round trip of the bare link, milliseconds.
    pub(crate) baseline_rtt_ms: f64,
    /// Median round trip of the probe before, milliseconds.
    pub(crate) probe_before_rtt_ms: Option<f64>,
    /// Median round trip of the probe after, milliseconds.
    pub(crate) probe_after_rtt_ms: Option<f64>,
    /// What the probe saw the link add to the bare link's median round trip, the mean of before and after,
    /// milliseconds.
    pub(crate) achieved_delay_ms: Option<f64>,
    /// Half the width of an even spread like the one of the probe's round trips, the mean of before and after,
    /// milliseconds; where a jitter was asked.
    pub(crate) achieved_jitter_ms: Option<f64>,
    /// Probe packets sent, before and after together.
    pub(crate) probe_sent: u32,
    /// Probe packets lost, before and after together.
    pub(crate) probe_lost: u32,
    /// Rate that the probe saw, kbit/s; the mean of before and after.
    pub(crate) achieved_rate_kbit: Option<f64>,
    /// Share of the packets that the emulator dropped as asked, by its own count over the whole cell, percent; empty
    /// when it does not tell.
    pub(crate) achieved_loss_percent: Option<f64>,
    /// Packets that the server's device sent in that time, as its kernel counts them.
    pub(crate) device_sent: Option<u64>,
    /// Packets that left the link, as the emulator counts them.
    pub(crate) link_sent: Option<u64>,
    /// Packets that the emulator dropped.
    pub(crate) link_dropped: Option<u64>,
    /// Of these, packets that it dropped because the queue was full.
    pub(crate) link_dropped_queue_full: Option<u64>,
    /// The latest that a packet left the link after its time, milliseconds.
    pub(crate) link_max_lateness_ms: Option<f64>,
    /// Operations that the clients tried in the measured time.
    pub(crate) operations: u64,
    /// Operations of the warm-up before it: rows of `samples.csv` that are part of no statistic.
    pub(crate) warm_up_operations: u64,
    /// Of the measured ones, those that ended other than `ok`.
    pub(crate) errors: u64,
    /// Operations under way when the clients had to stop; neither rows nor errors.
    pub(crate) unfinished: u64,
    /// 99th percentile of how late operations of an open loop began although a shopper was free, milliseconds.
    pub(crate) start_lateness_p99_ms: Option<f64>,
    /// Operations of an open loop that had to wait for a free shopper.
    pub(crate) queued_operations: Option<u64>,
    /// When the measured time began, UTC.
    pub(crate) started: String,
    /// Time from letting the clients go to the last one's end, seconds; operations under way at the end of the measured
    /// time are waited for.
    pub(crate) duration_s: f64,
    /// Share of the host's CPU time that was in use, percent of all cores.
    pub(crate) host_cpu_percent: Option<f64>,
    /// The busiest half second of the host, percent of all cores.
    pub(crate) host_cpu_peak_percent: Option<f64>,
    /// CPU time of the server's node, percent of one core.
    pub(crate) server_cpu_percent: Option<f64>,
    /// CPU time of the busiest client, percent of one core for each of its threads.
    pub(crate) client_cpu_percent: Option<f64>,
    /// Why the cell may have measured the machine instead of the link; empty when it was not too busy.
    pub(crate) overload_reasons: String,
    /// Which operations' slow tail the server itself made, and by what; empty when it made none.
    pub(crate) server_stall: String,
}

impl CellRow {
    /// A row for a cell of which nothing is known yet.
    pub(crate) fn new(cell: &Cell, baseline_rtt_ms: f64) -> Self {
        Self {
            cell: cell.id.clone(),
            condition: cell.swept_parameter.as_str().to_owned(),
            value: cell.value.clone(),
            magnitude: cell.magnitude,
            repetition: cell.repetition,
            baseline: cell.condition.is_baseline(),
            seed: cell.seed,
            verdict: Verdict::Failed,
            problems: String::new(),
            notes: String::new(),
            requested: cell.condition.to_string(),
            read_back: String::new(),
            baseline_rtt_ms,
            probe_before_rtt_ms: None,
            probe_after_rtt_ms: None,
            achieved_delay_ms: None,
            achieved_jitter_ms: None,
            probe_sent: 0,
            probe_lost: 0,
            achieved_rate_kbit: None,
            achieved_loss_percent: None,
            device_sent: None,
            link_sent: None,
            link_dropped: None,
            link_dropped_queue_full: None,
            link_max_lateness_ms: None,
            operations: 0,
            warm_up_operations: 0,
            errors: 0,
            unfinished: 0,
            start_lateness_p99_ms: None,
            queued_operations: None,
            started: String::new(),
            duration_s: 0.0,
            host_cpu_percent: None,
            host_cpu_peak_percent: None,
            server_cpu_percent: None,
            client_cpu_percent: None,
            overload_reasons: String::new(),
            server_stall: String::new(),
        }
    }

    /// What the analysis needs to know; `rate_kbit` is the rate that the plan asks for, and `scenario` what was run.
    pub(crate) fn info(&self, rate_kbit: Option<f64>, scenario: &Scenario) -> CellInfo {
        CellInfo {
            cell: self.cell.clone(),
            condition: self.condition.clone(),
            value: self.value.clone(),
            repetition: self.repetition,
            baseline: self.baseline,
            magnitude: self.magnitude,
            verdict: self.verdict,
            // Operations in flight at the end of the measured time are waited for; an interrupted cell ends before it.
            measured_s: (self.duration_s - scenario.warm_up.as_duration().as_secs_f64())
                .clamp(0.0, scenario.duration.as_duration().as_secs_f64()),
            overloaded: !self.overload_reasons.is_empty(),
            stalled: !self.server_stall.is_empty(),
            rate_kbit,
        }
    }
}
