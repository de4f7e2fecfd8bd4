//! One cell: clients ready on the bare link, condition applied and proved, workload, samples fetched, proof again.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use shaper::Condition;
use tokio_util::sync::CancellationToken;

use super::clients::Crew;
use super::lab::Lab;
use super::prober::{Floor, PROBER, probe};
use super::progress::Progress;
use crate::cell_row::{CellRow, Verdict};
use crate::emulator::LinkCounters;
use crate::engine::Node;
use crate::host::CpuTicks;
use crate::plan::Cell;
use crate::probe::{Measured, ProbePlan, doubts, is_plausible};
use crate::results::RunFolder;
use crate::run_id::UtcTime;
use crate::scenario::Scenario;

/// How long the link's queue may stand still before its packets are given up.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// How often the link is asked how many packets it holds.
const DRAIN_STEP: Duration = Duration::from_millis(50);
/// A host this busy may measure itself instead of the link, percent of all cores.
const BUSY_PERCENT: f64 = 85.0;
/// A packet this late is worth a note, milliseconds.
const LATE_MS: f64 = 5.0;

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
    /// Whether this host's CPU is the nodes' CPU.
    pub(crate) nodes_are_here: bool,
    /// Ctrl-C.
    pub(crate) stop: &'a CancellationToken,
}

/// A measured cell and what it left behind.
pub(crate) struct Outcome {
    /// Its row.
    pub(crate) row: CellRow,
    /// Nodes to renew before the next cell.
    pub(crate) broken: Vec<Node>,
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
        let counters = self.lab.emulator.counters(self.lab.engine).await.context("reading the link's counters")?;
        self.note_counters(counters);
        self.lab.check_shop().await
    }

    async fn apply(&mut self, condition: &Condition) -> anyhow::Result<()> {
        let applied = self.lab.emulator.apply(self.lab.engine, condition, self.cell.seed).await;
        applied.with_context(|| format!("applying the condition {condition}"))
    }

    async fn prove_and_let_work(&mut self, crew: &mut Crew) -> anyhow::Result<()> {
        self.apply(&self.cell.condition).await?;
        self.row.before_rtt_ms = self.prove("before").await?.rtt_median_ms;
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
        let probed = probe(engine, &self.plan, asked).await;
        if probed.is_err() {
            self.broken.push(PROBER);
        }
        let measured = probed.with_context(|| format!("probing the link {when} the workload"))?;
        self.row.probe_sent += measured.sent;
        self.row.probe_lost += measured.sent.saturating_sub(measured.received);
        let rate_kbit = measured.rate_bits_per_second.map(|rate| rate / 1_000.0);
        self.row.achieved_rate_kbit = match (self.row.achieved_rate_kbit, rate_kbit) {
            (Some(before), Some(after)) => Some(f64::midpoint(before, after)),
            (before, after) => before.or(after),
        };
        let doubts = doubts(asked, self.run.floor.rtt_ms, &measured);
        self.problems.extend(doubts.into_iter().map(|doubt| format!("{when}: {doubt}")));
        Ok(measured)
    }

    /// Lets the clients work until their time is over, one of them fails, the server ends, or Ctrl-C comes.
    async fn let_work(&mut self, crew: &mut Crew) -> anyhow::Result<()> {
        let lab = &*self.lab;
        let (cpu, server_cpu) = (CpuTicks::now(), lab.engine.cpu_time(Node::Server).await);
        self.row.started = UtcTime::now().to_string();
        let start = Instant::now();
        crew.go().await.context("starting the workload")?;
        let board = crew.board();
        let display = self.progress.watch(self.cell, &board);
        let server_ended = tokio::select! {
            () = crew.follow(self.run.stop) => None,
            never = display => match never {},
            error = lab.shop_ended() => Some(error),
        };
        let elapsed = start.elapsed();
        self.row.duration_s = elapsed.as_secs_f64();
        self.row.cut_off = board.total().cut_off;
        self.note_cpu(elapsed, cpu, server_cpu).await;
        match server_ended {
            None => Ok(()),
            Some(error) => {
                self.broken.push(Node::Server);
                Err(error)
            }
        }
    }

    async fn collect(&mut self, crew: &Crew) -> anyhow::Result<Vec<String>> {
        let collected = crew.collect(self.lab, self.run.folder, &self.cell.id).await?;
        self.row.operations = collected.operations;
        self.row.errors = collected.errors;
        Ok(collected.problems)
    }

    async fn note_cpu(
        &mut self,
        elapsed: Duration,
        cpu_before: Option<CpuTicks>,
        server_before: anyhow::Result<Duration>,
    ) {
        // A server that has died has no CPU time to tell; the row says so otherwise.
        if let (Ok(before), Ok(after)) = (server_before, self.lab.engine.cpu_time(Node::Server).await) {
            let used = after.saturating_sub(before);
            self.row.server_cpu_percent = Some(used.as_secs_f64() / elapsed.as_secs_f64() * 100.0);
        }
        if !self.run.nodes_are_here {
            return;
        }
        self.row.host_cpu_percent = CpuTicks::now().zip(cpu_before).and_then(|(now, before)| now.percent_since(before));
        if let Some(percent) = self.row.host_cpu_percent.filter(|percent| *percent > BUSY_PERCENT) {
            self.notes.push(format!("the host was {percent:.0}% busy: the numbers may show it more than the link"));
        }
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

    fn note_counters(&mut self, counters: Option<LinkCounters>) {
        let Some(counters) = counters else { return };
        let asked = &self.cell.condition;
        self.row.link_sent = Some(counters.sent);
        self.row.link_dropped = Some(counters.dropped);
        self.row.link_dropped_queue_full = counters.queue_full;
        self.row.link_max_lateness_ms = counters.max_lateness_ms;
        if counters.unasked > 0 {
            self.problems
                .push(format!("the emulator could not handle {} packets: the host was too busy", counters.unasked));
        }
        match counters.queue_full {
            Some(full) if full > 0 && asked.rate.is_none() => {
                self.problems.push(format!("{full} packets found the link's queue full, though no rate was asked"));
            }
            Some(full) if full > 0 => self.notes.push(format!("{full} packets found the link's queue full")),
            _ => {}
        }
        if let Some(lost) =
            counters.lost.filter(|lost| !is_plausible(*lost, lost + counters.sent, asked.loss.fraction()))
        {
            let packets = lost + counters.sent;
            self.problems.push(format!("loss: asked {}, the link dropped {lost} of {packets} packets", asked.loss));
        }
        if let Some(late) = counters.max_lateness_ms.filter(|late| *late > LATE_MS) {
            self.notes.push(format!("a packet left {late:.1} ms late"));
        }
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
        Outcome { row: self.row, broken: self.broken }
    }
}
