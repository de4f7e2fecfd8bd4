//! One cell: clients ready on the bare link, condition applied and proved, workload, samples fetched, proof again.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use model::Condition;
use model::sample::{Outcome as Ended, Phase, Sample};
use tokio_util::sync::CancellationToken;

use crate::backend::Node;
use crate::run::admission::Permit;
use crate::run::clients::{ClientGroup, Collected};
use crate::run::environment::Environment;
use crate::run::live_counts::LiveCounts;
use crate::run::probe_runner::{BaselineLink, PROBER, probe};
use crate::run::progress::Progress;
use crate::run::server_trace;
use crate::scenario::Scenario;
use crate::store::cell_row::{CellRow, Verdict};
use crate::store::run_directory::RunDirectory;
use crate::store::run_id::UtcTime;
use crate::verify::overload::{CpuUse, CpuWatch};
use crate::verify::probe_plan::{Measured, ProbePlan, mismatches};
use crate::verify::{cross_checks, operation_checks, stall};
use model::Cell;

/// How long the link's queue may stand still before its packets are given up.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the link is asked how many packets it holds.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Operations of an open loop that begin later than this (99th percentile) are worth a note, microseconds.
const PACING_P99_US: u64 = 1_000;

/// What a cell needs to know of its run.
pub(crate) struct CellContext<'a> {
    /// The run's id.
    pub(crate) run_id: &'a str,
    /// What is run.
    pub(crate) scenario: &'a Scenario,
    /// Where samples go.
    pub(crate) folder: &'a RunDirectory,
    /// What the bare link is like.
    pub(crate) measure_baseline: BaselineLink,
    /// To be told when its clients are at work.
    pub(crate) permit: &'a Permit<'a>,
    /// Ctrl-C, or the failure of another lab.
    pub(crate) stop: &'a CancellationToken,
}

/// A measured cell and what it left behind.
pub(crate) struct Outcome {
    /// Its row.
    pub(crate) row: CellRow,
    /// Nodes to renew before the next cell.
    pub(crate) broken: Vec<Node>,
    /// All its samples.
    pub(crate) samples: Vec<Sample>,
}

/// Measures one cell. Whatever goes wrong becomes the row's verdict.
pub(crate) async fn measure(
    environment: &mut Environment<'_>,
    run: &CellContext<'_>,
    cell: &Cell,
    progress: &Progress,
) -> Outcome {
    let row = CellRow::new(cell, run.measure_baseline.rtt_ms);
    let plan = ProbePlan::for_condition(&cell.condition);
    let plan = if run.measure_baseline.watches_the_rate { plan.watching_the_rate() } else { plan };
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
        device_before: None,
    };
    let ended = measurement.work().await;
    measurement.conclude(ended)
}

/// A cell being measured.
struct Measurement<'m, 'l> {
    environment: &'m mut Environment<'l>,
    run: &'m CellContext<'m>,
    cell: &'m Cell,
    progress: &'m Progress,
    plan: ProbePlan,
    row: CellRow,
    problems: Vec<String>,
    notes: Vec<String>,
    broken: Vec<Node>,
    samples: Vec<Sample>,
    /// Packets that the server's device had sent when the condition was set.
    device_before: Option<u64>,
}

impl Measurement<'_, '_> {
    async fn work(&mut self) -> anyhow::Result<()> {
        self.environment
            .emulator
            .clear_before_setup(self.environment.backend)
            .await
            .context("leaving the bare link")?;
        let mut group = ClientGroup::start(self.environment, self.cell, self.run).await?;
        let worked = if group.is_well() { self.prove_and_let_work(&mut group).await } else { Ok(()) };
        if worked.is_err() || !group.is_well() {
            group.stop().await;
        }
        self.broken.extend(group.broken());
        // Samples first: whatever fails from here on, they are kept.
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
        self.row.probe_after_rtt_ms = self.prove("after").await?.rtt_median_ms;
        self.note_counters().await?;
        self.environment.check_shop().await
    }

    async fn apply(&mut self, condition: &Condition) -> anyhow::Result<()> {
        let applied = self.environment.emulator.apply(self.environment.backend, condition, self.cell.seed).await;
        applied.with_context(|| format!("applying the condition {condition}"))?;
        tracing::debug!("cell {}: condition set: {condition}", self.cell.id);
        Ok(())
    }

    async fn prove_and_let_work(&mut self, group: &mut ClientGroup) -> anyhow::Result<()> {
        self.apply(&self.cell.condition).await?;
        if self.environment.backend.has_server() {
            self.device_before = Some(self.environment.device_packets().await?);
        }
        self.row.probe_before_rtt_ms = self.prove("before").await?.rtt_median_ms;
        self.check_probe_crossed().await?;
        self.let_work(group).await
    }

    /// Reads back what is in force and probes it; doubts become problems.
    async fn prove(&mut self, when: &str) -> anyhow::Result<Measured> {
        let (requested, backend) = (&self.cell.condition, &*self.environment.backend);
        let read =
            self.environment.emulator.read_back(backend, requested).await.context("reading the condition back")?;
        if !read.agrees {
            self.problems.push(format!("{when}: asked {requested}, read back {}", read.text));
        }
        self.row.read_back = read.text;
        tracing::debug!("cell {}: {when}: read back: {}", self.cell.id, self.row.read_back);
        let probed = probe(backend, &self.plan, requested).await;
        if probed.is_err() {
            self.broken.push(PROBER);
        }
        let measured = probed.with_context(|| format!("probing the link {when} the workload"))?;
        tracing::debug!("cell {}: {when}: {measured}", self.cell.id);
        self.row.probe_sent += measured.sent;
        self.row.probe_lost += measured.sent.saturating_sub(measured.received);
        let rate_kbit = measured.rate_bits_per_second.map(|rate| rate / 1_000.0);
        self.row.achieved_rate_kbit = mean_of(self.row.achieved_rate_kbit, rate_kbit);
        let added = measured.rtt_median_ms.map(|rtt| rtt - self.run.measure_baseline.rtt_ms);
        self.row.achieved_delay_ms = mean_of(self.row.achieved_delay_ms, added);
        self.row.achieved_jitter_ms =
            mean_of(self.row.achieved_jitter_ms, measured.spread.map(|spread| spread.jitter_ms));
        let mismatches = mismatches(requested, self.run.measure_baseline.rtt_ms, &measured);
        self.problems.extend(mismatches.into_iter().map(|doubt| format!("{when}: {doubt}")));
        Ok(measured)
    }

    /// Whether the probe's packets went through the link: it must have counted as many.
    async fn check_probe_crossed(&mut self) -> anyhow::Result<()> {
        let counters = self
            .environment
            .emulator
            .counters(self.environment.backend)
            .await
            .context("reading the link's counters")?;
        let Some(seen) = counters.map(|counters| counters.sent + counters.dropped + counters.queued) else {
            return Ok(());
        };
        let sent = u64::from(self.row.probe_sent);
        if seen < sent {
            self.problems.push(format!("before: of the probe's {sent} answers only {seen} went through the link"));
        }
        Ok(())
    }

    /// Lets the clients work until their time is over, one of them fails, the server ends, or Ctrl-C comes.
    async fn let_work(&mut self, group: &mut ClientGroup) -> anyhow::Result<()> {
        let environment = &*self.environment;
        let server_cpu = environment.backend.cpu_time(Node::Server).await;
        self.row.started = UtcTime::now().to_string();
        let start = Instant::now();
        group.go().await.context("starting the workload")?;
        self.run.permit.working();
        let counts = group.counts();
        let mut watch = CpuWatch::default();
        let server_ended = tokio::select! {
            () = group.follow(self.run.stop) => None,
            never = self.progress.watch(self.cell, &counts) => match never {},
            never = watch.watch() => match never {},
            error = environment.shop_ended() => Some(error),
        };
        let elapsed = start.elapsed();
        tracing::debug!("cell {}: clients worked for {:.3} s", self.cell.id, elapsed.as_secs_f64());
        self.row.duration_s = elapsed.as_secs_f64();
        let mut seen = if environment.is_here { watch.seen() } else { CpuUse::default() };
        // A server that has died has no CPU time to tell; the row says so otherwise.
        if let (Ok(before), Ok(after)) = (server_cpu, environment.backend.cpu_time(Node::Server).await) {
            seen.server_percent = Some(after.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64() * 100.0);
        }
        self.note_end(&counts, elapsed, seen);
        match server_ended {
            None => Ok(()),
            Some(error) => {
                self.broken.push(Node::Server);
                Err(error)
            }
        }
    }

    /// What the clients told in the end, and how busy the machine was.
    fn note_end(&mut self, counts: &LiveCounts, elapsed: Duration, mut seen: CpuUse) {
        let total = counts.total();
        self.row.unfinished = total.unfinished;
        seen.client_percent = total.cpu.map(|cpu| cpu.percent_of_threads(elapsed));
        self.row.host_cpu_percent = seen.host_percent;
        self.row.host_cpu_peak_percent = seen.host_peak_percent;
        self.row.server_cpu_percent = seen.server_percent;
        self.row.client_cpu_percent = seen.client_percent;
        self.row.overload_reasons = seen.overload_reasons().join("; ");
        if let Some(arrivals) = total.arrivals {
            self.row.start_lateness_p99_ms = Some(arrivals.p99_us as f64 / 1e3);
            self.row.queued_operations = Some(arrivals.queued);
            if arrivals.queued > 0 {
                let all = arrivals.on_schedule + arrivals.queued;
                self.notes.push(format!("{} of {all} operations had to wait for a free shopper", arrivals.queued));
            }
            if arrivals.p99_us > PACING_P99_US {
                self.notes.push(format!("1% of the operations began over {:.2} ms late", arrivals.p99_us as f64 / 1e3));
            }
        }
    }

    /// Fetches the samples, puts to them what the server knows, looks what they prove, and keeps them.
    async fn collect(&mut self, group: &ClientGroup) -> anyhow::Result<Vec<String>> {
        let Collected { mut samples, problems } = group.collect(self.environment, &self.cell.id).await;
        if self.environment.backend.has_server() {
            match server_trace::join(self.environment, &mut samples).await {
                Ok(0) => {}
                Ok(missing) => self.notes.push(format!("the server's side of {missing} exchanges is not known")),
                Err(error) => self.notes.push(format!("the server's side of the exchanges is not known: {error:#}")),
            }
        }
        self.run.folder.append_samples(&samples)?;
        self.problems.extend(cross_checks::of_round_trips(&self.cell.condition, &samples));
        self.problems.extend(operation_checks::without_loss(
            &self.cell.condition,
            &self.run.scenario.workload,
            &samples,
        ));
        let is_promise = |sample: &&Sample| sample.operation == "place_order" && sample.outcome == Ended::Ok;
        self.environment.acknowledged_orders += i64::try_from(samples.iter().filter(is_promise).count())?;
        let (measured, warm_up): (Vec<&Sample>, Vec<&Sample>) =
            samples.iter().partition(|sample| sample.phase == Phase::Measured);
        self.row.operations = measured.len() as u64;
        self.row.warm_up_operations = warm_up.len() as u64;
        self.row.errors = measured.iter().filter(|sample| sample.outcome != Ended::Ok).count() as u64;
        self.row.server_stall = stall::of(&samples);
        self.samples = samples;
        Ok(problems)
    }

    /// Waits until the link holds no packets of the workload any more, so that the probe does not queue behind them.
    async fn drain(&mut self) -> anyhow::Result<()> {
        let mut fewest = u64::MAX;
        let mut last_move = Instant::now();
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
            if queued < fewest {
                (fewest, last_move) = (queued, Instant::now());
            }
            if last_move.elapsed() > DRAIN_TIMEOUT {
                self.problems.push(format!("after: {queued} packets stay in the link"));
                return Ok(());
            }
            tokio::time::sleep(DRAIN_POLL_INTERVAL).await;
        }
    }

    /// What the emulator counted since the condition was set, beside what left the server's device.
    async fn note_counters(&mut self) -> anyhow::Result<()> {
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
        if let Some(before) = self.device_before {
            let device = self.environment.device_packets().await?.saturating_sub(before);
            self.row.device_sent = Some(device);
            self.problems.extend(cross_checks::of_device(requested, &counters, device));
        }
        Ok(())
    }

    fn conclude(mut self, ended: anyhow::Result<()>) -> Outcome {
        self.row.verdict = match &ended {
            _ if self.run.stop.is_cancelled() => Verdict::Interrupted,
            Ok(()) if self.problems.is_empty() => Verdict::Verified,
            Ok(()) => Verdict::Unverified,
            Err(_) => Verdict::Failed,
        };
        self.problems.extend(ended.err().map(|error| format!("{error:#}")));
        self.row.problems = self.problems.join("; ");
        self.row.notes = self.notes.join("; ");
        self.broken.sort_unstable();
        self.broken.dedup();
        Outcome { row: self.row, broken: self.broken, samples: self.samples }
    }
}

/// What was seen before and after, together.
fn mean_of(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    match (before, after) {
        (Some(before), Some(after)) => Some(f64::midpoint(before, after)),
        (before, after) => before.or(after),
    }
}
