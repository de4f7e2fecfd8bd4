//! Runs one environment: starts it, measures cells until none is left, runs the order check, removes its nodes.

use std::rc::Rc;

use anyhow::Context;
use model::settings::Offloads;
use model::{Cell, Condition};
use tokio::sync::watch;

use crate::backend::{Backend, EnvironmentSpec, Node};
use crate::emulator::EmulatorChoice;
use crate::output::{print_error, print_status};
use crate::run::admission::Permit;
use crate::run::cell::measure;
use crate::run::cell_context::CellContext;
use crate::run::coordinator::Coordinator;
use crate::run::environment::Environment;
use crate::run::environment_spec::environment_spec;
use crate::run::jobs::Jobs;
use crate::run::probe_runner;
use crate::run::probe_runner::BaselineLink;
use crate::run::programs;
use crate::store::cell_row::Verdict;

/// Note about an emulator that treats a GSO packet as one packet.
const GSO_NOTE: &str = "segmentation offload is on: netem drops GSO packets (up to 64 KiB) whole and lets one pass an \
                        idle rate limit; use --offloads off for per-packet loss and rate";

/// Decision of the first environment about the others.
#[derive(Debug, Clone, Copy)]
pub(super) enum StartDecision {
    /// Start with this emulator, which works in the first environment.
    Start(EmulatorChoice),
    /// Do not start: the CPU load of the nodes' host cannot be measured, or the first environment has ended.
    DoNotStart,
}

/// Channel from the first environment to the others.
pub(super) type FirstEnvironment = watch::Sender<Option<StartDecision>>;

/// Note about a run with `--jobs` on another host.
const SEQUENTIAL_NOTE: &str = "cells ran sequentially: the CPU load of the nodes' host is not visible from here";

/// Runs cells in environment `number` (from 1) until none is left, then removes its nodes, also after a failure. An
/// environment other than the first starts only after the first has started and admission control permits a further
/// cell.
///
/// # Errors
/// When the environment fails, or its nodes cannot be removed.
pub(super) async fn run_environment(
    coordinator: &Coordinator<'_>,
    backend: Rc<dyn Backend>,
    number: u32,
    first: &FirstEnvironment,
) -> anyhow::Result<()> {
    let choice = if number == 1 {
        coordinator.request.emulator
    } else {
        let mut receiver = first.subscribe();
        let decision = tokio::select! {
            decision = receiver.wait_for(Option::is_some) => decision.ok().and_then(|decision| *decision),
            () = coordinator.stop.cancelled() => None,
        };
        let Some(StartDecision::Start(emulator)) = decision else { return Ok(()) };
        emulator
    };
    let Some(permit) = admit(coordinator).await else {
        if number == 1 {
            first.send_replace(Some(StartDecision::DoNotStart));
        }
        return Ok(());
    };
    let worked = work(coordinator, &backend, number, choice, first, permit).await;
    if number == 1 {
        // If it failed before its decision, the others must not wait for one.
        first.send_if_modified(|decision| {
            let is_missing = decision.is_none();
            decision.get_or_insert(StartDecision::DoNotStart);
            is_missing
        });
    }
    let removed = backend.down().await.context("removing the nodes (`testbed clean` tries again)");
    if let (Err(error), Err(_)) = (&removed, &worked) {
        // The error returned below came first.
        print_error(&format!("{error:#}"));
    }
    if removed.is_ok() {
        tracing::debug!("environment {number}: all nodes removed");
    }
    worked.and(removed)
}

/// Waits for the permit of a further cell. Returns `None` if no cell is left or the run is stopped.
async fn admit<'s>(coordinator: &'s Coordinator<'_>) -> Option<Permit<'s>> {
    let permit = tokio::select! {
        permit = coordinator.admission.admit() => permit,
        () = coordinator.stop.cancelled() => return None,
    };
    (coordinator.left() > 0).then_some(permit)
}

async fn work(
    coordinator: &Coordinator<'_>,
    backend: &Rc<dyn Backend>,
    number: u32,
    choice: EmulatorChoice,
    first: &FirstEnvironment,
    permit: Permit<'_>,
) -> anyhow::Result<()> {
    let spec = environment_spec(coordinator, number);
    let started = start(coordinator, backend, &spec, choice, number).await;
    let (mut environment, baseline) = match started {
        Ok(started) => started,
        Err(error) if number > 1 && !coordinator.stop.is_cancelled() => {
            // The others continue without it: it has taken no cell.
            let note = format!("environment {number} failed to start: {error:#}");
            coordinator.progress.line(&note);
            coordinator.change(|manifest| manifest.notes.push(note));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if number == 1 {
        // The hosts of the clients are known only now.
        let info = environment.backend.info().await?;
        coordinator.change(|manifest| manifest.backend_info = info);
        record_first(coordinator, &environment, &spec, baseline)?;
        let decision = if environment.is_local {
            StartDecision::Start(environment.emulator.choice())
        } else {
            StartDecision::DoNotStart
        };
        if !environment.is_local && coordinator.request.jobs != Jobs::default() {
            print_status(SEQUENTIAL_NOTE);
            coordinator.change(|manifest| manifest.note(Some(SEQUENTIAL_NOTE)));
        }
        first.send_replace(Some(decision));
    }
    let mut permit = Some(permit);
    while let Some(held) = permit.take().filter(|_| !coordinator.stop.is_cancelled()) {
        let Some(cell) = coordinator.take_cell() else { break };
        measure_cell(coordinator, &mut environment, baseline, cell, &held).await?;
        drop(held);
        permit = admit(coordinator).await;
    }
    finish(coordinator, &mut environment, number).await
}

/// Starts the environment and checks that cells can be measured in it.
async fn start(
    coordinator: &Coordinator<'_>,
    backend: &Rc<dyn Backend>,
    spec: &EnvironmentSpec,
    choice: EmulatorChoice,
    number: u32,
) -> anyhow::Result<(Environment, BaselineLink)> {
    let scenario = &coordinator.request.scenario;
    let mut environment = Environment::start(Rc::clone(backend), spec, scenario, coordinator.cells, choice).await?;
    let baseline = check(&mut environment, coordinator).await?;
    tracing::debug!("environment {number} started; median RTT of the unshaped link {:.3} ms", baseline.rtt_ms);
    Ok((environment, baseline))
}

/// Checks that all cells can be measured in the environment. Returns its unshaped link.
async fn check(environment: &mut Environment, coordinator: &Coordinator<'_>) -> anyhow::Result<BaselineLink> {
    for cell in coordinator.cells {
        environment.emulator.check_supported(&cell.condition).with_context(|| format!("cell {}", cell.id))?;
    }
    let is_manual = environment.server.is_none();
    let baseline = probe_runner::measure_baseline(environment.backend.as_ref(), is_manual).await?;
    environment.check_direct_path(baseline.rtt_ms).await?;
    Ok(baseline)
}

/// Prints and records, from the first environment, what applies to all.
fn record_first(
    coordinator: &Coordinator<'_>,
    environment: &Environment,
    spec: &EnvironmentSpec,
    baseline: BaselineLink,
) -> anyhow::Result<()> {
    print_status(&format!("emulator {}", environment.emulator.name()));
    tracing::debug!("{}", environment.emulator_reason);
    let is_per_packet = |cell: &Cell| cell.condition.rate.is_some() || cell.condition.loss.fraction() > 0.0;
    let needs_gso_note = environment.emulator.treats_gso_as_one_packet()
        && coordinator.request.scenario.server.offloads == Offloads::On
        && coordinator.cells.iter().any(is_per_packet);
    if needs_gso_note {
        print_status(GSO_NOTE);
    }
    coordinator.write(|manifest| {
        environment.emulator.name().clone_into(&mut manifest.emulator);
        manifest.emulator_reason.clone_from(&environment.emulator_reason);
        manifest.note(needs_gso_note.then_some(GSO_NOTE));
        manifest.programs_version = Some(environment.programs_version.clone());
        manifest.note(programs::unoptimised(&environment.programs_version));
        manifest.baseline_rtt_ms = Some(baseline.rtt_ms);
        manifest.sysctls = environment.backend.sysctls(spec);
        manifest.database_filesystem.clone_from(&environment.database_filesystem);
        manifest.setup_s = Some(coordinator.request.started.elapsed().as_secs_f64());
        manifest.node_startup_s = Some(environment.node_startup.as_secs_f64());
    })
}

async fn measure_cell(
    coordinator: &Coordinator<'_>,
    environment: &mut Environment,
    baseline: BaselineLink,
    cell: &Cell,
    permit: &Permit<'_>,
) -> anyhow::Result<()> {
    let context = CellContext {
        run_id: &coordinator.request.run_id,
        scenario: &coordinator.request.scenario,
        directory: &coordinator.directory,
        baseline,
        permit,
        stop: &coordinator.stop,
    };
    coordinator.progress.start(cell);
    let result = measure(environment, &context, cell, &coordinator.progress).await;
    coordinator.progress.end(&result.row, &result.samples);
    let failed = result.row.verdict == Verdict::Failed;
    if matches!(result.row.verdict, Verdict::Verified | Verdict::Unverified) {
        coordinator.add_samples(cell, &result.samples);
    }
    coordinator.add_row(cell, result.row)?;
    if coordinator.stop.is_cancelled() {
        Ok(())
    } else {
        repair(coordinator, environment, &result.broken, failed).await
    }
}

/// Recreates the broken nodes after a cell, and the server if shop or emulator do not respond.
async fn repair(
    coordinator: &Coordinator<'_>,
    environment: &mut Environment,
    broken: &[Node],
    failed: bool,
) -> anyhow::Result<()> {
    for node in broken.iter().filter(|node| **node != Node::Server) {
        coordinator.progress.line(&format!("recreating {node}"));
        environment.backend.recreate(*node).await.with_context(|| format!("recreating {node}"))?;
    }
    let Some(server) = environment.server.as_ref().filter(|_| failed) else { return Ok(()) };
    let is_server_broken = broken.contains(&Node::Server) || server.check().await.is_err();
    if is_server_broken || environment.emulator.read_back(&Condition::BASELINE).await.is_err() {
        coordinator.progress.line("recreating the server");
        environment.recreate_server().await?;
    }
    Ok(())
}

/// Updates the backend's info after the last cell, runs the order check, and stops the emulator.
async fn finish(coordinator: &Coordinator<'_>, environment: &mut Environment, number: u32) -> anyhow::Result<()> {
    if number == 1 {
        match environment.backend.info().await {
            Ok(info) => coordinator.change(|manifest| manifest.backend_info = info),
            Err(error) => coordinator.change(|manifest| {
                manifest.notes.push(format!("backend_info is from the start of the run: {error:#}"))
            }),
        }
    }
    if let Some(server) = &environment.server {
        match server.order_check().await {
            Ok(order_check) => {
                coordinator.change(|manifest| manifest.order_check = Some(order_check.with(manifest.order_check)))
            }
            Err(error) => {
                let note = format!("order check could not run: {error:#}");
                coordinator.progress.line(&note);
                coordinator.change(|manifest| {
                    manifest.order_check_skipped = true;
                    manifest.notes.push(note);
                });
            }
        }
    }
    environment.emulator.shut_down().await.context("stopping the emulator")
}
