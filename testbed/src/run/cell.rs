//! Measures one cell: starts clients on the unshaped link, applies and verifies the condition, runs the workload,
//! fetches the samples, and verifies the condition again.

mod link;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use model::{Cell, Labels, Outcome, Phase, Sample};

use crate::backend::Node;
use crate::run::cell_context::CellContext;
use crate::run::clients::{ClientGroup, Collected};
use crate::run::environment::Environment;
use crate::run::live_counts::LiveCounts;
use crate::run::progress::Progress;
use crate::run::server_trace;
use crate::store::cell_row::{CellRow, Verdict};
use crate::store::run_id::utc_now;
use crate::store::server_metrics::ServerMetrics;
use crate::verify::overload::{CpuUse, CpuWatch};
use crate::verify::probe_plan::ProbePlan;
use crate::verify::{cross_checks, operation_checks, stall};

/// Start lateness (p99) of an open loop above which a note is added, microseconds.
const START_LATENESS_THRESHOLD_US: u64 = 1_000;

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
    environment: &mut Environment,
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

struct Measurement<'m> {
    environment: &'m mut Environment,
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

impl Measurement<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        self.environment.emulator.clear_before_setup().await.context("removing the previous condition")?;
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

    async fn apply(&mut self) -> anyhow::Result<()> {
        let condition = &self.cell.condition;
        let applied = self.environment.emulator.apply(condition, self.cell.seed).await;
        applied.with_context(|| format!("applying the condition {condition}"))?;
        tracing::debug!("cell {}: condition set: {condition}", self.cell.id);
        Ok(())
    }

    async fn verify_and_work(&mut self, group: &mut ClientGroup) -> anyhow::Result<()> {
        self.apply().await?;
        if let Some(server) = &self.environment.server {
            self.interface_packets_before = Some(server.interface_packets().await?);
        }
        self.row.probe_before_rtt_ms = self.verify("before").await?.rtt_median_ms;
        self.check_probe_path().await?;
        self.run_workload(group).await
    }

    /// Sends the start signal and follows the clients until all have ended, the server exits, or the run is stopped.
    async fn run_workload(&mut self, group: &mut ClientGroup) -> anyhow::Result<()> {
        let metrics_before = self.server_metrics().await;
        let environment = &*self.environment;
        let cpu_before = environment.server_cpu_time().await;
        self.row.started = utc_now();
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
        let mut cpu = if environment.is_local { watch.usage() } else { CpuUse::default() };
        if let (Some(before), Some(after)) = (cpu_before, environment.server_cpu_time().await) {
            cpu.server_percent = Some(after.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64() * 100.0);
        }
        self.record_workload(&counts, elapsed, cpu);
        if let (Some(before), Some(after)) = (metrics_before, self.server_metrics().await) {
            self.run.directory.write_metrics(&self.cell.id, &after.since(&before))?;
        }
        match server_exit {
            None => Ok(()),
            Some(error) => {
                self.broken.push(Node::Server);
                Err(error)
            }
        }
    }

    /// Returns the shop's metrics; `None` without a server, or with a note if they cannot be read.
    async fn server_metrics(&mut self) -> Option<ServerMetrics> {
        match self.environment.server.as_ref()?.metrics().await {
            Ok(metrics) => Some(metrics),
            Err(error) => {
                self.notes.push(format!("no server metrics: {error:#}"));
                None
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
        if let Some(server) = &self.environment.server {
            match server_trace::join(server, &mut samples).await {
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
        if let Some(server) = &mut self.environment.server {
            server.acknowledged_orders += i64::try_from(samples.iter().filter(is_acknowledged).count())?;
        }
        let (measured, warm_up): (Vec<&Sample>, Vec<&Sample>) =
            samples.iter().partition(|sample| sample.phase == Phase::Measured);
        self.row.operations = measured.len() as u64;
        self.row.warm_up_operations = warm_up.len() as u64;
        self.row.errors = measured.iter().filter(|sample| sample.outcome != Outcome::Ok).count() as u64;
        self.row.server_stall = stall::of(&samples);
        self.samples = samples;
        Ok(problems)
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
