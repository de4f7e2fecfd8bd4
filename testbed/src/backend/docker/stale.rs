//! Discovery and removal of resources that killed drivers left on a Docker host.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context;
use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions, ListServicesOptions};

use crate::backend::docker::docker_host::DockerHost;
use crate::backend::docker::remove::{force_remove, is_missing, labelled, remove_network};
use crate::backend::docker::{HOST_LABEL, LOCK_DIR_LABEL, RUN_LABEL};

/// Result of a cleanup, as text.
#[derive(Debug, Default)]
pub(crate) struct CleanupReport {
    /// Removed resources.
    pub(crate) removed: Vec<String>,
    /// Resources that were not removed, and the reasons.
    pub(crate) failures: Vec<String>,
}

/// Kinds of resources, in the order in which they can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Service,
    Container,
    Network,
}

impl Kind {
    const ALL: [(Kind, &'static str); 3] =
        [(Kind::Service, "service"), (Kind::Container, "container"), (Kind::Network, "network")];
}

/// A resource with a driver's labels.
struct Resource {
    /// Docker's id.
    id: String,
    /// Name for messages.
    name: String,
    /// All labels.
    labels: HashMap<String, String>,
}

impl Resource {
    /// Returns whether its driver ran on this host and has ended. Drivers of other hosts cannot be checked.
    fn is_dead(&self, host: &str, is_dead: impl Fn(&Path) -> bool) -> bool {
        let is_ours = self.labels.get(HOST_LABEL).is_some_and(|label| label == host);
        let directory = self.labels.get(LOCK_DIR_LABEL);
        is_ours && directory.is_some_and(|directory| is_dead(Path::new(directory)))
    }
}

/// Removes the resources of drivers on `host`, which is this host, for whose lock directory `is_dead` returns true.
/// Continues after a failure.
pub(crate) async fn remove(
    docker_host: &DockerHost,
    host: &str,
    is_dead: impl Fn(&Path) -> bool,
    report: &mut CleanupReport,
) {
    let docker = docker_host.docker();
    for (kind, kind_name) in Kind::ALL {
        let all = match list(docker, kind).await {
            Ok(all) => all,
            Err(error) => {
                report.failures.push(format!("{error:#}"));
                continue;
            }
        };
        for resource in all.into_iter().filter(|resource| resource.is_dead(host, &is_dead)) {
            let what = format!("{kind_name} {}", resource.name);
            match remove_one(docker, kind, &resource.id).await {
                Ok(()) => report.removed.push(what),
                // Another driver has removed it in the meantime, or only the Swarm's manager can remove it.
                Err(error) if is_missing(&error) || is_no_manager(&error) => {}
                Err(error) => report.failures.push(format!("{what}: {error}")),
            }
        }
    }
}

async fn list(docker: &Docker, kind: Kind) -> anyhow::Result<Vec<Resource>> {
    match kind {
        Kind::Service => services(docker).await,
        Kind::Container => containers(docker).await,
        Kind::Network => networks(docker).await,
    }
}

async fn remove_one(docker: &Docker, kind: Kind, id: &str) -> Result<(), Error> {
    match kind {
        Kind::Service => docker.delete_service(id).await,
        Kind::Container => force_remove(docker, id).await,
        Kind::Network => remove_network(docker, id).await,
    }
}

async fn services(docker: &Docker) -> anyhow::Result<Vec<Resource>> {
    let options = ListServicesOptions { filters: labelled(RUN_LABEL), ..ListServicesOptions::default() };
    let listed = match docker.list_services(Some(options)).await {
        Err(error) if is_no_manager(&error) => Vec::new(),
        listed => listed.context("listing services")?,
    };
    let resources = listed.into_iter().filter_map(|service| {
        let spec = service.spec?;
        Some(Resource { id: service.id?, name: spec.name?, labels: spec.labels? })
    });
    Ok(resources.collect())
}

/// Returns whether an error reports that the daemon is not a manager of a Swarm.
fn is_no_manager(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 503, .. })
}

async fn containers(docker: &Docker) -> anyhow::Result<Vec<Resource>> {
    let options = ListContainersOptions { all: true, filters: labelled(RUN_LABEL), ..ListContainersOptions::default() };
    let listed = docker.list_containers(Some(options)).await.context("listing containers")?;
    let resources = listed.into_iter().filter_map(|container| {
        let name = container.names.unwrap_or_default().first()?.trim_start_matches('/').to_owned();
        Some(Resource { id: container.id?, name, labels: container.labels? })
    });
    Ok(resources.collect())
}

async fn networks(docker: &Docker) -> anyhow::Result<Vec<Resource>> {
    let listed = docker.list_networks(Some(ListNetworksOptions { filters: labelled(RUN_LABEL) })).await;
    let resources = listed
        .context("listing networks")?
        .into_iter()
        .filter_map(|network| Some(Resource { id: network.id?, name: network.name?, labels: network.labels? }));
    Ok(resources.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_resources_of_dead_drivers_of_this_host_are_removed() {
        for (host, directory, dead, expected) in [
            ("here", Some("/tmp/testbed-1"), true, true),
            ("here", Some("/tmp/testbed-1"), false, false),
            ("elsewhere", Some("/tmp/testbed-1"), true, false),
            ("here", None, true, false),
        ] {
            let mut labels = HashMap::from([(HOST_LABEL.to_owned(), host.to_owned())]);
            labels.extend(directory.map(|directory| (LOCK_DIR_LABEL.to_owned(), directory.to_owned())));
            let resource = Resource { id: String::new(), name: String::new(), labels };
            assert_eq!(resource.is_dead("here", |_| dead), expected, "{host} {directory:?} {dead}");
        }
    }
}
