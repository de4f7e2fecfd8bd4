//! Removing what a run made on an engine.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::RemoveContainerOptionsBuilder;

/// How long what was just removed may still be there, or hold on to something else.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// What lists things with this label, or label and value, only.
pub(super) fn labelled(label: &str) -> Option<HashMap<String, Vec<String>>> {
    Some(HashMap::from([("label".to_owned(), vec![label.to_owned()])]))
}

/// Removes a container, whatever it does, with its anonymous volumes. One that the engine is removing already is left
/// to it.
pub(super) async fn force_remove(docker: &Docker, name_or_id: &str) -> Result<(), Error> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match docker.remove_container(name_or_id, Some(options)).await {
        Err(Error::DockerResponseServerError { status_code: 409, message }) if message.contains("in progress") => {
            Ok(())
        }
        done => done,
    }
}

/// Removes a network; what was just removed may still be leaving it, above all a service's tasks.
pub(super) async fn remove_network(docker: &Docker, id: &str) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match docker.remove_network(id).await {
            Err(Error::DockerResponseServerError { status_code: 400..=403 | 409, .. }) if Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Whether an error only says that there is no such thing.
pub(in crate::backend) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}
