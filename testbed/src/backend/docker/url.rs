//! Default URL of the Docker daemon.

/// URL of the local daemon.
const DEFAULT_URL: &str = "unix:///var/run/docker.sock";

/// Returns `url`; without it, the environment variable `DOCKER_HOST`; without both, the URL of the local daemon.
pub(crate) fn url_or_default(url: Option<&str>) -> String {
    let from_environment = || std::env::var("DOCKER_HOST").ok().filter(|url| !url.is_empty());
    url.map(ToOwned::to_owned).or_else(from_environment).unwrap_or_else(|| DEFAULT_URL.to_owned())
}
