//! One cell: clients ready on the bare link, condition applied and proved, workload, samples fetched, proof again.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use shaper::Condition;
use shop_client::sample::{Outcome as Ended, Phase, Sample};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::clients::{Collected, Crew};
use super::gate::Permit;
use super::lab::Lab;
use super::overload::{CpuUse, CpuWatch};
use super::prober::{Floor, PROBER, probe};
use super::progress::Progress;
use super::{errors, evidence, stall, trace};
use crate::cell_row::{CellRow, Verdict};
use crate::engine::Node;
use crate::plan::Cell;
use crate::probe::{Measured, ProbePlan, doubts};
use crate::results::RunFolder;
use crate::run_id::UtcTime;
use crate::scenario::Scenario;

/// How long the link's queue may stand still before its packets are given up.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// How often the link is asked how many packets it holds.
const DRAIN_STEP: Duration = Duration::from_millis(50);
/// Operations of an open loop that begin later than this (99th percentile) are worth a note, microseconds.
const PACING_P99_US: u64 = 1_000;

/// What a cell needs to know of its run.
pub(crate) struct CellContext<'a> {
    /// The run's id.
    pub(crate) run_id: &'a str,
    /// What is run.
    pub(crate) scenario: &'a Scenario,
    /// Where samples go.
    pub(crate) folder: &'a RunFolder,
    /// What the bare link is like.
    pub(crate) floor: Floor,
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
pub(crate) async fn measure(lab: &mut Lab<'_>, run: &CellContext<'_>, cell: &Cell, progress: &Progress) -> Outcome {
    let row = CellRow::new(cell, run.floor.rtt_ms);
    let plan = ProbePlan::for_condition(&cell.condition);
    let plan = if run.floor.watches_the_rate { plan.watching_the_rate() } else { plan };
    let mut measurement = Measurement {
        lab,
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
    lab: &'m mut Lab<'l>,
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
        self.lab.emulator.relax(self.lab.engine).await.context("leaving the bare link")?;
        let mut crew = Crew::start(self.lab, self.cell, self.run).await?;
        let worked = if crew.is_well() { self.prove_and_let_work(&mut crew).await } else { Ok(()) };
        if worked.is_err() || !crew.is_well() {
            crew.stop().await;
        }
        self.broken.extend(crew.broken());
        // Samples first: whatever fails from here on, they are kept.
        let incomplete = self.collect(&crew).await?;
        worked?;
        let failures = [crew.failures(), incomplete].concat();
        if !failures.is_empty() {
            bail!(failures.join("; "));
        }
        if self.run.stop.is_cancelled() {
            return Ok(());
        }
        self.drain().await?;
        self.row.after_rtt_ms = self.prove("after").await?.rtt_median_ms;
        self.note_counters().await?;
        self.lab.check_shop().await
    }

    async fn apply(&mut self, condition: &Condition) -> anyhow::Result<()> {
        let applied = self.lab.emulator.apply(self.lab.engine, condition, self.cell.seed).await;
        applied.with_context(|| format!("applying the condition {condition}"))?;
        tracing::debug!("cell {}: condition set: {condition}", self.cell.id);
        Ok(())
    }

    async fn prove_and_let_work(&mut self, crew: &mut Crew) -> anyhow::Result<()> {
        self.apply(&self.cell.condition).await?;
        if self.lab.engine.has_server() {
            self.device_before = Some(self.lab.device_packets().await?);
        }
        self.row.before_rtt_ms = self.prove("before").await?.rtt_median_ms;
        self.check_probe_crossed().await?;
        self.let_work(crew).await
    }

    /// Reads back what is in force and probes it; doubts become problems.
    async fn prove(&mut self, when: &str) -> anyhow::Result<Measured> {
        let (asked, engine) = (&self.cell.condition, &*self.lab.engine);
        let read = self.lab.emulator.read_back(engine, asked).await.context("reading the condition back")?;
        if !read.agrees {
            self.problems.push(format!("{when}: asked {asked}, read back {}", read.text));
        }
        self.row.read_back = read.text;
        tracing::debug!("cell {}: {when}: read back: {}", self.cell.id, self.row.read_back);
        let probed = probe(engine, &self.plan, asked).await;
        if probed.is_err() {
            self.broken.push(PROBER);
        }
        let measured = probed.with_context(|| format!("probing the link {when} the workload"))?;
        tracing::debug!("cell {}: {when}: {measured}", self.cell.id);
        self.row.probe_sent += measured.sent;
        self.row.probe_lost += measured.sent.saturating_sub(measured.received);
        let rate_kbit = measured.rate_bits_per_second.map(|rate| rate / 1_000.0);
        self.row.achieved_rate_kbit = mean_of(self.row.achieved_rate_kbit, rate_kbit);
        let added = measured.rtt_median_ms.map(|rtt| rtt - self.run.floor.rtt_ms);
        self.row.achieved_delay_ms = mean_of(self.row.achieved_delay_ms, added);
        self.row.achieved_jitter_ms =
            mean_of(self.row.achieved_jitter_ms, measured.spread.map(|spread| spread.jitter_ms));
        let doubts = doubts(asked, self.run.floor.rtt_ms, &measured);
        self.problems.extend(doubts.into_iter().map(|doubt| format!("{when}: {doubt}")));
        Ok(measured)
    }

    /// Whether the probe's packets went through the link: it must have counted as many.
    async fn check_probe_crossed(&mut self) -> anyhow::Result<()> {
        let counters = self.lab.emulator.counters(self.lab.engine).await.context("reading the link's counters")?;
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
    async fn let_work(&mut self, crew: &mut Crew) -> anyhow::Result<()> {
        let lab = &*self.lab;
        let server_cpu = lab.engine.cpu_time(Node::Server).await;
        self.row.started = UtcTime::now().to_string();
        let start = Instant::now();
        crew.go().await.context("starting the workload")?;
        self.run.permit.working();
        let board = crew.board();
        let mut watch = CpuWatch::default();
        let server_ended = tokio::select! {
            () = crew.follow(self.run.stop) => None,
            never = self.progress.watch(self.cell, &board) => match never {},
            never = watch.watch() => match never {},
            error = lab.shop_ended() => Some(error),
        };
        let elapsed = start.elapsed();
        tracing::debug!("cell {}: clients worked for {:.3} s", self.cell.id, elapsed.as_secs_f64());
        self.row.duration_s = elapsed.as_secs_f64();
        let mut seen = if lab.is_here { watch.seen() } else { CpuUse::default() };
        // A server that has died has no CPU time to tell; the row says so otherwise.
        if let (Ok(before), Ok(after)) = (server_cpu, lab.engine.cpu_time(Node::Server).await) {
            seen.server_percent = Some(after.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64() * 100.0);
        }
        self.note_end(&board, elapsed, seen);
        match server_ended {
            None => Ok(()),
            Some(error) => {
                self.broken.push(Node::Server);
                Err(error)
            }
        }
    }

    /// What the clients told in the end, and how busy the machine was.
    fn note_end(&mut self, board: &Board, elapsed: Duration, mut seen: CpuUse) {
        let total = board.total();
        self.row.cut_off = total.cut_off;
        seen.client_percent = total.cpu.map(|cpu| cpu.percent_of_threads(elapsed));
        self.row.host_cpu_percent = seen.host_percent;
        self.row.host_cpu_peak_percent = seen.host_peak_percent;
        self.row.server_cpu_percent = seen.server_percent;
        self.row.client_cpu_percent = seen.client_percent;
        self.row.overload = seen.overload().join("; ");
        if let Some(pacing) = total.pacing {
            self.row.pacing_p99_ms = Some(pacing.p99_us as f64 / 1e3);
            self.row.waited = Some(pacing.waited);
            if pacing.waited > 0 {
                let all = pacing.paced + pacing.waited;
                self.notes.push(format!("{} of {all} operations had to wait for a free shopper", pacing.waited));
            }
            if pacing.p99_us > PACING_P99_US {
                self.notes.push(format!("1% of the operations began over {:.2} ms late", pacing.p99_us as f64 / 1e3));
            }
        }
    }

    /// Fetches the samples, puts to them what the server knows, looks what they prove, and keeps them.
    async fn collect(&mut self, crew: &Crew) -> anyhow::Result<Vec<String>> {
        let Collected { mut samples, problems } = crew.collect(self.lab, &self.cell.id).await;
        if self.lab.engine.has_server() {
            match trace::join(self.lab, &mut samples).await {
                Ok(0) => {}
                Ok(missing) => self.notes.push(format!("the server's side of {missing} exchanges is not known")),
                Err(error) => self.notes.push(format!("the server's side of the exchanges is not known: {error:#}")),
            }
        }
        self.run.folder.append_samples(&samples)?;
        self.problems.extend(evidence::of_round_trips(&self.cell.condition, &samples));
        self.problems.extend(errors::without_loss(&self.cell.condition, &self.run.scenario.workload, &samples));
        let is_promise = |sample: &&Sample| sample.operation == "place_order" && sample.outcome == Ended::Ok;
        self.lab.promised_orders += i64::try_from(samples.iter().filter(is_promise).count())?;
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
            let counters = self.lab.emulator.counters(self.lab.engine).await.context("reading the link's counters")?;
            let queued = counters.map_or(0, |counters| counters.queued);
            if queued == 0 || self.run.stop.is_cancelled() {
                return Ok(());
            }
            if queued < fewest {
                (fewest, last_move) = (queued, Instant::now());
            }
            if last_move.elapsed() > DRAIN_PATIENCE {
                self.problems.push(format!("after: {queued} packets stay in the link"));
                return Ok(());
            }
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }

    /// What the emulator counted since the condition was set, beside what left the server's device.
    async fn note_counters(&mut self) -> anyhow::Result<()> {
        let counters = self.lab.emulator.counters(self.lab.engine).await.context("reading the link's counters")?;
        let Some(counters) = counters else { return Ok(()) };
        let asked = &self.cell.condition;
        self.row.link_sent = Some(counters.sent);
        self.row.link_dropped = Some(counters.dropped);
        self.row.link_dropped_queue_full = counters.queue_full;
        self.row.link_max_lateness_ms = counters.max_lateness_ms;
        self.row.achieved_loss_percent =
            counters.lost.map(|lost| lost as f64 / counters.met_loss().max(1) as f64 * 100.0);
        let found = evidence::of_counters(asked, &counters);
        self.problems.extend(found.problems);
        self.notes.extend(found.notes);
        if let Some(before) = self.device_before {
            let device = self.lab.device_packets().await?.saturating_sub(before);
            self.row.device_sent = Some(device);
            self.problems.extend(evidence::of_device(asked, &counters, device));
        }
        Ok(())
    }

    fn conclude(mut self, ended: anyhow::Result<()>) -> Outcome {
        self.row.verdict = match &ended {
            _ if self.run.stop.is_cancelled() => Verdict::Interrupted,
            Ok(()) if self.problems.is_empty() => Verdict::Proved,
            Ok(()) => Verdict::NotProved,
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
