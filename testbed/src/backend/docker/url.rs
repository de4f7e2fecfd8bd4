//! URLs of Docker engines: which one is meant, and whether its form is right.

use crate::backend::docker::docker_host::DockerHost;
use crate::backend::docker::tunnel::Tunnel;

/// What a site is called that the user did not name.
const DEFAULT_URL: &str = "unix:///var/run/docker.sock";

/// Returns `url`, or that of the engine that the environment names (DOCKER_HOST), or that of the local one.
pub(crate) fn url_or_default(url: Option<&str>) -> String {
    let from_environment = || std::env::var("DOCKER_HOST").ok().filter(|url| !url.is_empty());
    url.map(ToOwned::to_owned).or_else(from_environment).unwrap_or_else(|| DEFAULT_URL.to_owned())
}

/// Checks the form of an engine's URL.
///
/// # Errors
/// Names the forms that there are.
pub(crate) fn check_url(url: &str) -> anyhow::Result<()> {
    if url.starts_with("ssh:") { Tunnel::check(url) } else { DockerHost::unchecked(url).map(drop) }
}
