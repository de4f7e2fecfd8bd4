//! `testbed run`: from a scenario to a folder of results. The table of contents of the driver.

mod board;
mod cell;
mod clients;
pub(crate) mod lab;
mod prober;
mod progress;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use shaper::Condition;
use shop_client::sample::Outcome;
use testbed_analysis::Format;
use tokio_util::sync::CancellationToken;

use crate::cell_row::{CellRow, Verdict};
use crate::emulator::EmulatorChoice;
use crate::engine::{Engine, LabPlan, Node};
use crate::host;
use crate::manifest::{Control, Ending, Manifest, SHAPED_DIRECTION, remarks};
use crate::output::say;
use crate::plan::{self, Cell};
use crate::report::{self, ReportRequest};
use crate::results::RunFolder;
use crate::run_id::UtcTime;
use crate::scenario::{Offloads, Scenario};
use cell::{CellContext, measure};
use lab::Lab;
use prober::Floor;
use progress::Progress;

/// What loss and rate mean to netem.
const BUNDLES: &str = "segmentation offload is on: netem loses bundles of segments as one packet, and lets a whole response \
                       past an idle rate; --offloads off makes both per packet";

/// A run, resolved.
pub(crate) struct RunRequest {
    /// What to run.
    pub(crate) scenario: Scenario,
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// The run's id.
    pub(crate) run_id: String,
    /// The driver's temporary folder, locked while it lives.
    pub(crate) temporary: PathBuf,
    /// Where run folders go.
    pub(crate) results: PathBuf,
    /// Where pictures go.
    pub(crate) graphs: PathBuf,
    /// How the table is printed.
    pub(crate) format: Format,
    /// The wanted emulator.
    pub(crate) emulator: EmulatorChoice,
    /// Why this engine.
    pub(crate) why_engine: String,
    /// When the command was given.
    pub(crate) began: Instant,
}

/// How a run went, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// All cells were measured and proved.
    Proved,
    /// Some were not.
    Doubtful,
    /// Ctrl-C.
    Interrupted,
}

/// Runs it on `engine`. Nodes are removed whatever happens, and what was measured is saved and drawn.
pub(crate) async fn run(
    mut engine: Box<dyn Engine>,
    request: RunRequest,
    stop: CancellationToken,
) -> anyhow::Result<RunEnd> {
    let folder = RunFolder::create(&request.results, &request.run_id)?;
    let cells = plan::cells(&request.scenario, request.seed);
    let mut manifest = first_manifest(engine.as_ref(), &request, &cells).await?;
    folder.write_manifest(&manifest)?;
    say(&format!("run {}: {} cells, {}", request.run_id, cells.len(), request.why_engine));

    let mut rows = Vec::new();
    let ran = run_cells(engine.as_mut(), &request, &cells, &folder, &mut manifest, &mut rows, &stop).await;
    let has_server = engine.has_server();
    let removed = engine.down().await.context("removing the nodes (`testbed clean` tries again)");

    manifest.ended = Some(UtcTime::now().to_string());
    manifest.ending = match &ran {
        Ok(()) if stop.is_cancelled() => Ending::Interrupted,
        Ok(()) => Ending::Complete,
        Err(_) if stop.is_cancelled() => Ending::Interrupted,
        Err(_) => Ending::Failed,
    };
    manifest.failure = ran.as_ref().err().map(|error| format!("{error:#}"));
    folder.write_manifest(&manifest)?;
    if rows.iter().any(|row: &CellRow| row.operations > 0) {
        report::report(&folder, &ReportRequest { graphs: request.graphs.clone(), format: request.format })?;
    }
    say(&format!("results: {}", folder.path().display()));
    if let (Err(error), true) = (&removed, ran.is_err() || stop.is_cancelled()) {
        // What is returned below came first.
        say(&format!("{error:#}"));
    }
    if stop.is_cancelled() {
        return Ok(RunEnd::Interrupted);
    }
    ran?;
    removed?;
    let all_proved = rows.iter().all(|row| row.verdict == Verdict::Proved);
    let books_agree = !has_server || manifest.audit.is_some_and(lab::Audit::is_good);
    Ok(if all_proved && books_agree { RunEnd::Proved } else { RunEnd::Doubtful })
}

async fn run_cells(
    engine: &mut dyn Engine,
    request: &RunRequest,
    cells: &[Cell],
    folder: &RunFolder,
    manifest: &mut Manifest,
    rows: &mut Vec<CellRow>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let plan = lab_plan(request, folder, stop);
    let mut lab = Lab::up(engine, &plan, request, cells).await?;
    let floor = get_ready(&mut lab, request, cells, manifest).await?;
    manifest.sysctls = lab.engine.sysctls(&plan);
    manifest.setup_seconds = Some(request.began.elapsed().as_secs_f64());
    folder.write_manifest(manifest)?;

    let scenario = &request.scenario;
    let nodes_are_here = lab.engine.shares_host().await;
    let run = CellContext { run_id: &request.run_id, scenario, folder, floor, nodes_are_here, stop };
    let progress = Progress::new(cells.len(), scenario.duration.as_duration());
    for cell in cells {
        if stop.is_cancelled() {
            break;
        }
        progress.begin(cell);
        let outcome = measure(&mut lab, &run, cell, &progress).await;
        progress.end(&outcome.row);
        let failed = outcome.row.verdict == Verdict::Failed;
        rows.push(outcome.row);
        folder.write_cells(rows)?;
        if !stop.is_cancelled() {
            repair(&mut lab, &outcome.broken, failed, &progress).await?;
        }
    }
    progress.finish();
    match lab.engine.facts().await {
        Ok(facts) => manifest.engine_facts = facts,
        Err(error) => manifest.remarks.push(format!("engine_facts are those of the beginning: {error:#}")),
    }
    if lab.engine.has_server() {
        match audit(&lab, folder).await {
            Ok(audit) => manifest.audit = Some(audit),
            Err(error) => {
                let why = format!("stock and orders could not be compared: {error:#}");
                say(&why);
                manifest.remarks.push(why);
            }
        }
    }
    lab.shut_down().await.context("stopping the emulator")
}

/// Whether the cells can be measured in the lab as it came up; what the manifest says of it. Gives what the bare
/// link is like.
async fn get_ready(
    lab: &mut Lab<'_>,
    request: &RunRequest,
    cells: &[Cell],
    manifest: &mut Manifest,
) -> anyhow::Result<Floor> {
    say(&lab.why_emulator);
    manifest.emulator = lab.emulator.name().to_owned();
    manifest.why_emulator = lab.why_emulator.clone();
    // Only now is it known where each client is.
    manifest.engine_facts = lab.engine.facts().await?;
    let is_per_packet = |cell: &Cell| cell.condition.rate.is_some() || cell.condition.loss.fraction() > 0.0;
    let offloads = request.scenario.network.offloads;
    if lab.emulator.bundles_segments() && offloads == Offloads::On && cells.iter().any(is_per_packet) {
        say(BUNDLES);
        manifest.remarks.push(BUNDLES.to_owned());
    }
    for cell in cells {
        lab.emulator.can_express(&cell.condition).with_context(|| format!("cell {}", cell.id))?;
    }
    let floor = prober::floor(lab.engine).await?;
    manifest.floor_rtt_ms = Some(floor.rtt_ms);
    lab.check_way(floor.rtt_ms).await?;
    Ok(floor)
}

/// After a cell: new nodes for the broken ones, and a new server if shop or emulator do not answer.
async fn repair(lab: &mut Lab<'_>, broken: &[Node], failed: bool, progress: &Progress) -> anyhow::Result<()> {
    for node in broken.iter().filter(|node| **node != Node::Server) {
        progress.line(&format!("renewing {node}"));
        lab.engine.renew(*node).await.with_context(|| format!("renewing {node}"))?;
    }
    if !failed {
        return Ok(());
    }
    if !lab.engine.has_server() {
        return Ok(());
    }
    let server_is_ill = broken.contains(&Node::Server) || lab.check_shop().await.is_err();
    if server_is_ill || lab.emulator.read_back(lab.engine, &Condition::BASELINE).await.is_err() {
        progress.line("renewing the server");
        lab.renew_server().await?;
    }
    Ok(())
}

/// Stock against orders, and orders against what clients were promised; told in a line.
///
/// # Errors
/// When they can't be compared.
async fn audit(lab: &Lab<'_>, folder: &RunFolder) -> anyhow::Result<lab::Audit> {
    if lab.server_was_renewed {
        bail!("the server was renewed, and its first database with it");
    }
    let audit = lab.audit(promised_orders(folder)?).await?;
    let verdict = if audit.is_good() { "nothing is lost" } else { "THE BOOKS DISAGREE" };
    say(&format!(
        "{} orders promised, {} kept; {} pieces sold, {} ordered: {verdict}",
        audit.promised, audit.orders, audit.sold, audit.ordered
    ));
    Ok(audit)
}

fn promised_orders(folder: &RunFolder) -> anyhow::Result<i64> {
    let samples = folder.samples()?;
    let promised = samples.iter().filter(|sample| sample.operation == "place_order" && sample.outcome == Outcome::Ok);
    i64::try_from(promised.count()).context("counting the promised orders")
}

async fn first_manifest(engine: &dyn Engine, request: &RunRequest, cells: &[Cell]) -> anyhow::Result<Manifest> {
    Ok(Manifest {
        run_id: request.run_id.clone(),
        ending: Ending::Unfinished,
        failure: None,
        started: UtcTime::now().to_string(),
        ended: None,
        testbed_version: shop_protocol::VERSION.to_owned(),
        command_line: std::env::args().collect(),
        scenario: request.scenario.clone(),
        seed: request.seed,
        plan: cells.to_vec(),
        engine: engine.name().to_owned(),
        why_engine: request.why_engine.clone(),
        engine_facts: engine.facts().await?,
        emulator: String::new(),
        why_emulator: String::new(),
        shaped_direction: SHAPED_DIRECTION.to_owned(),
        sysctls: BTreeMap::new(),
        host: host::facts(),
        floor_rtt_ms: None,
        setup_seconds: None,
        audit: None,
        remarks: remarks(&request.scenario, engine.has_server()),
        condition_control: if engine.has_server() { Control::Testbed } else { Control::ByHand },
    })
}

/// The nodes, and the kernel settings that make hosts comparable.
fn lab_plan(request: &RunRequest, folder: &RunFolder, stop: &CancellationToken) -> LabPlan {
    let settings = [
        // Else what TCP learnt of a peer in one cell (round-trip time, slow-start threshold) begins the next.
        ("ipv4.tcp_no_metrics_save", "1"),
        // Loose: the shaper sends packets by another device than they come back on; strict would drop them.
        ("ipv4.conf.all.rp_filter", "2"),
        // A connection per request uses up a client's ports within the minute that TIME_WAIT keeps them.
        ("ipv4.tcp_tw_reuse", "1"),
        ("ipv4.ip_local_port_range", "10000 65000"),
    ];
    // Not every kernel has these two. The lab is IPv4 only, and its neighbour discovery would be noise; and Linux 6.5
    // began to repeat SYNs after 1, 2, 3, 4 s instead of 1, 3, 7.
    let optional = [("ipv6.conf.all.disable_ipv6", "1"), ("ipv4.tcp_syn_linear_timeouts", "0")];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    LabPlan {
        run_id: request.run_id.clone(),
        host: host::name(),
        folder: request.temporary.clone(),
        logs: folder.logs(),
        stop: stop.clone(),
        clients: request.scenario.clients,
        sysctls: settings.map(owned).into(),
        optional_sysctls: optional.map(owned).into(),
    }
}
