//! Removal of a run's resources on a Docker host.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::RemoveContainerOptionsBuilder;

/// Timeout for removed resources to disappear and to release others.
pub(super) const REMOVAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval between two checks.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Returns the filter for resources with this label (`name` or `name=value`).
pub(super) fn labelled(label: &str) -> Option<HashMap<String, Vec<String>>> {
    Some(HashMap::from([("label".to_owned(), vec![label.to_owned()])]))
}

/// Removes a container with its anonymous volumes, even if it is running. Succeeds if the daemon already removes it.
pub(super) async fn force_remove(docker: &Docker, name_or_id: &str) -> Result<(), Error> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match docker.remove_container(name_or_id, Some(options)).await {
        Err(Error::DockerResponseServerError { status_code: 409, message }) if message.contains("in progress") => {
            Ok(())
        }
        done => done,
    }
}

/// Removes a network. Retries while removed containers, in particular a service's tasks, are still connected.
pub(super) async fn remove_network(docker: &Docker, id: &str) -> Result<(), Error> {
    let deadline = Instant::now() + REMOVAL_TIMEOUT;
    loop {
        match docker.remove_network(id).await {
            Err(Error::DockerResponseServerError { status_code: 400..=403 | 409, .. }) if Instant::now() < deadline => {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            done => return done,
        }
    }
}

/// Returns whether an error reports that the resource does not exist.
pub(in crate::backend) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}
