//! `testbed clean`: removes what killed drivers left. Namespaces need no cleaning: they end with their driver.

use anyhow::Context;
use bollard::Docker;

use crate::engine::docker::leftovers;
use crate::host;
use crate::run_id::{is_alive, remove_dead_folders};

/// Removes temporary folders and, where there is an engine, containers and networks of dead runs. Returns what was
/// removed, in words.
pub(crate) async fn clean(docker: Option<&Docker>) -> anyhow::Result<Vec<String>> {
    let mut removed = Vec::new();
    if let Some(docker) = docker {
        // Containers first: a run is dead when its lock is free, and the folder with the lock goes last.
        removed.extend(leftovers::remove(docker, &host::name(), is_alive).await.context("cleaning the Docker engine")?);
    }
    removed.extend(remove_dead_folders().context("cleaning temporary folders")?);
    Ok(removed)
}
