//! `testbed run`: checks the flags, runs the scenario and reports the results.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;

use super::report::{ReportRequest, report};
use super::{INTERRUPTED, NOT_ALL_VERIFIED, check, clean, dry_run, interrupt};
use crate::backend::select::select_backend;
use crate::cli::{RunArgs, ShownArgs};
use crate::output::print_status;
use crate::run::{FinishedRun, PreviousRun, RunEnd, RunRequest, run};
use crate::store::manifest::Manifest;
use crate::store::run_id::new_run_id;
use crate::store::run_lock::RunLock;
use crate::usage::usage;

/// Reads the manifest of the run to repeat.
fn manifest_at(path: &Path) -> anyhow::Result<Manifest> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("reading '{}': expected the manifest.json of a run (results/<run-id>/manifest.json)", path.display())
    })?;
    Manifest::parse(&text).with_context(|| format!("invalid manifest '{}'", path.display()))
}

pub(super) fn command(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let arguments: Vec<String> = std::env::args().collect();
    tracing::debug!("testbed {}: {}", protocol::VERSION, arguments.join(" "));
    let previous = args.resume.as_deref().map(PreviousRun::open).transpose()?;
    let repeated = args.repeat.as_deref().map(manifest_at).transpose().map_err(usage)?;
    let resolved = args.resolve(previous.as_ref().map(PreviousRun::manifest).or(repeated.as_ref()))?;
    check::check(args, &resolved)?;
    if args.dry_run {
        dry_run::print(&resolved, previous.as_ref(), args.shown.format)?;
        return Ok(ExitCode::SUCCESS);
    }
    clean::before_run(&resolved.placement.docker_hosts)?;
    let run_id = previous.as_ref().map_or_else(new_run_id, |previous| Ok(previous.manifest().run_id.clone()))?;
    let lock = RunLock::take(&run_id)?;
    lock.record_docker_hosts(&resolved.placement.docker_hosts.all())?;
    // No other thread may exist here: a process can enter namespaces only while it has one thread.
    let selected = select_backend(&resolved.placement, lock.directory())?;
    let request = RunRequest {
        scenario: resolved.scenario,
        seed: resolved.seed,
        run_id,
        lock_dir: lock.directory().to_owned(),
        results: args.results.clone(),
        previous,
        emulator: resolved.emulator,
        jobs: args.jobs,
        backend_reason: selected.reason,
        placement: resolved.placement,
        started,
    };
    // `lock` lives until the run has ended: its directory is removed with it.
    let finished = selected.runtime.block_on(async {
        let stop = interrupt::listen()?;
        run(selected.backends, request, stop).await
    });
    // A pending read of stdin must not keep the process alive.
    selected.runtime.shutdown_background();
    conclude(finished?, &args.shown)
}

/// Reports the results, also of a run that failed or was interrupted, and returns the exit code.
fn conclude(finished: FinishedRun, shown: &ShownArgs) -> anyhow::Result<ExitCode> {
    let FinishedRun { directory, has_operations, end } = finished;
    if has_operations {
        report(&directory, &ReportRequest { graphs: shown.graphs.clone(), format: shown.format })?;
    }
    let path = directory.path().display();
    print_status(&format!("results: {path}"));
    Ok(match end? {
        RunEnd::Verified => ExitCode::SUCCESS,
        RunEnd::NotAllVerified => ExitCode::from(NOT_ALL_VERIFIED),
        RunEnd::Interrupted => {
            print_status(&format!("interrupted; to measure the missing cells: testbed run --resume {path}"));
            ExitCode::from(INTERRUPTED)
        }
    })
}
