//! Measures one cell: starts clients on the unshaped link, applies and verifies the condition, runs the workload,
//! fetches the samples, and verifies the condition again.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use model::Condition;
use model::{Labels, Outcome, Phase, Sample};
use tokio_util::sync::CancellationToken;

use crate::backend::Node;
use crate::run::admission::Permit;
use crate::run::clients::{ClientGroup, Collected};
use crate::run::environment::Environment;
use crate::run::live_counts::LiveCounts;
use crate::run::probe_runner::{BaselineLink, PROBE_NODE, probe};
use crate::run::progress::Progress;
use crate::run::server_trace;
use crate::scenario::Scenario;
use crate::store::cell_row::{CellRow, Verdict};
use crate::store::run_directory::RunDirectory;
use crate::store::run_id::UtcTime;
use crate::verify::overload::{CpuUse, CpuWatch};
use crate::verify::probe_plan::{ProbePlan, ProbeResult, mismatches};
use crate::verify::{cross_checks, operation_checks, stall};
use model::Cell;

/// Draining ends when the link's queue has not become shorter for this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Start lateness (p99) of an open loop above which a note is added, microseconds.
const START_LATENESS_THRESHOLD_US: u64 = 1_000;

/// The run of a cell.
pub(crate) struct CellContext<'a> {
    /// The run's id.
    pub(crate) run_id: &'a str,
    /// The scenario.
    pub(crate) scenario: &'a Scenario,
    /// Results directory.
    pub(crate) directory: &'a RunDirectory,
    /// The unshaped link of the environment.
    pub(crate) baseline: BaselineLink,
    /// Permit of the cell.
    pub(crate) permit: &'a Permit<'a>,
    /// Cancelled by Ctrl-C or by a failure in any environment.
    pub(crate) stop: &'a CancellationToken,
}

/// Result of a cell.
pub(crate) struct CellResult {
    /// Row of `cells.csv`.
    pub(crate) row: CellRow,
    /// Nodes to recreate before the next cell.
    pub(crate) broken: Vec<Node>,
    /// All samples.
    pub(crate) samples: Vec<Sample>,
}

/// Measures one cell. An error makes the row's verdict `failed`.
pub(crate) async fn measure(
    environment: &mut Environment<'_>,
    run: &CellContext<'_>,
    cell: &Cell,
    progress: &Progress,
) -> CellResult {
    let row = CellRow::new(cell, run.baseline.rtt_ms);
    let plan = ProbePlan::for_condition(&cell.condition);
    let plan = if run.baseline.checks_unrequested_rate { plan.with_rate_check() } else { plan };
    let mut measurement = Measurement {
        environment,
        run,
        cell,
        progress,
        plan,
        row,
        problems: Vec::new(),
        notes: Vec::new(),
        broken: Vec::new(),
        samples: Vec::new(),
        interface_packets_before: None,
    };
    let outcome = measurement.run().await;
    measurement.conclude(outcome)
}

struct Measurement<'m, 'e> {
    environment: &'m mut Environment<'e>,
    run: &'m CellContext<'m>,
    cell: &'m Cell,
    progress: &'m Progress,
    plan: ProbePlan,
    row: CellRow,
    problems: Vec<String>,
    notes: Vec<String>,
    broken: Vec<Node>,
    samples: Vec<Sample>,
    /// Packets that the server's interface had sent when the condition was set.
    interface_packets_before: Option<u64>,
}

impl Measurement<'_, '_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        self.environment
            .emulator
            .clear_before_setup(self.environment.backend)
            .await
            .context("removing the previous condition")?;
        let mut group = ClientGroup::start(self.environment, self.cell, self.run).await?;
        let worked = if group.is_healthy() { self.verify_and_work(&mut group).await } else { Ok(()) };
        if worked.is_err() || !group.is_healthy() {
            group.stop().await;
        }
        self.broken.extend(group.broken());
        // Samples first: they are kept even if a later step fails.
        let incomplete = self.collect(&group).await?;
        worked?;
        let failures = [group.failures(), incomplete].concat();
        if !failures.is_empty() {
            bail!(failures.join("; "));
        }
        if self.run.stop.is_cancelled() {
            return Ok(());
        }
        self.drain().await?;
        self.row.probe_after_rtt_ms = self.verify("after").await?.rtt_median_ms;
        self.check_counters().await?;
        self.environment.check_shop().await
    }

    async fn apply(&mut self, condition: &Condition) -> anyhow::Result<()> {
        let applied = self.environment.emulator.apply(self.environment.backend, condition, self.cell.seed).await;
        applied.with_context(|| format!("applying the condition {condition}"))?;
        tracing::debug!("cell {}: condition set: {condition}", self.cell.id);
        Ok(())
    }

    async fn verify_and_work(&mut self, group: &mut ClientGroup) -> anyhow::Result<()> {
        self.apply(&self.cell.condition).await?;
        if self.environment.backend.has_server() {
            self.interface_packets_before = Some(self.environment.interface_packets().await?);
        }
        self.row.probe_before_rtt_ms = self.verify("before").await?.rtt_median_ms;
        self.check_probe_path().await?;
        self.run_workload(group).await
    }

    /// Reads the condition back and probes it. Mismatches become problems.
    async fn verify(&mut self, when: &str) -> anyhow::Result<ProbeResult> {
        let (requested, backend) = (&self.cell.condition, &*self.environment.backend);
        let read =
            self.environment.emulator.read_back(backend, requested).await.context("reading the condition back")?;
        if !read.agrees {
            self.problems.push(format!("{when}: requested {requested}, readback {}", read.text));
        }
        self.row.read_back = read.text;
        tracing::debug!("cell {}: {when}: readback: {}", self.cell.id, self.row.read_back);
        let probed = probe(backend, &self.plan, requested).await;
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
    async fn check_probe_path(&mut self) -> anyhow::Result<()> {
        let counters = self
            .environment
            .emulator
            .counters(self.environment.backend)
            .await
            .context("reading the link's counters")?;
        let Some(counted) = counters.map(|counters| counters.sent + counters.dropped + counters.queued) else {
            return Ok(());
        };
        let sent = u64::from(self.row.probe_sent);
        if counted < sent {
            self.problems.push(format!("before: path: probe sent {sent} packets, emulator counted {counted}"));
        }
        Ok(())
    }

    /// Sends the start signal and follows the clients until all have ended, the server exits, or the run is stopped.
    async fn run_workload(&mut self, group: &mut ClientGroup) -> anyhow::Result<()> {
        let environment = &*self.environment;
        let server_cpu = environment.backend.cpu_time(Node::Server).await;
        self.row.started = UtcTime::now().to_string();
        let start = Instant::now();
        group.go().await.context("starting the workload")?;
        self.run.permit.working();
        let counts = group.counts();
        let mut watch = CpuWatch::default();
        let server_exit = tokio::select! {
            () = group.follow(self.run.stop) => None,
            never = self.progress.watch(self.cell, &counts) => match never {},
            never = watch.watch() => match never {},
            error = environment.shop_ended() => Some(error),
        };
        let elapsed = start.elapsed();
        tracing::debug!("cell {}: clients worked for {:.3} s", self.cell.id, elapsed.as_secs_f64());
        self.row.duration_s = elapsed.as_secs_f64();
        let mut cpu = if environment.is_local { watch.seen() } else { CpuUse::default() };
        // The CPU time of a server that has exited is unknown: the error below is reported instead.
        if let (Ok(before), Ok(after)) = (server_cpu, environment.backend.cpu_time(Node::Server).await) {
            cpu.server_percent = Some(after.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64() * 100.0);
        }
        self.record_workload(&counts, elapsed, cpu);
        match server_exit {
            None => Ok(()),
            Some(error) => {
                self.broken.push(Node::Server);
                Err(error)
            }
        }
    }

    /// Puts the clients' final counts and the CPU load into the row.
    fn record_workload(&mut self, counts: &LiveCounts, elapsed: Duration, mut cpu: CpuUse) {
        let total = counts.total();
        self.row.unfinished = total.unfinished;
        cpu.client_percent = total.cpu.map(|cpu| cpu.percent_of_threads(elapsed));
        self.row.host_cpu_percent = cpu.host_percent;
        self.row.host_cpu_peak_percent = cpu.host_peak_percent;
        self.row.server_cpu_percent = cpu.server_percent;
        self.row.client_cpu_percent = cpu.client_percent;
        self.row.overload_reasons = cpu.overload_reasons().join("; ");
        if let Some(arrivals) = total.arrivals {
            self.row.start_lateness_p99_ms = Some(arrivals.p99_us as f64 / 1e3);
            self.row.queued_operations = Some(arrivals.queued);
            if arrivals.queued > 0 {
                let all = arrivals.on_schedule + arrivals.queued;
                self.notes
                    .push(format!("{} of {all} operations were queued: no virtual user was free", arrivals.queued));
            }
            if arrivals.p99_us > START_LATENESS_THRESHOLD_US {
                self.notes.push(format!("start lateness p99 {:.2} ms", arrivals.p99_us as f64 / 1e3));
            }
        }
    }

    /// Fetches the samples, joins the server trace, checks them against the condition, and saves them. Returns what is
    /// missing in them.
    async fn collect(&mut self, group: &ClientGroup) -> anyhow::Result<Vec<String>> {
        let Collected { mut samples, problems } = group.collect(self.environment).await;
        if self.environment.backend.has_server() {
            match server_trace::join(self.environment, &mut samples).await {
                Ok(0) => {}
                Ok(missing) => self.notes.push(format!("no server trace for {missing} exchanges")),
                Err(error) => self.notes.push(format!("no server trace: {error:#}")),
            }
        }
        self.run.directory.append_samples(&Labels::new(self.run.run_id, self.cell), &samples)?;
        self.problems.extend(cross_checks::of_round_trips(&self.cell.condition, &samples));
        self.problems.extend(operation_checks::without_loss(
            &self.cell.condition,
            &self.run.scenario.workload,
            &samples,
        ));
        let is_acknowledged = |sample: &&Sample| sample.operation == "place_order" && sample.outcome == Outcome::Ok;
        self.environment.acknowledged_orders += i64::try_from(samples.iter().filter(is_acknowledged).count())?;
        let (measured, warm_up): (Vec<&Sample>, Vec<&Sample>) =
            samples.iter().partition(|sample| sample.phase == Phase::Measured);
        self.row.operations = measured.len() as u64;
        self.row.warm_up_operations = warm_up.len() as u64;
        self.row.errors = measured.iter().filter(|sample| sample.outcome != Outcome::Ok).count() as u64;
        self.row.server_stall = stall::of(&samples);
        self.samples = samples;
        Ok(problems)
    }

    /// Waits until the packets of the workload have left the link: otherwise the probe would queue behind them.
    async fn drain(&mut self) -> anyhow::Result<()> {
        let mut min_queued = u64::MAX;
        let mut last_progress = Instant::now();
        loop {
            let counters = self
                .environment
                .emulator
                .counters(self.environment.backend)
                .await
                .context("reading the link's counters")?;
            let queued = counters.map_or(0, |counters| counters.queued);
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
    async fn check_counters(&mut self) -> anyhow::Result<()> {
        let counters = self
            .environment
            .emulator
            .counters(self.environment.backend)
            .await
            .context("reading the link's counters")?;
        let Some(counters) = counters else { return Ok(()) };
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
        if let Some(before) = self.interface_packets_before {
            let sent = self.environment.interface_packets().await?.saturating_sub(before);
            self.row.device_sent = Some(sent);
            self.problems.extend(cross_checks::of_device(requested, &counters, sent));
        }
        Ok(())
    }

    fn conclude(mut self, outcome: anyhow::Result<()>) -> CellResult {
        self.row.verdict = match &outcome {
            _ if self.run.stop.is_cancelled() => Verdict::Interrupted,
            Ok(()) if self.problems.is_empty() => Verdict::Verified,
            Ok(()) => Verdict::Unverified,
            Err(_) => Verdict::Failed,
        };
        self.problems.extend(outcome.err().map(|error| format!("{error:#}")));
        self.row.problems = self.problems.join("; ");
        self.row.notes = self.notes.join("; ");
        self.broken.sort_unstable();
        self.broken.dedup();
        CellResult { row: self.row, broken: self.broken, samples: self.samples }
    }
}

/// Returns the mean of the values measured before and after, or the only one.
fn mean_of(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    match (before, after) {
        (Some(before), Some(after)) => Some(f64::midpoint(before, after)),
        (before, after) => before.or(after),
    }
}
