//! One cell: clients ready, condition applied and proved, workload, proof again, samples fetched.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use super::clients::{Count, Crew, CrewReport};
use super::lab::Lab;
use super::prober::probe;
use super::progress::Progress;
use crate::emulator::LinkCounters;
use crate::engine::Node;
use crate::host::CpuTicks;
use crate::plan::Cell;
use crate::probe::{Measured, ProbePlan, doubts, is_plausible};
use crate::results::{CellRow, RunFolder, Verdict};
use crate::run_id::UtcTime;
use crate::scenario::Scenario;

/// How long packets of the workload may take to leave the link before the probe after it.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// How often the link is asked whether it is empty.
const DRAIN_STEP: Duration = Duration::from_millis(50);
/// A host this busy may measure itself instead of the link, percent of all cores.
const BUSY_PERCENT: f64 = 85.0;

/// What a cell needs to know of its run.
pub(crate) struct CellContext<'a> {
    /// The run's id.
    pub(crate) run_id: &'a str,
    /// What is run.
    pub(crate) scenario: &'a Scenario,
    /// Where samples go.
    pub(crate) folder: &'a RunFolder,
    /// Median round trip of the bare link, milliseconds.
    pub(crate) floor_rtt_ms: f64,
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
    let mut outcome = Outcome { row: CellRow::new(cell, run.floor_rtt_ms), broken: Vec::new() };
    let mut problems = Vec::new();
    match work(lab, run, cell, progress, &mut outcome, &mut problems).await {
        Ok(()) if problems.is_empty() => outcome.row.verdict = Verdict::Proved,
        Ok(()) => outcome.row.verdict = Verdict::NotProved,
        Err(error) => {
            outcome.row.verdict = Verdict::Failed;
            problems.push(format!("{error:#}"));
        }
    }
    if run.stop.is_cancelled() {
        outcome.row.verdict = Verdict::Interrupted;
    }
    outcome.row.problems = problems.join("; ");
    outcome
}

async fn work(
    lab: &mut Lab<'_>,
    run: &CellContext<'_>,
    cell: &Cell,
    progress: &Progress,
    outcome: &mut Outcome,
    problems: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut crew = Crew::start(lab, cell, run.scenario, run.run_id).await.context("starting the clients")?;
    let plan = ProbePlan::for_condition(&cell.condition);
    let worked = async {
        lab.emulator.apply(lab.engine, &cell.condition, cell.seed).await.context("applying the condition")?;
        let before = prove(lab, run, cell, &plan, "before", &mut outcome.row, problems).await?;
        let report = let_work(lab, run, cell, progress, &mut crew, &mut outcome.row).await?;
        anyhow::Ok((before, report))
    };
    let (before, report) = match worked.await {
        Ok(worked) => worked,
        Err(error) => {
            outcome.broken = crew.abandon(lab).await;
            return Err(error);
        }
    };
    // Samples first: whatever fails from here on, they are kept.
    let incomplete = crew.collect(lab, run.folder).await?;
    outcome.broken = report.broken;
    let failures: Vec<String> = report.failures.into_iter().chain(incomplete).collect();
    if !failures.is_empty() {
        bail!(failures.join("; "));
    }
    if run.stop.is_cancelled() {
        return Ok(());
    }
    drain(lab).await?;
    let after = prove(lab, run, cell, &plan, "after", &mut outcome.row, problems).await?;
    note_probes(&before, &after, &mut outcome.row);
    let counters = lab.emulator.counters(lab.engine).await.context("reading the link's counters")?;
    note_counters(counters, cell, &mut outcome.row, problems);
    lab.check_shop().await
}

fn note_probes(before: &Measured, after: &Measured, row: &mut CellRow) {
    row.before_rtt_ms = before.rtt_median_ms;
    row.after_rtt_ms = after.rtt_median_ms;
    let rates: Vec<f64> = [before, after].into_iter().filter_map(|probe| probe.rate_bits_per_second).collect();
    row.achieved_rate_kbit = (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64 / 1_000.0);
}

/// Reads back what is in force and probes it; doubts become problems.
async fn prove(
    lab: &Lab<'_>,
    run: &CellContext<'_>,
    cell: &Cell,
    plan: &ProbePlan,
    when: &str,
    row: &mut CellRow,
    problems: &mut Vec<String>,
) -> anyhow::Result<Measured> {
    let read = lab.emulator.read_back(lab.engine, &cell.condition).await.context("reading the condition back")?;
    if !read.agrees {
        problems.push(format!("{when}: asked {}, read back {}", cell.condition, read.text));
    }
    row.read_back = read.text;
    let measured = probe(lab.engine, plan).await.with_context(|| format!("probing the link {when} the workload"))?;
    row.probe_sent += measured.sent;
    row.probe_lost += measured.sent.saturating_sub(measured.received);
    let doubts = doubts(&cell.condition, run.floor_rtt_ms, &measured);
    problems.extend(doubts.into_iter().map(|doubt| format!("{when}: {doubt}")));
    Ok(measured)
}

/// Lets the clients work until their time is over, one of them fails, the server ends, or Ctrl-C comes.
async fn let_work(
    lab: &Lab<'_>,
    run: &CellContext<'_>,
    cell: &Cell,
    progress: &Progress,
    crew: &mut Crew,
    row: &mut CellRow,
) -> anyhow::Result<CrewReport> {
    let (cpu, server_cpu) = (CpuTicks::now(), lab.engine.cpu_time(Node::Server).await);
    row.started = UtcTime::now().to_string();
    let start = Instant::now();
    crew.go().await.context("starting the workload")?;
    let board = crew.board();
    let stop = run.stop.child_token();
    let display = progress.watch(cell, &board);
    let mut report = tokio::select! {
        report = crew.follow(lab, &stop) => report,
        never = display => match never {},
        error = lab.shop_ended() => {
            CrewReport { failures: vec![format!("{error:#}")], broken: vec![Node::Server] }
        }
    };
    if report.broken == [Node::Server] {
        stop.cancel();
        let rest = crew.follow(lab, &stop).await;
        report.failures.extend(rest.failures);
        report.broken.extend(rest.broken);
    }
    let elapsed = start.elapsed();
    note_effort(row, elapsed, board.total());
    note_cpu(lab, row, elapsed, cpu, server_cpu).await;
    Ok(report)
}

fn note_effort(row: &mut CellRow, elapsed: Duration, count: Count) {
    row.duration_s = elapsed.as_secs_f64();
    row.operations = count.operations;
    row.errors = count.errors;
    row.cut_off = count.cut_off;
}

async fn note_cpu(
    lab: &Lab<'_>,
    row: &mut CellRow,
    elapsed: Duration,
    cpu_before: Option<CpuTicks>,
    server_before: anyhow::Result<Duration>,
) {
    row.host_cpu_percent = CpuTicks::now().zip(cpu_before).and_then(|(now, before)| now.percent_since(before));
    // A server that has died has no CPU time to tell; the row says so otherwise.
    if let (Ok(before), Ok(after)) = (server_before, lab.engine.cpu_time(Node::Server).await) {
        let used = after.saturating_sub(before);
        row.server_cpu_percent = Some(used.as_secs_f64() / elapsed.as_secs_f64() * 100.0);
    }
    if let Some(percent) = row.host_cpu_percent.filter(|percent| *percent > BUSY_PERCENT) {
        row.notes = format!("the host was {percent:.0}% busy: the numbers may show it more than the link");
    }
}

/// Waits until the link holds no packets of the workload any more, so that the probe does not queue behind them.
async fn drain(lab: &Lab<'_>) -> anyhow::Result<()> {
    let deadline = Instant::now() + DRAIN_LIMIT;
    loop {
        let counters = lab.emulator.counters(lab.engine).await.context("reading the link's counters")?;
        if counters.is_none_or(|counters| counters.queued == 0) || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::time::sleep(DRAIN_STEP).await;
    }
}

fn note_counters(counters: Option<LinkCounters>, cell: &Cell, row: &mut CellRow, problems: &mut Vec<String>) {
    let Some(counters) = counters else { return };
    row.link_sent = Some(counters.sent);
    row.link_dropped = Some(counters.dropped);
    row.link_dropped_queue_full = counters.dropped_queue_full;
    let queue_full = counters.dropped_queue_full.unwrap_or(0);
    if queue_full > 0 {
        row.notes = [row.notes.as_str(), &format!("the link's queue was full for {queue_full} packets")].join(" ");
    }
    let lost = counters.dropped - queue_full;
    // Where the emulator does not tell full queues from losses, a rate's drops say nothing about loss.
    let tells = counters.dropped_queue_full.is_some() || cell.condition.rate.is_none();
    if tells && !is_plausible(lost, lost + counters.sent, cell.condition.loss.fraction()) {
        problems.push(format!(
            "loss: asked {}, the link dropped {lost} of {} packets",
            cell.condition.loss,
            lost + counters.sent
        ));
    }
}
