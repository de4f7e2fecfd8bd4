//! Finding and removing what killed drivers left on a Docker engine.

use std::collections::HashMap;

use anyhow::Context;
use bollard::Docker;
use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions, RemoveContainerOptionsBuilder};

use super::RUN_LABEL;

/// One thing with the run's label.
struct Leftover {
    /// Id that the engine knows it by.
    id: String,
    /// Name for messages.
    name: String,
    /// The run that made it.
    run_id: String,
}

/// Removes containers and networks of runs that `is_alive` does not vouch for.
///
/// Returns what was removed, in words.
pub(crate) async fn remove(docker: &Docker, is_alive: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    let mut removed = Vec::new();
    let dead = |leftovers: Vec<Leftover>| leftovers.into_iter().filter(|leftover| !is_alive(&leftover.run_id));
    for container in dead(containers(docker).await?) {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let done = docker.remove_container(&container.id, Some(options)).await;
        done.with_context(|| format!("removing the container {}", container.name))?;
        removed.push(format!("container {}", container.name));
    }
    for network in dead(networks(docker).await?) {
        let done = docker.remove_network(&network.id).await;
        done.with_context(|| format!("removing the network {}", network.name))?;
        removed.push(format!("network {}", network.name));
    }
    Ok(removed)
}

fn label_filter() -> Option<HashMap<String, Vec<String>>> {
    Some(HashMap::from([("label".to_owned(), vec![RUN_LABEL.to_owned()])]))
}

async fn containers(docker: &Docker) -> anyhow::Result<Vec<Leftover>> {
    let options = ListContainersOptions { all: true, filters: label_filter(), ..ListContainersOptions::default() };
    let listed = docker.list_containers(Some(options)).await.context("listing containers")?;
    let leftovers = listed.into_iter().filter_map(|container| {
        let name = container.names.unwrap_or_default().first()?.trim_start_matches('/').to_owned();
        let run_id = container.labels?.remove(RUN_LABEL)?;
        Some(Leftover { id: container.id?, name, run_id })
    });
    Ok(leftovers.collect())
}

async fn networks(docker: &Docker) -> anyhow::Result<Vec<Leftover>> {
    let listed = docker.list_networks(Some(ListNetworksOptions { filters: label_filter() })).await;
    let leftovers = listed.context("listing networks")?.into_iter().filter_map(|network| {
        let run_id = network.labels?.remove(RUN_LABEL)?;
        Some(Leftover { id: network.id?, name: network.name?, run_id })
    });
    Ok(leftovers.collect())
}
