//! Finding and removing what killed drivers left on a Docker engine.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context;
use bollard::Docker;
use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions};

use super::{FOLDER_LABEL, HOST_LABEL, RUN_LABEL, force_remove, is_missing};
use crate::clean::Cleaned;

/// One thing that a driver made.
struct Leftover {
    /// Id that the engine knows it by.
    id: String,
    /// Name for messages.
    name: String,
    /// What it is labelled with.
    labels: HashMap<String, String>,
}

impl Leftover {
    /// Whether its driver ran on this host and lives no more. Nobody here can tell of another host's driver.
    fn is_dead(&self, host: &str, is_dead: impl Fn(&Path) -> bool) -> bool {
        let is_ours = self.labels.get(HOST_LABEL).is_some_and(|label| label == host);
        let folder = self.labels.get(FOLDER_LABEL);
        is_ours && folder.is_some_and(|folder| is_dead(Path::new(folder)))
    }
}

/// Removes containers and networks whose driver ran on `host`, this one, and whose folder `is_dead` says so of. Goes on
/// after a failure.
pub(crate) async fn remove(docker: &Docker, host: &str, is_dead: impl Fn(&Path) -> bool, cleaned: &mut Cleaned) {
    for (kind, listed) in [("container", containers(docker).await), ("network", networks(docker).await)] {
        let all = match listed {
            Ok(all) => all,
            Err(error) => {
                cleaned.failures.push(format!("{error:#}"));
                continue;
            }
        };
        for leftover in all.into_iter().filter(|leftover| leftover.is_dead(host, &is_dead)) {
            let what = format!("{kind} {}", leftover.name);
            let done = if kind == "container" {
                force_remove(docker, &leftover.id).await
            } else {
                docker.remove_network(&leftover.id).await
            };
            match done {
                Ok(()) => cleaned.removed.push(what),
                // Another driver has removed it meanwhile.
                Err(error) if is_missing(&error) => {}
                Err(error) => cleaned.failures.push(format!("{what}: {error}")),
            }
        }
    }
}

fn label_filter() -> Option<HashMap<String, Vec<String>>> {
    Some(HashMap::from([("label".to_owned(), vec![RUN_LABEL.to_owned()])]))
}

async fn containers(docker: &Docker) -> anyhow::Result<Vec<Leftover>> {
    let options = ListContainersOptions { all: true, filters: label_filter(), ..ListContainersOptions::default() };
    let listed = docker.list_containers(Some(options)).await.context("listing containers")?;
    let leftovers = listed.into_iter().filter_map(|container| {
        let name = container.names.unwrap_or_default().first()?.trim_start_matches('/').to_owned();
        Some(Leftover { id: container.id?, name, labels: container.labels? })
    });
    Ok(leftovers.collect())
}

async fn networks(docker: &Docker) -> anyhow::Result<Vec<Leftover>> {
    let listed = docker.list_networks(Some(ListNetworksOptions { filters: label_filter() })).await;
    let leftovers = listed
        .context("listing networks")?
        .into_iter()
        .filter_map(|network| Some(Leftover { id: network.id?, name: network.name?, labels: network.labels? }));
    Ok(leftovers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_driver_of_this_host_made_is_removed() {
        for (host, folder, dead, expected) in [
            ("here", Some("/tmp/testbed-1"), true, true),
            ("here", Some("/tmp/testbed-1"), false, false),
            ("elsewhere", Some("/tmp/testbed-1"), true, false),
            ("here", None, true, false),
        ] {
            let mut labels = HashMap::from([(HOST_LABEL.to_owned(), host.to_owned())]);
            labels.extend(folder.map(|folder| (FOLDER_LABEL.to_owned(), folder.to_owned())));
            let leftover = Leftover { id: String::new(), name: String::new(), labels };
            assert_eq!(leftover.is_dead("here", |_| dead), expected, "{host} {folder:?} {dead}");
        }
    }
}
