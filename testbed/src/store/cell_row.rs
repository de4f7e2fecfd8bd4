//! One row of `cells.csv`: the requested condition of a cell, the measured values, and its verdict.

use analysis::CellInfo;
pub(crate) use analysis::Verdict;
use serde::{Deserialize, Serialize};

use crate::scenario::Scenario;
use model::Cell;

/// One row of `cells.csv`. An empty field was not measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CellRow {
    /// Id of the cell.
    pub(crate) cell: String,
    /// Swept parameter.
    pub(crate) condition: String,
    /// Value of the swept parameter, with its unit.
    pub(crate) value: String,
    /// The value as a number: percent, milliseconds or kbit/s.
    pub(crate) magnitude: f64,
    /// Repetition, from 1.
    pub(crate) repetition: u32,
    /// Whether the condition is the baseline.
    pub(crate) baseline: bool,
    /// Seed of packet drops.
    pub(crate) seed: u64,
    /// Verdict of the verification.
    pub(crate) verdict: Verdict,
    /// Reasons for a verdict other than verified.
    pub(crate) problems: String,
    /// Notes, which do not change the verdict.
    pub(crate) notes: String,
    /// Requested condition.
    pub(crate) requested: String,
    /// Readback of the emulator.
    pub(crate) read_back: String,
    /// Baseline RTT: median probe RTT of the unshaped link, milliseconds.
    pub(crate) baseline_rtt_ms: f64,
    /// Median RTT of the probe before the workload, milliseconds.
    pub(crate) probe_before_rtt_ms: Option<f64>,
    /// Median RTT of the probe after the workload, milliseconds.
    pub(crate) probe_after_rtt_ms: Option<f64>,
    /// Median RTT of the probe minus the baseline RTT, mean of before and after, milliseconds.
    pub(crate) achieved_delay_ms: Option<f64>,
    /// Half-width of the uniform distribution that matches the probe's RTTs, mean of before and after, milliseconds;
    /// only if a jitter is requested.
    pub(crate) achieved_jitter_ms: Option<f64>,
    /// Probe packets sent, sum of before and after.
    pub(crate) probe_sent: u32,
    /// Probe packets lost, sum of before and after.
    pub(crate) probe_lost: u32,
    /// Rate measured by the probe, mean of before and after, kbit/s.
    pub(crate) achieved_rate_kbit: Option<f64>,
    /// Share of packets that the emulator dropped for the requested loss, by its counters over the whole cell, percent;
    /// empty if it does not count them.
    pub(crate) achieved_loss_percent: Option<f64>,
    /// Packets that the server's interface sent in that time, by its kernel's counters.
    pub(crate) device_sent: Option<u64>,
    /// Packets that left the link, by the emulator's counters.
    pub(crate) link_sent: Option<u64>,
    /// Packets that the emulator dropped.
    pub(crate) link_dropped: Option<u64>,
    /// Packets dropped at a full queue, included in the previous.
    pub(crate) link_dropped_queue_full: Option<u64>,
    /// Maximum lateness of a packet that left the link, milliseconds.
    pub(crate) link_max_lateness_ms: Option<f64>,
    /// Operations in the measurement window.
    pub(crate) operations: u64,
    /// Operations of the warm-up: rows of `samples.csv` that are part of no statistic.
    pub(crate) warm_up_operations: u64,
    /// Operations in the measurement window with an outcome other than `ok`.
    pub(crate) errors: u64,
    /// Operations in flight or queued at the end: neither rows nor errors.
    pub(crate) unfinished: u64,
    /// Start lateness p99 of an open loop, milliseconds: intended to actual start while a virtual user was free.
    pub(crate) start_lateness_p99_ms: Option<f64>,
    /// Operations of an open loop that were queued because no virtual user was free.
    pub(crate) queued_operations: Option<u64>,
    /// Time of the start signal, UTC.
    pub(crate) started: String,
    /// Time from the start signal to the last client's end, seconds. Clients wait for operations in flight at the end
    /// of the measurement window.
    pub(crate) duration_s: f64,
    /// CPU load of the host, percent of all cores.
    pub(crate) host_cpu_percent: Option<f64>,
    /// Maximum CPU load of the host in half a second, percent of all cores.
    pub(crate) host_cpu_peak_percent: Option<f64>,
    /// CPU load of the server's node, percent of one core.
    pub(crate) server_cpu_percent: Option<f64>,
    /// Maximum CPU load of a client, percent of one core for each of its threads.
    pub(crate) client_cpu_percent: Option<f64>,
    /// Reasons why the host counts as overloaded: values may reflect CPU load instead of the link. Empty if it does not.
    pub(crate) overload_reasons: String,
    /// Operations whose slow tail is caused by the server, and the cause; empty if there are none.
    pub(crate) server_stall: String,
}

impl CellRow {
    /// Creates the row of a cell without measured values.
    pub(crate) fn new(cell: &Cell, baseline_rtt_ms: f64) -> Self {
        Self {
            cell: cell.id.clone(),
            condition: cell.swept_parameter.name().to_owned(),
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

    /// Returns the cell for the analysis. `cell` is the cell as planned, `scenario` the run's scenario.
    pub(crate) fn info(&self, cell: Cell, scenario: &Scenario) -> CellInfo {
        CellInfo {
            cell,
            verdict: self.verdict,
            // Clients work longer, for operations in flight at the end of the window; an interrupted cell ends within
            // it.
            measured_s: (self.duration_s - scenario.warm_up.as_duration().as_secs_f64())
                .clamp(0.0, scenario.duration.as_duration().as_secs_f64()),
            overloaded: !self.overload_reasons.is_empty(),
            stalled: !self.server_stall.is_empty(),
        }
    }
}
