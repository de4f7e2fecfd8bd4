//! URLs of Docker daemons: default and syntax check.

use crate::backend::docker::docker_host::DockerHost;
use crate::backend::docker::tunnel::Tunnel;

/// URL of the local daemon.
const DEFAULT_URL: &str = "unix:///var/run/docker.sock";

/// Returns `url`; without it, the environment variable `DOCKER_HOST`; without both, the URL of the local daemon.
pub(crate) fn url_or_default(url: Option<&str>) -> String {
    let from_environment = || std::env::var("DOCKER_HOST").ok().filter(|url| !url.is_empty());
    url.map(ToOwned::to_owned).or_else(from_environment).unwrap_or_else(|| DEFAULT_URL.to_owned())
}

/// Checks the syntax of a URL.
///
/// # Errors
/// The URL is invalid; the error states the accepted forms.
pub(crate) fn check_url(url: &str) -> anyhow::Result<()> {
    if url.starts_with("ssh:") { Tunnel::check(url) } else { DockerHost::unchecked(url).map(drop) }
}
