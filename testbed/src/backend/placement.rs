//! Checks of the requested placement that need no backend.

use anyhow::Context;

use crate::backend::docker;
use crate::placement::{BackendChoice, Placement};
use crate::usage::{bail_usage, usage};

/// Checks which placement flags conflict, and the syntax of URLs.
///
/// # Errors
/// A usage error that names the flags.
pub(crate) fn check(placement: &Placement) -> anyhow::Result<()> {
    for url in placement.docker_hosts.all() {
        docker::check_url(url).map_err(usage)?;
    }
    match (&placement.external_server, placement.backend()) {
        (Some(host), BackendChoice::Netns | BackendChoice::Swarm) => bail_usage!(
            "--external-server {host}: clients are containers or processes on this host: omit --backend, or use \
             --backend docker"
        ),
        (Some(_), _) => return Ok(()),
        (None, BackendChoice::Swarm) if !placement.docker_hosts.client_docker_host.is_empty() => bail_usage!(
            "--backend swarm assigns clients to hosts itself: omit --client-docker-host (--server-docker-host names a \
             manager)"
        ),
        (None, BackendChoice::Netns) if !placement.docker_hosts.is_empty() => bail_usage!(
            "--backend netns conflicts with --server-docker-host and --client-docker-host: omit one or the other"
        ),
        (None, _) => {}
    }
    if placement.is_published() {
        return published_address(placement).map(drop).map_err(usage);
    }
    if placement.server_address.is_some() || placement.publish_port.is_some() {
        bail_usage!(
            "--server-address and --publish-port require --client-docker-host or --external-server: otherwise no port \
             is published"
        );
    }
    Ok(())
}

/// Returns the address at which clients reach the server's published ports.
///
/// # Errors
/// When neither --server-address nor the URL of the server's Docker host contains it.
pub(super) fn published_address(placement: &Placement) -> anyhow::Result<String> {
    let url = docker::url_or_default(placement.docker_hosts.server_docker_host.as_deref());
    placement
        .server_address
        .clone()
        .or_else(|| host_in(&url))
        .with_context(|| format!("{url}: the address of the server's ports is unknown: give --server-address"))
}

/// Returns the host in a URL: `tcp://192.0.2.1:2375` → `192.0.2.1`.
fn host_in(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split(['/', ':']).next()?;
    // Environments are IPv4 only.
    let is_ipv6 = host.starts_with('[');
    (scheme != "unix" && !host.is_empty() && !is_ipv6).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_address_is_the_host_of_its_docker_host_unless_that_is_a_socket() {
        for (url, expected) in [
            ("tcp://192.0.2.1:2375", Some("192.0.2.1")),
            ("ssh://user@vm-a:22", Some("vm-a")),
            ("https://vm-a", Some("vm-a")),
            ("tcp://[fd00::1]:2375", None),
            ("unix:///run/docker.sock", None),
        ] {
            assert_eq!(host_in(url).as_deref(), expected, "{url}");
        }
    }
}
