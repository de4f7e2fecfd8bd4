//! The environment of cells: running nodes, the shop in the server's node, and an emulator that works there.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use model::{Cell, CertificateFingerprint, Condition};

use crate::backend::{Backend, EnvironmentSpec, NodeHandle};
use crate::emulator;
use crate::emulator::{Emulator, EmulatorChoice};
use crate::run::probe_runner;
use crate::run::programs;
use crate::run::server::{ADMIN_PASSWORD, Server};
use crate::scenario::Scenario;
use crate::verify::probe_plan;
use crate::verify::probe_plan::ProbePlan;

/// A running environment.
pub(super) struct Environment {
    /// Backend of the nodes.
    pub(super) backend: Rc<dyn Backend>,
    /// Server; `None` if it is external.
    pub(super) server: Option<Server>,
    /// Emulator, prepared.
    pub(super) emulator: Box<dyn Emulator>,
    /// Why this emulator was selected.
    pub(super) emulator_reason: String,
    /// Whether all nodes run on this host, so that its CPU load is theirs.
    pub(super) is_local: bool,
    /// Type of the file system with the shop's database; unknown for an external server.
    pub(super) database_filesystem: Option<String>,
    /// Time to create network and nodes.
    pub(super) node_startup: Duration,
    /// Version of the programs in the nodes.
    pub(super) programs_version: String,
    logs: PathBuf,
}

impl Environment {
    /// Creates the nodes and starts shop and emulator. The caller must remove the nodes of `backend`, also after a
    /// failure.
    ///
    /// # Errors
    /// When any of them does not start.
    pub(super) async fn start(
        backend: Rc<dyn Backend>,
        spec: &EnvironmentSpec,
        scenario: &Scenario,
        cells: &[Cell],
        choice: EmulatorChoice,
    ) -> anyhow::Result<Self> {
        let logs = spec.logs.clone();
        std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        let start = Instant::now();
        backend.up(spec).await.context("creating the nodes")?;
        let node_startup = start.elapsed();
        let server_node = NodeHandle::server(&backend);
        let programs_version = programs::check(backend.as_ref(), server_node.is_some()).await?;
        tracing::debug!("server and {} clients started after {:.3} s", spec.clients, node_startup.as_secs_f64());
        let server = match server_node {
            Some(node) => Some(Server::start(node, scenario, &logs).await?),
            None => None,
        };
        tracing::debug!("shop at {}", backend.shop().host);
        let (selected, database_filesystem) = match &server {
            Some(server) => {
                let conditions: Vec<Condition> = cells.iter().map(|cell| cell.condition).collect();
                let selected = emulator::select(&server.node, choice, &conditions, &logs).await;
                (selected.context("selecting the emulator")?, Some(server.check_storage().await?))
            }
            None => {
                let selected = emulator::manual(&backend.shop(), &logs, &spec.stop).await;
                (selected.context("selecting the emulator")?, None)
            }
        };
        Ok(Self {
            is_local: backend.is_local().await,
            backend,
            server,
            emulator: selected.emulator,
            emulator_reason: selected.reason,
            database_filesystem,
            node_startup,
            programs_version,
            logs,
        })
    }

    /// Returns the password of the shop's administrator, if known; for an external server, that of [`ADMIN_PASSWORD`].
    pub(super) fn admin_password(&self) -> Option<String> {
        match &self.server {
            Some(server) => Some(server.admin_password.clone()),
            None => std::env::var(ADMIN_PASSWORD).ok().filter(|password| !password.is_empty()),
        }
    }

    /// Returns the fingerprint of the shop's certificate, if connections are encrypted.
    pub(super) fn tls_fingerprint(&self) -> Option<CertificateFingerprint> {
        match &self.server {
            Some(server) => server.tls_fingerprint(),
            None => self.backend.shop().tls_fingerprint,
        }
    }

    /// Checks that the shop responds.
    ///
    /// # Errors
    /// When it does not.
    pub(super) async fn check_shop(&self) -> anyhow::Result<()> {
        match &self.server {
            Some(server) => server.check().await,
            None => probe_runner::check_handshake(self.backend.as_ref(), self.backend.shop().shop_port).await,
        }
    }

    /// Resolves with an error when the shop exits. Never resolves for an external server, whose process is unknown.
    pub(super) async fn shop_ended(&self) -> anyhow::Error {
        match &self.server {
            Some(server) => server.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Returns the CPU time of the server's node; `None` if it is unknown: the server is external, has exited, or is
    /// on another host.
    pub(super) async fn server_cpu_time(&self) -> Option<Duration> {
        self.server.as_ref()?.node.cpu_time().await.ok()
    }

    /// Checks, for published ports, that no proxy terminates connections before the link: with a delay on the link, a
    /// TCP handshake must take at least as long.
    ///
    /// # Errors
    /// When a port accepts no connections, or there is a proxy.
    pub(super) async fn check_direct_path(&mut self, baseline_rtt_ms: f64) -> anyhow::Result<()> {
        let (backend, shop) = (self.backend.as_ref(), self.backend.shop());
        if shop.echo_port.is_none() {
            return Ok(());
        }
        for port in [shop.accounts_port, shop.shop_port] {
            probe_runner::check_handshake(backend, port).await?;
        }
        if self.server.is_none() {
            return Ok(());
        }
        let trial = Condition { delay: "20ms".parse()?, ..Condition::BASELINE };
        self.emulator.apply(&trial, 0).await.context("setting a delay for the path check")?;
        let measured = probe_runner::probe(backend, &ProbePlan::for_condition(&trial), &trial).await?;
        self.emulator.apply(&Condition::BASELINE, 0).await.context("removing the delay of the path check")?;
        match probe_plan::proxy_mismatch(&trial, baseline_rtt_ms, &measured) {
            Some(mismatch) => bail!(
                "{mismatch}; disable the userland proxy of the server's Docker Engine, so published ports use iptables"
            ),
            None => Ok(()),
        }
    }

    /// Recreates the server, if it is not external, and starts the emulator in it.
    ///
    /// # Errors
    /// When any of them does not start.
    pub(super) async fn recreate_server(&mut self) -> anyhow::Result<()> {
        let Some(server) = &mut self.server else { return Ok(()) };
        // A failure to stop the emulator does not matter: it ends with the node.
        let _ = self.emulator.shut_down().await;
        server.recreate().await?;
        self.emulator.prepare(&self.logs).await.context("starting the emulator in the recreated node")
    }
}
