//! The life of one lab: up, cell after cell until none is left, books checked, down.

use anyhow::{Context, bail};
use shaper::Condition;
use tokio::sync::watch;

use super::audit::Audit;
use super::cell::{CellContext, measure};
use super::gate::Permit;
use super::lab::Lab;
use super::prober::{self, Floor};
use super::programs;
use super::session::Session;
use crate::cell_row::Verdict;
use crate::emulator::EmulatorChoice;
use crate::engine::{Engine, LabPlan, Node};
use crate::jobs::Jobs;
use crate::output::{complain, say};
use crate::plan::Cell;
use crate::scenario::Offloads;

/// What loss and rate mean to netem.
const BUNDLES: &str = "segmentation offload is on: netem loses bundles of segments as one packet, and lets a whole response \
                       past an idle rate; --offloads off makes both per packet";

/// What the first lab that is up tells the others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Word {
    /// To come up too, with this emulator, which it found to work.
    ComeUp(EmulatorChoice),
    /// Not to: nobody could see whether the nodes' host stays quiet.
    StayDown,
}

/// The way from the first lab to the others.
pub(super) type FirstLab = watch::Sender<Option<Word>>;

/// Why cells are measured one after the other although more were allowed.
const UNWATCHED: &str = "cells were measured one after the other: the nodes are on another host, and nobody sees whether \
                         that one stays quiet";

/// The whole life of the lab of this number, from 1. Its nodes are removed whatever happens. Labs beside the first come
/// up when that one has, when the gate lets one more cell begin, and only if there is one.
pub(super) async fn live(
    session: &Session<'_>,
    mut engine: Box<dyn Engine>,
    number: u32,
    first: &FirstLab,
) -> anyhow::Result<()> {
    let choice = if number == 1 {
        session.request.emulator
    } else {
        let mut told = first.subscribe();
        let word = tokio::select! {
            word = told.wait_for(Option::is_some) => word.ok().and_then(|word| *word),
            () = session.stop.cancelled() => None,
        };
        let Some(Word::ComeUp(found)) = word else { return Ok(()) };
        found
    };
    let Some(permit) = admit(session).await else {
        if number == 1 {
            first.send_replace(Some(Word::StayDown));
        }
        return Ok(());
    };
    let worked = work(session, engine.as_mut(), number, choice, first, permit).await;
    if number == 1 {
        // However it ended, nobody is to wait for its word.
        first.send_if_modified(|word| {
            let is_silent = word.is_none();
            word.get_or_insert(Word::StayDown);
            is_silent
        });
    }
    let removed = engine.down().await.context("removing the nodes (`testbed clean` tries again)");
    if let (Err(error), Err(_)) = (&removed, &worked) {
        // What is returned below came first.
        complain(&format!("{error:#}"));
    }
    if removed.is_ok() {
        tracing::debug!("environment {number}: all nodes removed");
    }
    worked.and(removed)
}

/// Lets a cell begin; `None` when there is none left, or the run ends.
async fn admit<'s>(session: &'s Session<'_>) -> Option<Permit<'s>> {
    let permit = tokio::select! {
        permit = session.gate.admit() => permit,
        () = session.stop.cancelled() => return None,
    };
    (session.left() > 0).then_some(permit)
}

async fn work(
    session: &Session<'_>,
    engine: &mut dyn Engine,
    number: u32,
    choice: EmulatorChoice,
    first: &FirstLab,
    permit: Permit<'_>,
) -> anyhow::Result<()> {
    let plan = lab_plan(session, number);
    let came_up = come_up(session, engine, &plan, choice, number).await;
    let (mut lab, floor) = match came_up {
        Ok(ready) => ready,
        Err(error) if number > 1 && !session.stop.is_cancelled() => {
            // The others go on without it: it has taken no cell.
            let why = format!("lab {number} could not come up: {error:#}");
            session.progress.line(&why);
            session.note(|manifest| manifest.remarks.push(why));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if number == 1 {
        // Only now is it known where each client is.
        let facts = lab.engine.facts().await?;
        session.note(|manifest| manifest.engine_facts = facts);
        introduce(session, &lab, &plan, floor)?;
        let word = if lab.is_here { Word::ComeUp(lab.emulator.choice()) } else { Word::StayDown };
        if !lab.is_here && session.request.jobs != Jobs::default() {
            say(UNWATCHED);
            session.note(|manifest| manifest.remark(Some(UNWATCHED)));
        }
        first.send_replace(Some(word));
    }
    let mut permit = Some(permit);
    while let Some(held) = permit.take().filter(|_| !session.stop.is_cancelled()) {
        let Some(cell) = session.take_cell() else { break };
        measure_and_keep(session, &mut lab, floor, cell, &held).await?;
        drop(held);
        permit = admit(session).await;
    }
    close(session, &mut lab, number).await
}

/// Brings the lab up and sees whether cells can be measured in it.
async fn come_up<'a>(
    session: &Session<'_>,
    engine: &'a mut dyn Engine,
    plan: &LabPlan,
    choice: EmulatorChoice,
    number: u32,
) -> anyhow::Result<(Lab<'a>, Floor)> {
    let mut lab = Lab::up(engine, plan, session.request, session.cells, choice).await?;
    let floor = get_ready(&mut lab, session).await?;
    tracing::debug!("environment {number} is up; median RTT of the unshaped link {:.3} ms", floor.rtt_ms);
    Ok((lab, floor))
}

/// Whether the cells can be measured in the lab as it came up. Gives what the bare link is like.
async fn get_ready(lab: &mut Lab<'_>, session: &Session<'_>) -> anyhow::Result<Floor> {
    for cell in session.cells {
        lab.emulator.can_express(&cell.condition).with_context(|| format!("cell {}", cell.id))?;
    }
    let floor = prober::floor(lab.engine).await?;
    lab.check_way(floor.rtt_ms).await?;
    Ok(floor)
}

/// What the manifest says of all labs, by the first.
fn introduce(session: &Session<'_>, lab: &Lab<'_>, plan: &LabPlan, floor: Floor) -> anyhow::Result<()> {
    say(&format!("emulator {}", lab.emulator.name()));
    tracing::debug!("{}", lab.why_emulator);
    let is_per_packet = |cell: &Cell| cell.condition.rate.is_some() || cell.condition.loss.fraction() > 0.0;
    let bundles = lab.emulator.bundles_segments()
        && session.request.scenario.network.offloads == Offloads::On
        && session.cells.iter().any(is_per_packet);
    if bundles {
        say(BUNDLES);
    }
    session.write(|manifest| {
        lab.emulator.name().clone_into(&mut manifest.emulator);
        manifest.why_emulator.clone_from(&lab.why_emulator);
        manifest.remark(bundles.then_some(BUNDLES));
        manifest.programs_version = Some(lab.programs.clone());
        manifest.remark(programs::unoptimised(&lab.programs));
        manifest.floor_rtt_ms = Some(floor.rtt_ms);
        manifest.sysctls = lab.engine.sysctls(plan);
        manifest.database_filesystem.clone_from(&lab.database_filesystem);
        manifest.setup_seconds = Some(session.request.began.elapsed().as_secs_f64());
        manifest.nodes_up_seconds = Some(lab.nodes_up.as_secs_f64());
    })
}

async fn measure_and_keep(
    session: &Session<'_>,
    lab: &mut Lab<'_>,
    floor: Floor,
    cell: &Cell,
    permit: &Permit<'_>,
) -> anyhow::Result<()> {
    let context = CellContext {
        run_id: &session.request.run_id,
        scenario: &session.request.scenario,
        folder: &session.folder,
        floor,
        permit,
        stop: &session.stop,
    };
    session.progress.begin(cell);
    let outcome = measure(lab, &context, cell, &session.progress).await;
    session.progress.end(&outcome.row, &outcome.samples);
    let failed = outcome.row.verdict == Verdict::Failed;
    if matches!(outcome.row.verdict, Verdict::Proved | Verdict::NotProved) {
        session.learn(cell, &outcome.samples);
    }
    session.keep(cell, outcome.row)?;
    if session.stop.is_cancelled() { Ok(()) } else { repair(session, lab, &outcome.broken, failed).await }
}

/// After a cell: new nodes for the broken ones, and a new server if shop or emulator do not answer.
async fn repair(session: &Session<'_>, lab: &mut Lab<'_>, broken: &[Node], failed: bool) -> anyhow::Result<()> {
    for node in broken.iter().filter(|node| **node != Node::Server) {
        session.progress.line(&format!("renewing {node}"));
        lab.engine.renew(*node).await.with_context(|| format!("renewing {node}"))?;
    }
    if !failed || !lab.engine.has_server() {
        return Ok(());
    }
    let server_is_ill = broken.contains(&Node::Server) || lab.check_shop().await.is_err();
    if server_is_ill || lab.emulator.read_back(lab.engine, &Condition::BASELINE).await.is_err() {
        session.progress.line("renewing the server");
        lab.renew_server().await?;
    }
    Ok(())
}

/// After the last cell: facts, books, and the emulator's end.
async fn close(session: &Session<'_>, lab: &mut Lab<'_>, number: u32) -> anyhow::Result<()> {
    if number == 1 {
        match lab.engine.facts().await {
            Ok(facts) => session.note(|manifest| manifest.engine_facts = facts),
            Err(error) => session
                .note(|manifest| manifest.remarks.push(format!("engine_facts are those of the beginning: {error:#}"))),
        }
    }
    if lab.engine.has_server() {
        match audit(lab).await {
            Ok(audit) => session.note(|manifest| manifest.audit = Some(audit.with(manifest.audit))),
            Err(error) => {
                let why = format!("stock and orders could not be compared: {error:#}");
                session.progress.line(&why);
                session.note(|manifest| {
                    manifest.books_unchecked = true;
                    manifest.remarks.push(why);
                });
            }
        }
    }
    lab.shut_down().await.context("stopping the emulator")
}

/// Stock against orders, and orders against what clients were promised.
///
/// # Errors
/// When they can't be compared.
async fn audit(lab: &Lab<'_>) -> anyhow::Result<Audit> {
    if lab.server_was_renewed {
        bail!("the server was renewed, and its first database with it");
    }
    lab.audit().await
}

/// The nodes, and the kernel settings that make hosts comparable.
fn lab_plan(session: &Session<'_>, number: u32) -> LabPlan {
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
    let request = session.request;
    let (run_id, logs) = match number {
        1 => (request.run_id.clone(), session.folder.logs()),
        _ => (format!("{}-{number}", request.run_id), session.folder.logs().join(format!("lab-{number}"))),
    };
    LabPlan {
        run_id,
        host: crate::host::name(),
        folder: request.temporary.clone(),
        logs,
        stop: session.stop.clone(),
        clients: request.scenario.clients,
        storage: request.scenario.server.storage,
        sysctls: settings.map(owned).into(),
        optional_sysctls: optional.map(owned).into(),
    }
}
