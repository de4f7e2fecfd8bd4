//! The flags that say where nodes are, and which of them go together.

use anyhow::Context;
use clap::Args;
use protocol::limits;

use crate::backend::docker;
use crate::store::manifest::{Manifest, Placement};
use crate::usage::{bail_usage, usage};

/// Why cells cannot run in parallel: with --external-server, in a Swarm, and behind published ports.
pub(crate) const ONE_LINK: &str = "there is one link, and its conditions are set manually";
pub(crate) const ONE_SWARM: &str = "a Swarm's tasks share all its hosts";
pub(crate) const PUBLISHED_ONCE: &str = "the server's ports are published once";

/// The user's choice of engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BackendChoice {
    /// Docker if the daemon is reachable and has the images, otherwise namespaces.
    Auto,
    /// Containers on the local Docker host, or on DOCKER_HOST.
    Docker,
    /// Network namespaces on this host.
    Netns,
    /// Tasks on all hosts of the Swarm that the Docker host (or --server-docker-host) manages.
    Swarm,
}

/// Docker engines that the user names.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DockerHostArgs {
    /// Docker host of the server: unix:///PATH, tcp://HOST:PORT (TLS with DOCKER_TLS_VERIFY), https://HOST:PORT or
    /// ssh://USER@HOST, which may continue with :PORT and /SOCKET
    #[arg(long, value_name = "URL")]
    pub(crate) server_docker_host: Option<String>,
    /// Docker hosts for the clients, assigned round-robin [default: the server's]
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub(crate) client_docker_host: Vec<String>,
}

/// Where server and clients live.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Placement")]
pub(crate) struct PlacementArgs {
    /// Where nodes run [default: auto, or that of the repeated run]
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendChoice>,
    #[command(flatten)]
    pub(crate) urls: DockerHostArgs,
    /// Address of the server's published ports [default: the host in --server-docker-host]
    #[arg(long, value_name = "HOST")]
    server_address: Option<String>,
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_533), help = format!("First of the three published ports: accounts, shop, and UDP echo \
          for the probe [default: {}]", limits::ACCOUNTS_PORT))]
    publish_port: Option<u16>,
    /// Use a shop already running on HOST; the run prints the commands that set each condition
    #[arg(long, value_name = "HOST", conflicts_with_all = ["server_docker_host", "server_address"])]
    pub(crate) external_server: Option<String>,
}

impl BackendChoice {
    /// The one that a manifest names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        <Self as clap::ValueEnum>::from_str(name, false).ok()
    }
}

impl PlacementArgs {
    /// What the user named, for the manifest.
    pub(crate) fn named(&self) -> Placement {
        let DockerHostArgs { server_docker_host, client_docker_host } = self.urls.clone();
        Placement {
            server_docker_host,
            client_docker_host,
            server_address: self.server_address.clone(),
            publish_port: self.publish_port,
            external_server: self.external_server.clone(),
        }
    }

    /// This place if the user named any, else that of an earlier run.
    pub(crate) fn or_that_of(mut self, earlier: &Manifest) -> Self {
        if self.named() == Placement::default() && self.backend.is_none() {
            let Placement { server_docker_host, client_docker_host, server_address, publish_port, external_server } =
                earlier.placement.clone();
            // Clients that are processes have no engine to be asked for: what there is decides again.
            let backend = BackendChoice::named(&earlier.backend).filter(|_| external_server.is_none());
            self = Self {
                backend,
                urls: DockerHostArgs { server_docker_host, client_docker_host },
                server_address,
                publish_port,
                external_server,
            };
        }
        self
    }

    pub(crate) fn backend(&self) -> BackendChoice {
        self.backend.unwrap_or(BackendChoice::Auto)
    }

    pub(crate) fn first_port(&self) -> u16 {
        self.publish_port.unwrap_or(limits::ACCOUNTS_PORT)
    }

    /// Whether clients reach the server by ports that its host publishes.
    fn is_published(&self) -> bool {
        !self.urls.client_docker_host.is_empty() && self.backend() != BackendChoice::Swarm
    }

    /// Why cells cannot run in parallel with these flags, if so.
    pub(crate) fn sequential_reason(&self) -> Option<&'static str> {
        match self.backend() {
            _ if self.external_server.is_some() => Some(ONE_LINK),
            BackendChoice::Swarm => Some(ONE_SWARM),
            _ if self.is_published() => Some(PUBLISHED_ONCE),
            _ => None,
        }
    }

    /// Checks which flags go together, and the form of URLs. Needs no engine.
    ///
    /// # Errors
    /// A usage error that names the flags.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for url in self.urls.all() {
            docker::check_url(url).map_err(usage)?;
        }
        match (&self.external_server, self.backend()) {
            (Some(host), BackendChoice::Netns | BackendChoice::Swarm) => bail_usage!(
                "--external-server {host}: clients are containers or processes on this host: omit --backend, or use --backend docker"
            ),
            (Some(_), _) => return Ok(()),
            (None, BackendChoice::Swarm) if !self.urls.client_docker_host.is_empty() => bail_usage!(
                "--backend swarm places clients by itself: omit --client-docker-host (--server-docker-host names a manager)"
            ),
            (None, BackendChoice::Netns) if !self.urls.is_empty() => {
                bail_usage!(
                    "--backend netns conflicts with --server-docker-host and --client-docker-host: omit one or the other"
                )
            }
            (None, _) => {}
        }
        if self.is_published() {
            return self.published_address().map(drop).map_err(usage);
        }
        if self.server_address.is_some() || self.publish_port.is_some() {
            bail_usage!(
                "--server-address and --publish-port require --client-docker-host or --external-server: otherwise no port is published"
            );
        }
        Ok(())
    }

    /// Where clients reach the server's published ports.
    ///
    /// # Errors
    /// When neither --server-address nor the URL of the server's Docker host contains it.
    pub(crate) fn published_address(&self) -> anyhow::Result<String> {
        let url = docker::url_or_default(self.urls.server_docker_host.as_deref());
        self.server_address
            .clone()
            .or_else(|| host_in(&url))
            .with_context(|| format!("{url}: the address of the server's ports is unknown: give --server-address"))
    }
}

impl DockerHostArgs {
    pub(crate) fn is_empty(&self) -> bool {
        self.server_docker_host.is_none() && self.client_docker_host.is_empty()
    }

    /// All that are named, each once.
    pub(crate) fn all(&self) -> Vec<&str> {
        let mut all: Vec<&str> =
            self.server_docker_host.iter().chain(&self.client_docker_host).map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// `tcp://192.0.2.1:2375` → `192.0.2.1`.
fn host_in(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split(['/', ':']).next()?;
    // An IPv6 address can't be the server's: the testbed is IPv4 only.
    let is_ipv6 = host.starts_with('[');
    (scheme != "unix" && !host.is_empty() && !is_ipv6).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_address_is_that_of_its_engine_unless_that_is_a_socket() {
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
