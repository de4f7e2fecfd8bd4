//! Placement of a run's nodes: flags, which the manifest records.

use clap::{Args, ValueEnum};
use model::CertificateFingerprint;
use model::settings::Tls;
use protocol::limits;
use serde::{Deserialize, Serialize};

/// Why cells cannot run in parallel: external server, Swarm, published ports.
pub(crate) const ONE_LINK: &str = "there is one link, and its conditions are set manually";
pub(crate) const ONE_SWARM: &str = "a Swarm's tasks share all its hosts";
pub(crate) const PUBLISHED_ONCE: &str = "the server's ports are published once";

/// Requested backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

impl BackendChoice {
    /// Returns the choice that a manifest names.
    fn named(name: &str) -> Option<Self> {
        <Self as ValueEnum>::from_str(name, false).ok()
    }
}

/// Requested Docker hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct DockerHosts {
    /// Docker host of the server: unix:///PATH, tcp://HOST:PORT (TLS with DOCKER_TLS_VERIFY), https://HOST:PORT or
    /// ssh://USER@HOST, which may continue with :PORT and /SOCKET
    #[arg(long, value_name = "URL")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_docker_host: Option<String>,
    /// Docker hosts for the clients, assigned round-robin [default: the server's]
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) client_docker_host: Vec<String>,
}

impl DockerHosts {
    /// Returns whether none is requested.
    pub(crate) fn is_empty(&self) -> bool {
        self.server_docker_host.is_none() && self.client_docker_host.is_empty()
    }

    /// Returns all URLs, each once.
    pub(crate) fn all(&self) -> Vec<&str> {
        let mut all: Vec<&str> =
            self.server_docker_host.iter().chain(&self.client_docker_host).map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Requested placement of server and clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Placement")]
pub(crate) struct Placement {
    /// Where nodes run [default: auto, or the backend of the repeated run]
    #[arg(long, value_enum)]
    #[serde(skip)]
    pub(crate) backend: Option<BackendChoice>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) docker_hosts: DockerHosts,
    /// Address of the server's published ports [default: the host in --server-docker-host]
    #[arg(long, value_name = "HOST")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_address: Option<String>,
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_533), help = format!("First of \
          the three published ports: accounts, shop, and UDP echo for the probe [default: {}]", limits::ACCOUNTS_PORT))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) publish_port: Option<u16>,
    /// Use a shop already running on HOST; the run prints the commands that set each condition
    #[arg(long, value_name = "HOST", conflicts_with_all = ["server_docker_host", "server_address"])]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) external_server: Option<String>,
    /// With --external-server and --tls: fingerprint of the shop's certificate, as 'shop-server --tls' prints it
    #[arg(long, value_name = "sha256:HEX", requires = "external_server")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls_fingerprint: Option<CertificateFingerprint>,
}

impl Placement {
    /// Returns this placement if any flag of it is given, otherwise the one of a previous run and its backend.
    pub(crate) fn or_previous(self, previous: &Self, backend: &str) -> Self {
        if self != Self::default() {
            return self;
        }
        // With an external server, the backend is selected again: clients are containers or processes.
        let backend = BackendChoice::named(backend).filter(|_| previous.external_server.is_none());
        Self { backend, ..previous.clone() }
    }

    /// Checks that the certificate of an external shop with this encryption is known.
    ///
    /// # Errors
    /// It is not, or a certificate is given for clear text.
    pub(crate) fn check_tls(&self, tls: Tls) -> Result<(), &'static str> {
        match (tls.version(), self.tls_fingerprint) {
            (Some(_), None) if self.external_server.is_some() => {
                Err("--tls with --external-server needs --tls-fingerprint: 'shop-server --tls' prints it at its start")
            }
            (None, Some(_)) => Err("--tls-fingerprint needs --tls, or tls in the scenario's [shop]"),
            _ => Ok(()),
        }
    }

    /// Returns the requested backend.
    pub(crate) fn backend(&self) -> BackendChoice {
        self.backend.unwrap_or(BackendChoice::Auto)
    }

    /// Returns the first of the three published ports.
    pub(crate) fn first_port(&self) -> u16 {
        self.publish_port.unwrap_or(limits::ACCOUNTS_PORT)
    }

    /// Returns whether clients reach the server through ports that its host publishes.
    pub(crate) fn is_published(&self) -> bool {
        !self.docker_hosts.client_docker_host.is_empty() && self.backend() != BackendChoice::Swarm
    }

    /// Returns why cells cannot run in parallel, if so.
    pub(crate) fn sequential_reason(&self) -> Option<&'static str> {
        match self.backend() {
            _ if self.external_server.is_some() => Some(ONE_LINK),
            BackendChoice::Swarm => Some(ONE_SWARM),
            _ if self.is_published() => Some(PUBLISHED_ONCE),
            _ => None,
        }
    }
}
