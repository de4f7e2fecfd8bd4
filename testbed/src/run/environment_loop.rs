//! The life of one lab: up, cell after cell until none is left, books checked, down.

use anyhow::{Context, bail};
use model::Condition;
use tokio::sync::watch;

use crate::backend::{Backend, EnvironmentSpec, Node};
use crate::emulator::EmulatorChoice;
use crate::output::{complain, say};
use crate::run::admission::Permit;
use crate::run::cell::{CellContext, measure};
use crate::run::coordinator::Coordinator;
use crate::run::environment::Environment;
use crate::run::jobs::Jobs;
use crate::run::probe_runner;
use crate::run::probe_runner::BaselineLink;
use crate::run::programs;
use crate::scenario::Offloads;
use crate::store::cell_row::Verdict;
use crate::store::order_check::OrderCheck;
use model::Cell;

/// What loss and rate mean to netem.
const BUNDLES: &str = "segmentation offload is on: netem loses bundles of segments as one packet, and lets a whole response \
                       past an idle rate; --offloads off makes both per packet";

/// What the first lab that is up tells the others.
#[derive(Debug, Clone, Copy)]
pub(super) enum StartDecision {
    /// To come up too, with this emulator, which it found to work.
    ComeUp(EmulatorChoice),
    /// Not to: nobody could see whether the nodes' host stays quiet.
    StayDown,
}

/// The way from the first lab to the others.
pub(super) type FirstEnvironment = watch::Sender<Option<StartDecision>>;

/// Why cells are measured one after the other although more were allowed.
const UNWATCHED: &str = "cells were measured one after the other: the nodes are on another host, and nobody sees whether \
                         that one stays quiet";

/// The whole life of the lab of this number, from 1. Its nodes are removed whatever happens. Labs beside the first come
/// up when that one has, when the gate lets one more cell begin, and only if there is one.
pub(super) async fn run_environment(
    coordinator: &Coordinator<'_>,
    mut backend: Box<dyn Backend>,
    number: u32,
    first: &FirstEnvironment,
) -> anyhow::Result<()> {
    let choice = if number == 1 {
        coordinator.request.emulator
    } else {
        let mut told = first.subscribe();
        let word = tokio::select! {
            word = told.wait_for(Option::is_some) => word.ok().and_then(|word| *word),
            () = coordinator.stop.cancelled() => None,
        };
        let Some(StartDecision::ComeUp(found)) = word else { return Ok(()) };
        found
    };
    let Some(permit) = admit(coordinator).await else {
        if number == 1 {
            first.send_replace(Some(StartDecision::StayDown));
        }
        return Ok(());
    };
    let worked = work(coordinator, backend.as_mut(), number, choice, first, permit).await;
    if number == 1 {
        // However it ended, nobody is to wait for its word.
        first.send_if_modified(|word| {
            let is_silent = word.is_none();
            word.get_or_insert(StartDecision::StayDown);
            is_silent
        });
    }
    let removed = backend.down().await.context("removing the nodes (`testbed clean` tries again)");
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
async fn admit<'s>(coordinator: &'s Coordinator<'_>) -> Option<Permit<'s>> {
    let permit = tokio::select! {
        permit = coordinator.admission.admit() => permit,
        () = coordinator.stop.cancelled() => return None,
    };
    (coordinator.left() > 0).then_some(permit)
}

async fn work(
    coordinator: &Coordinator<'_>,
    backend: &mut dyn Backend,
    number: u32,
    choice: EmulatorChoice,
    first: &FirstEnvironment,
    permit: Permit<'_>,
) -> anyhow::Result<()> {
    let plan = environment_spec(coordinator, number);
    let came_up = come_up(coordinator, backend, &plan, choice, number).await;
    let (mut environment, measure_baseline) = match came_up {
        Ok(ready) => ready,
        Err(error) if number > 1 && !coordinator.stop.is_cancelled() => {
            // The others go on without it: it has taken no cell.
            let why = format!("lab {number} could not come up: {error:#}");
            coordinator.progress.line(&why);
            coordinator.note(|manifest| manifest.notes.push(why));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if number == 1 {
        // Only now is it known where each client is.
        let info = environment.backend.info().await?;
        coordinator.note(|manifest| manifest.backend_info = info);
        introduce(coordinator, &environment, &plan, measure_baseline)?;
        let word = if environment.is_here {
            StartDecision::ComeUp(environment.emulator.choice())
        } else {
            StartDecision::StayDown
        };
        if !environment.is_here && coordinator.request.jobs != Jobs::default() {
            say(UNWATCHED);
            coordinator.note(|manifest| manifest.note(Some(UNWATCHED)));
        }
        first.send_replace(Some(word));
    }
    let mut permit = Some(permit);
    while let Some(held) = permit.take().filter(|_| !coordinator.stop.is_cancelled()) {
        let Some(cell) = coordinator.take_cell() else { break };
        measure_and_keep(coordinator, &mut environment, measure_baseline, cell, &held).await?;
        drop(held);
        permit = admit(coordinator).await;
    }
    close(coordinator, &mut environment, number).await
}

/// Brings the lab up and sees whether cells can be measured in it.
async fn come_up<'a>(
    coordinator: &Coordinator<'_>,
    backend: &'a mut dyn Backend,
    plan: &EnvironmentSpec,
    choice: EmulatorChoice,
    number: u32,
) -> anyhow::Result<(Environment<'a>, BaselineLink)> {
    let mut environment = Environment::up(backend, plan, coordinator.request, coordinator.cells, choice).await?;
    let measure_baseline = get_ready(&mut environment, coordinator).await?;
    tracing::debug!("environment {number} is up; median RTT of the unshaped link {:.3} ms", measure_baseline.rtt_ms);
    Ok((environment, measure_baseline))
}

/// Whether the cells can be measured in the lab as it came up. Gives what the bare link is like.
async fn get_ready(environment: &mut Environment<'_>, coordinator: &Coordinator<'_>) -> anyhow::Result<BaselineLink> {
    for cell in coordinator.cells {
        environment.emulator.check_supported(&cell.condition).with_context(|| format!("cell {}", cell.id))?;
    }
    let measure_baseline = probe_runner::measure_baseline(environment.backend).await?;
    environment.check_direct_path(measure_baseline.rtt_ms).await?;
    Ok(measure_baseline)
}

/// What the manifest says of all labs, by the first.
fn introduce(
    coordinator: &Coordinator<'_>,
    environment: &Environment<'_>,
    plan: &EnvironmentSpec,
    measure_baseline: BaselineLink,
) -> anyhow::Result<()> {
    say(&format!("emulator {}", environment.emulator.name()));
    tracing::debug!("{}", environment.emulator_reason);
    let is_per_packet = |cell: &Cell| cell.condition.rate.is_some() || cell.condition.loss.fraction() > 0.0;
    let bundles = environment.emulator.treats_gso_as_one_packet()
        && coordinator.request.scenario.network.offloads == Offloads::On
        && coordinator.cells.iter().any(is_per_packet);
    if bundles {
        say(BUNDLES);
    }
    coordinator.write(|manifest| {
        environment.emulator.name().clone_into(&mut manifest.emulator);
        manifest.emulator_reason.clone_from(&environment.emulator_reason);
        manifest.note(bundles.then_some(BUNDLES));
        manifest.programs_version = Some(environment.programs.clone());
        manifest.note(programs::unoptimised(&environment.programs));
        manifest.baseline_rtt_ms = Some(measure_baseline.rtt_ms);
        manifest.sysctls = environment.backend.sysctls(plan);
        manifest.database_filesystem.clone_from(&environment.database_filesystem);
        manifest.setup_s = Some(coordinator.request.began.elapsed().as_secs_f64());
        manifest.node_startup_s = Some(environment.nodes_up.as_secs_f64());
    })
}

async fn measure_and_keep(
    coordinator: &Coordinator<'_>,
    environment: &mut Environment<'_>,
    measure_baseline: BaselineLink,
    cell: &Cell,
    permit: &Permit<'_>,
) -> anyhow::Result<()> {
    let context = CellContext {
        run_id: &coordinator.request.run_id,
        scenario: &coordinator.request.scenario,
        folder: &coordinator.folder,
        measure_baseline,
        permit,
        stop: &coordinator.stop,
    };
    coordinator.progress.begin(cell);
    let outcome = measure(environment, &context, cell, &coordinator.progress).await;
    coordinator.progress.end(&outcome.row, &outcome.samples);
    let failed = outcome.row.verdict == Verdict::Failed;
    if matches!(outcome.row.verdict, Verdict::Verified | Verdict::Unverified) {
        coordinator.learn(cell, &outcome.samples);
    }
    coordinator.keep(cell, outcome.row)?;
    if coordinator.stop.is_cancelled() {
        Ok(())
    } else {
        repair(coordinator, environment, &outcome.broken, failed).await
    }
}

/// After a cell: new nodes for the broken ones, and a new server if shop or emulator do not answer.
async fn repair(
    coordinator: &Coordinator<'_>,
    environment: &mut Environment<'_>,
    broken: &[Node],
    failed: bool,
) -> anyhow::Result<()> {
    for node in broken.iter().filter(|node| **node != Node::Server) {
        coordinator.progress.line(&format!("renewing {node}"));
        environment.backend.recreate(*node).await.with_context(|| format!("renewing {node}"))?;
    }
    if !failed || !environment.backend.has_server() {
        return Ok(());
    }
    let server_is_ill = broken.contains(&Node::Server) || environment.check_shop().await.is_err();
    if server_is_ill || environment.emulator.read_back(environment.backend, &Condition::BASELINE).await.is_err() {
        coordinator.progress.line("renewing the server");
        environment.recreate_server().await?;
    }
    Ok(())
}

/// After the last cell: facts, books, and the emulator's end.
async fn close(coordinator: &Coordinator<'_>, environment: &mut Environment<'_>, number: u32) -> anyhow::Result<()> {
    if number == 1 {
        match environment.backend.info().await {
            Ok(info) => coordinator.note(|manifest| manifest.backend_info = info),
            Err(error) => coordinator
                .note(|manifest| manifest.notes.push(format!("backend_info are those of the beginning: {error:#}"))),
        }
    }
    if environment.backend.has_server() {
        match order_check(environment).await {
            Ok(order_check) => {
                coordinator.note(|manifest| manifest.order_check = Some(order_check.with(manifest.order_check)))
            }
            Err(error) => {
                let why = format!("stock and orders could not be compared: {error:#}");
                coordinator.progress.line(&why);
                coordinator.note(|manifest| {
                    manifest.order_check_skipped = true;
                    manifest.notes.push(why);
                });
            }
        }
    }
    environment.shut_down().await.context("stopping the emulator")
}

/// Stock against orders, and orders against what clients were promised.
///
/// # Errors
/// When they can't be compared.
async fn order_check(environment: &Environment<'_>) -> anyhow::Result<OrderCheck> {
    if environment.server_was_renewed {
        bail!("the server was renewed, and its first database with it");
    }
    environment.order_check().await
}

/// The nodes, and the kernel settings that make hosts comparable.
fn environment_spec(coordinator: &Coordinator<'_>, number: u32) -> EnvironmentSpec {
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
    let request = coordinator.request;
    let (run_id, logs) = match number {
        1 => (request.run_id.clone(), coordinator.folder.logs()),
        _ => (format!("{}-{number}", request.run_id), coordinator.folder.logs().join(format!("lab-{number}"))),
    };
    EnvironmentSpec {
        run_id,
        host: crate::host_info::name(),
        folder: request.temporary.clone(),
        logs,
        stop: coordinator.stop.clone(),
        clients: request.scenario.clients,
        storage: request.scenario.server.storage,
        sysctls: settings.map(owned).into(),
        optional_sysctls: optional.map(owned).into(),
    }
}
