//! Runs a scenario: starts environments, measures the cells of the plan in them, and writes the results directory.

mod admission;
mod cell;
mod cell_context;
mod cell_line;
mod clients;
mod coordinator;
pub(crate) mod environment;
mod environment_loop;
mod environment_spec;
pub(crate) mod jobs;
mod live_counts;
mod probe_runner;
mod programs;
mod progress;
mod request;
mod resume;
mod server;
mod server_trace;

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::Context;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, BackendFactory};
use crate::host_info;
use crate::log;
use crate::output::{print_error, print_status};
use crate::placement::Placement;
use crate::scenario::plan;
use crate::store::manifest::{ConditionControl, Manifest, RunStatus, SHAPED_DIRECTION, notes};
use crate::store::run_directory::RunDirectory;
use crate::store::run_id::utc_now;
use coordinator::Coordinator;
use model::Cell;
pub(crate) use request::{FinishedRun, RunEnd, RunRequest};
pub(crate) use resume::PreviousRun;

/// Runs the scenario. Nodes are removed and results are saved, also after a failure or an interrupt.
///
/// # Errors
/// When the run cannot start. Later failures are in [`FinishedRun::end`].
pub(crate) async fn run(
    backends: BackendFactory,
    mut request: RunRequest,
    stop: CancellationToken,
) -> anyhow::Result<FinishedRun> {
    let cells = plan::cells(&request.scenario, request.seed);
    let environments = request.jobs.environments(cells.len(), backends.sequential_reason())?;
    let backends = backends.for_environments(environments);
    let first = backends.first().context("no backend")?;
    let backend = first.name();
    let manifest = first_manifest(first.as_ref(), &request, &cells).await?;
    let (directory, manifest, prior) = match request.previous.take() {
        Some(previous) => previous.resume(manifest)?,
        None => (RunDirectory::create(&request.results, &request.run_id)?, manifest, Default::default()),
    };
    directory.write_manifest(&manifest)?;
    log::write_to(&directory.logs())?;
    let coordinator = Coordinator::new(&request, directory, &cells, manifest, prior, stop.child_token());
    print_status(&format!("run {}: {} cells", request.run_id, coordinator.left()));
    print_status(&format!("backend {backend}"));
    tracing::debug!("{}", request.backend_reason);

    let ran = tokio::select! {
        ran = run_environments(&coordinator, backends) => ran,
        never = coordinator.progress.keep_drawing() => match never {},
    };
    coordinator.progress.finish();
    coordinator.write(|manifest| {
        manifest.ended = Some(utc_now());
        manifest.status = match &ran {
            _ if stop.is_cancelled() => RunStatus::Interrupted,
            Ok(()) => RunStatus::Completed,
            Err(_) => RunStatus::Failed,
        };
        manifest.failure = ran.as_ref().err().map(|error| format!("{error:#}"));
        manifest.max_parallel_cells = coordinator.admission.max_parallel();
    })?;
    let has_operations = coordinator.rows().iter().any(|row| row.operations > 0);
    let end = match ran {
        ran if stop.is_cancelled() => {
            ran.err().into_iter().for_each(|error| print_error(&format!("{error:#}")));
            Ok(RunEnd::Interrupted)
        }
        Ok(()) if coordinator.are_all_cells_reliable() && coordinator.orders_are_consistent() => Ok(RunEnd::Verified),
        Ok(()) => Ok(RunEnd::NotAllVerified),
        Err(error) => Err(error),
    };
    Ok(FinishedRun { directory: coordinator.directory, has_operations, end })
}

/// Runs all environments until they end; a failure of one stops all.
async fn run_environments(coordinator: &Coordinator<'_>, backends: Vec<Rc<dyn Backend>>) -> anyhow::Result<()> {
    let (first, _) = watch::channel(None);
    let runs = backends.into_iter().zip(1..).map(|(backend, number)| {
        let first = &first;
        async move {
            let ended = environment_loop::run_environment(coordinator, backend, number, first).await;
            if ended.is_err() {
                coordinator.stop.cancel();
            }
            ended
        }
    });
    let mut failures: Vec<anyhow::Error> = join_all(runs).await.into_iter().filter_map(Result::err).collect();
    coordinator.report_order_check();
    // The caller reports the one that is returned.
    let last = failures.pop();
    failures.iter().for_each(|failure| print_error(&format!("{failure:#}")));
    last.map_or(Ok(()), Err)
}

async fn first_manifest(backend: &dyn Backend, request: &RunRequest, cells: &[Cell]) -> anyhow::Result<Manifest> {
    let condition_control = match request.placement.external_server {
        Some(_) => ConditionControl::Manual,
        None => ConditionControl::Automatic,
    };
    Ok(Manifest {
        run_id: request.run_id.clone(),
        status: RunStatus::Incomplete,
        failure: None,
        started: utc_now(),
        ended: None,
        testbed_version: protocol::VERSION.to_owned(),
        programs_version: None,
        command_line: std::env::args().collect(),
        scenario: request.scenario.clone(),
        seed: request.seed,
        plan: cells.to_vec(),
        order: plan::order(cells, request.seed).into_iter().map(|index| cells[index].id.clone()).collect(),
        skipped_cells: Vec::new(),
        max_parallel_cells: 0,
        previous_attempts: Vec::new(),
        backend: backend.name().to_owned(),
        backend_reason: request.backend_reason.clone(),
        placement: Placement { backend: None, ..request.placement.clone() },
        backend_info: backend.info().await?,
        emulator: String::new(),
        emulator_reason: String::new(),
        shaped_direction: SHAPED_DIRECTION.to_owned(),
        sysctls: BTreeMap::new(),
        database_filesystem: None,
        host: host_info::info(),
        baseline_rtt_ms: None,
        setup_s: None,
        node_startup_s: None,
        order_check: None,
        order_check_skipped: false,
        notes: notes(&request.scenario, condition_control),
        condition_control,
    })
}
