//! `testbed clean`: removes stale resources of killed runs, on this host and on the given Docker hosts. Namespaces need
//! no removal: they end with their driver.

use std::process::ExitCode;

use crate::backend::docker;
use crate::backend::docker::DockerHost;
use crate::backend::docker::stale::{self, CleanupReport};
use crate::backend::runtime;
use crate::host_info;
use crate::output::{print_error, print_status, result};
use crate::placement::DockerHosts;
use crate::store::run_lock::{LockState, lock_state, remove_stale_directories};

/// Criterion by which a driver counts as dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CleanupMode {
    /// Its lock exists and is free.
    Automatic,
    /// Its lock is free or missing: the user requested the removal.
    Manual,
}

/// Runs `testbed clean`.
pub(super) fn command(docker_hosts: &DockerHosts) -> anyhow::Result<ExitCode> {
    let report = runtime()?.block_on(clean_everything(docker_hosts, CleanupMode::Manual));
    if report.removed.is_empty() && report.failures.is_empty() {
        result("nothing to remove");
    }
    for what in &report.removed {
        result(&format!("removed {what}"));
    }
    for what in &report.failures {
        print_error(&format!("not removed: {what}"));
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Removes stale resources before a new run starts. Failures are reported and do not prevent the run.
pub(super) fn before_run(docker_hosts: &DockerHosts) -> anyhow::Result<()> {
    let report = runtime()?.block_on(clean_everything(docker_hosts, CleanupMode::Automatic));
    if !report.removed.is_empty() {
        print_status(&format!("removed stale resources of killed runs: {}", report.removed.join(", ")));
    }
    if !report.failures.is_empty() {
        print_error(&format!("not removed: {}", report.failures.join(", ")));
    }
    Ok(())
}

/// Cleans this host, its Docker Engine if it is reachable, and the given Docker hosts.
async fn clean_everything(docker_hosts: &DockerHosts, mode: CleanupMode) -> CleanupReport {
    let mut report = CleanupReport::default();
    let mut reachable = Vec::new();
    match docker::connect(None).await {
        Ok(docker_host) => reachable.push(docker_host),
        Err(error) if mode == CleanupMode::Manual => print_status(&format!("not checked: {error:#}")),
        Err(_) => {}
    }
    for url in docker_hosts.all() {
        match docker::connect(Some(url)).await {
            Ok(docker_host) => reachable.push(docker_host),
            Err(error) => report.failures.push(format!("stale resources on {url}: {error:#}")),
        }
    }
    clean(&reachable, mode, report).await
}

/// Removes temporary directories and, on these Docker hosts, services, containers and networks of this host's dead
/// runs.
async fn clean(docker_hosts: &[DockerHost], mode: CleanupMode, mut report: CleanupReport) -> CleanupReport {
    for docker_host in docker_hosts {
        // Containers first, the directory with the lock last: a free lock shows that the run is dead.
        let is_dead = |directory: &std::path::Path| match lock_state(directory) {
            LockState::Alive => false,
            LockState::Dead => true,
            LockState::Unknown => mode == CleanupMode::Manual,
        };
        stale::remove(docker_host, &host_info::name(), is_dead, &mut report).await;
    }
    let checked: Vec<&str> = docker_hosts.iter().map(DockerHost::url).collect();
    let (removed, failures) = remove_stale_directories(&checked);
    report.removed.extend(removed);
    if mode == CleanupMode::Manual {
        report.failures.extend(failures);
    }
    report
}
