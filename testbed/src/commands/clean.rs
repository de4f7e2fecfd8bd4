//! `testbed clean`: removes what killed drivers left, on this host and on all Docker hosts that are named. Namespaces need
//! no cleaning: they end with their driver.

use std::process::ExitCode;

use crate::backend::docker;
use crate::backend::docker::DockerHost;
use crate::backend::docker::stale::{self, CleanupReport};
use crate::backend::placement::DockerHostArgs;
use crate::backend::runtime;
use crate::host_info;
use crate::output::{complain, result, say};
use crate::store::run_lock::{LockState, lock_state, remove_dead_folders};

/// How sure one has to be that a driver is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CleanupMode {
    /// Its lock is there and free.
    Automatic,
    /// Its lock may also be missing: the user has asked.
    Manual,
}

/// `testbed clean`.
pub(super) fn when_asked(urls: &DockerHostArgs) -> anyhow::Result<ExitCode> {
    let cleaned = runtime()?.block_on(clean_everything(urls, CleanupMode::Manual));
    if cleaned.removed.is_empty() && cleaned.failures.is_empty() {
        result("nothing to remove");
    }
    for what in &cleaned.removed {
        result(&format!("removed {what}"));
    }
    for what in &cleaned.failures {
        complain(&format!("could not remove {what}"));
    }
    Ok(if cleaned.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Leftovers of dead runs are removed before a new one begins; a failure to do so is told, and no reason not to run.
pub(super) fn before_a_run(urls: &DockerHostArgs) -> anyhow::Result<()> {
    let cleaned = runtime()?.block_on(clean_everything(urls, CleanupMode::Automatic));
    if !cleaned.removed.is_empty() {
        say(&format!("removed what a killed run left: {}", cleaned.removed.join(", ")));
    }
    if !cleaned.failures.is_empty() {
        complain(&format!("could not remove: {}", cleaned.failures.join(", ")));
    }
    Ok(())
}

/// On this host's engine, if there is one, and all that are named.
async fn clean_everything(urls: &DockerHostArgs, care: CleanupMode) -> CleanupReport {
    let mut cleaned = CleanupReport::default();
    let mut docker_hosts = Vec::new();
    match docker::connect(None).await {
        Ok(docker_host) => docker_hosts.push(docker_host),
        Err(error) if care == CleanupMode::Manual => say(&format!("not looked at: {error:#}")),
        Err(_) => {}
    }
    for url in urls.all() {
        match docker::connect(Some(url)).await {
            Ok(docker_host) => docker_hosts.push(docker_host),
            Err(error) => cleaned.failures.push(format!("what may be on {url}: {error:#}")),
        }
    }
    clean(&docker_hosts, care, cleaned).await
}

/// Removes temporary folders and, on these engines, services, containers and networks of this host's dead runs.
async fn clean(docker_hosts: &[DockerHost], care: CleanupMode, mut cleaned: CleanupReport) -> CleanupReport {
    for docker_host in docker_hosts {
        // Containers first: a run is dead when its lock is free, and the folder with the lock goes last.
        let is_dead = |folder: &std::path::Path| match lock_state(folder) {
            LockState::Alive => false,
            LockState::Dead => true,
            LockState::Unknown => care == CleanupMode::Manual,
        };
        stale::remove(docker_host, &host_info::name(), is_dead, &mut cleaned).await;
    }
    let looked_at: Vec<&str> = docker_hosts.iter().map(DockerHost::url).collect();
    let (removed, failures) = remove_dead_folders(&looked_at);
    cleaned.removed.extend(removed);
    if care == CleanupMode::Manual {
        cleaned.failures.extend(failures);
    }
    cleaned
}
