//! Checks of the link before and after a cell's workload: readback, probe, counters, drained queue.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::emulator::LinkCounters;
use crate::run::cell::Measurement;
use crate::run::probe_runner::{PROBE_NODE, probe};
use crate::verify::cross_checks;
use crate::verify::probe_plan::{ProbeResult, mismatches};

/// Draining ends when the link's queue has not become shorter for this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(50);
impl Measurement<'_> {
    /// Reads the condition back and probes it. Mismatches become problems.
    pub(super) async fn verify(&mut self, when: &str) -> anyhow::Result<ProbeResult> {
        let requested = &self.cell.condition;
        let read = self.environment.emulator.read_back(requested).await.context("reading the condition back")?;
        if !read.agrees {
            self.problems.push(format!("{when}: requested {requested}, readback {}", read.text));
        }
        self.row.read_back = read.text;
        tracing::debug!("cell {}: {when}: readback: {}", self.cell.id, self.row.read_back);
        let probed = probe(self.environment.backend.as_ref(), &self.plan, requested).await;
        if probed.is_err() {
            self.broken.push(PROBE_NODE);
        }
        let measured = probed.with_context(|| format!("probing the link {when} the workload"))?;
        tracing::debug!("cell {}: {when}: {measured}", self.cell.id);
        self.row.probe_sent += measured.sent;
        self.row.probe_lost += measured.sent.saturating_sub(measured.received);
        let rate_kbit = measured.rate_bits_per_second.map(|rate| rate / 1_000.0);
        self.row.achieved_rate_kbit = mean_of(self.row.achieved_rate_kbit, rate_kbit);
        let added = measured.rtt_median_ms.map(|rtt| rtt - self.run.baseline.rtt_ms);
        self.row.achieved_delay_ms = mean_of(self.row.achieved_delay_ms, added);
        self.row.achieved_jitter_ms =
            mean_of(self.row.achieved_jitter_ms, measured.spread.map(|spread| spread.jitter_ms));
        let mismatches = mismatches(requested, self.run.baseline.rtt_ms, &measured);
        self.problems.extend(mismatches.into_iter().map(|mismatch| format!("{when}: {mismatch}")));
        Ok(measured)
    }

    /// Checks that the probe's packets passed the link: it must have counted as many.
    pub(super) async fn check_probe_path(&mut self) -> anyhow::Result<()> {
        let Some(counted) = self.counters().await?.map(|counters| counters.sent + counters.dropped + counters.queued)
        else {
            return Ok(());
        };
        let sent = u64::from(self.row.probe_sent);
        if counted < sent {
            self.problems.push(format!("before: path: probe sent {sent} packets, emulator counted {counted}"));
        }
        Ok(())
    }

    /// Waits until the packets of the workload have left the link: otherwise the probe would queue behind them.
    pub(super) async fn drain(&mut self) -> anyhow::Result<()> {
        let mut min_queued = u64::MAX;
        let mut last_progress = Instant::now();
        loop {
            let queued = self.counters().await?.map_or(0, |counters| counters.queued);
            if queued == 0 || self.run.stop.is_cancelled() {
                return Ok(());
            }
            if queued < min_queued {
                (min_queued, last_progress) = (queued, Instant::now());
            }
            if last_progress.elapsed() > DRAIN_TIMEOUT {
                self.problems.push(format!("after: link not drained: {queued} packets queued"));
                return Ok(());
            }
            tokio::time::sleep(DRAIN_POLL_INTERVAL).await;
        }
    }

    /// Checks the emulator's counters since the condition was set against the condition and the server's interface.
    pub(super) async fn check_counters(&mut self) -> anyhow::Result<()> {
        let Some(counters) = self.counters().await? else { return Ok(()) };
        let requested = &self.cell.condition;
        self.row.link_sent = Some(counters.sent);
        self.row.link_dropped = Some(counters.dropped);
        self.row.link_dropped_queue_full = counters.queue_full;
        self.row.link_max_lateness_ms = counters.max_lateness_ms;
        self.row.achieved_loss_percent =
            counters.lost.map(|lost| lost as f64 / counters.loss_candidates().max(1) as f64 * 100.0);
        let found = cross_checks::of_counters(requested, &counters);
        self.problems.extend(found.problems);
        self.notes.extend(found.notes);
        if let (Some(server), Some(before)) = (&self.environment.server, self.interface_packets_before) {
            let sent = server.interface_packets().await?.saturating_sub(before);
            self.row.device_sent = Some(sent);
            self.problems.extend(cross_checks::of_device(requested, &counters, sent));
        }
        Ok(())
    }

    async fn counters(&self) -> anyhow::Result<Option<LinkCounters>> {
        self.environment.emulator.counters().await.context("reading the link's counters")
    }
}

/// Returns the mean of the values measured before and after, or the only one.
fn mean_of(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    match (before, after) {
        (Some(before), Some(after)) => Some(f64::midpoint(before, after)),
        (before, after) => before.or(after),
    }
}
