//! The environment of cells: running nodes, the shop in the server's node, and an emulator that works there.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use model::Condition;
use model::messages::server::ServerEvent;
use model::settings;
use model::settings::{Offloads, Storage};
use protocol::limits;
use server::cli::ServeOptions;

use crate::backend::node_process::NodeProcess;
use crate::backend::{Backend, DEVICE, EnvironmentSpec, MEMORY_DIRECTORY, Node, NodeCommand, last_lines, log_tail};
use crate::emulator::{Emulator, EmulatorChoice, choose};
use crate::program::Program;
use crate::run::{RunRequest, probe_runner, programs, server_trace};
use crate::scenario::Scenario;
use crate::store::order_check::OrderCheck;
use crate::verify::probe_plan;
use crate::verify::probe_plan::ProbePlan;
use model::Cell;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const HEALTH_CHECK_TIMEOUT: &str = "3s";
/// Username of the shop's administrator.
pub(crate) const ADMIN: &str = "admin";
/// Environment variable with the administrator's password.
pub(crate) const ADMIN_PASSWORD: &str = "SHOP_ADMIN_PASSWORD";

/// A running environment.
pub(crate) struct Environment<'a> {
    /// Backend of the nodes.
    pub(crate) backend: &'a mut dyn Backend,
    /// Emulator, prepared.
    pub(crate) emulator: Box<dyn Emulator>,
    /// Why this emulator was selected.
    pub(crate) emulator_reason: String,
    /// Directory of its logs.
    pub(crate) logs: PathBuf,
    /// Generated for this run; for an external server, the value of [`ADMIN_PASSWORD`], if set.
    pub(crate) admin_password: Option<String>,
    /// Whether the server's node, and the database in it, was recreated during the run.
    pub(crate) server_was_recreated: bool,
    /// Orders acknowledged to clients in this environment so far.
    pub(crate) acknowledged_orders: i64,
    /// Whether all nodes run on this host, so that its CPU load is theirs.
    pub(crate) is_local: bool,
    /// Type of the file system with the shop's database.
    pub(crate) database_filesystem: Option<String>,
    /// Time to create network and nodes.
    pub(crate) node_startup: Duration,
    /// Version of the programs in the nodes.
    pub(crate) programs_version: String,
    /// `None` for an external server.
    shop: Option<NodeProcess>,
    scenario: Scenario,
}

impl<'a> Environment<'a> {
    /// Creates the nodes and starts shop and emulator. The caller must remove the nodes of `backend`, also after a
    /// failure.
    ///
    /// # Errors
    /// When any of them does not start.
    pub(crate) async fn start(
        backend: &'a mut dyn Backend,
        spec: &EnvironmentSpec,
        request: &RunRequest,
        cells: &[Cell],
        choice: EmulatorChoice,
    ) -> anyhow::Result<Environment<'a>> {
        let (scenario, logs) = (&request.scenario, spec.logs.clone());
        std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        let start = Instant::now();
        backend.up(spec).await.context("creating the nodes")?;
        let node_startup = start.elapsed();
        let programs_version = programs::check(backend).await?;
        tracing::debug!("server and {} clients started after {:.3} s", spec.clients, node_startup.as_secs_f64());
        let (shop, admin_password) = if backend.has_server() {
            let password = format!("{:016x}", getrandom::u64().context("cannot generate a random password")?);
            set_offloads(backend, scenario.server.offloads).await?;
            let shop = start_shop(backend, scenario, &password, &logs).await?;
            tracing::debug!("shop ready at {}", backend.shop().host);
            (Some(shop), Some(password))
        } else {
            (None, std::env::var(ADMIN_PASSWORD).ok().filter(|password| !password.is_empty()))
        };
        let conditions: Vec<Condition> = cells.iter().map(|cell| cell.condition).collect();
        let chosen = choose(backend, choice, &conditions, &logs, &spec.stop).await;
        let chosen = chosen.context("selecting the emulator")?;
        let (emulator, emulator_reason) = (chosen.emulator, chosen.why);
        let database_filesystem = match shop {
            Some(_) => Some(check_storage(backend, scenario.server.storage).await?),
            None => None,
        };
        Ok(Environment {
            is_local: backend.is_local().await,
            backend,
            emulator,
            emulator_reason,
            logs,
            admin_password,
            server_was_recreated: false,
            acknowledged_orders: 0,
            database_filesystem,
            node_startup,
            programs_version,
            shop,
            scenario: scenario.clone(),
        })
    }

    /// Checks that the shop still runs and responds.
    ///
    /// # Errors
    /// When it does not, with the last lines of its log.
    pub(crate) async fn check_shop(&self) -> anyhow::Result<()> {
        let Some(shop) = &self.shop else {
            return probe_runner::check_handshake(self.backend, self.backend.shop().shop_port).await;
        };
        if let Some(code) = shop.exit_status() {
            bail!("server exited with code {code}: {}", self.shop_log());
        }
        let check = ["ready", "--address", "127.0.0.1:5001", "--timeout", HEALTH_CHECK_TIMEOUT];
        let output = self.backend.exec(Node::Server, &NodeCommand::program(Program::ShopServer, check)).await?;
        if output.code != 0 {
            bail!("no response from the server within {HEALTH_CHECK_TIMEOUT}: {}", self.shop_log());
        }
        Ok(())
    }

    /// Returns the number of packets that the server's interface has sent, from its kernel's counters.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) async fn interface_packets(&self) -> anyhow::Result<u64> {
        let show = NodeCommand::installed("cat", ["/proc/net/dev"]);
        let shown = self.backend.exec(Node::Server, &show).await?.success(&show)?.stdout;
        packets_sent(&shown, DEVICE).with_context(|| format!("`{show}` does not list {DEVICE}"))
    }

    /// Resolves with an error when the shop exits. Never resolves for an external server, whose process is unknown.
    pub(crate) async fn shop_ended(&self) -> anyhow::Error {
        let Some(shop) = &self.shop else { return std::future::pending().await };
        let code = shop.ended().await;
        anyhow::anyhow!("server exited with code {code}: {}", self.shop_log())
    }

    /// Checks, for published ports, that no proxy terminates connections before the link: with a delay on the link, a
    /// TCP handshake must take at least as long.
    ///
    /// # Errors
    /// When a port accepts no connections, or there is a proxy.
    pub(crate) async fn check_direct_path(&mut self, baseline_rtt_ms: f64) -> anyhow::Result<()> {
        let shop = self.backend.shop();
        if shop.echo_port.is_none() {
            return Ok(());
        }
        for port in [shop.accounts_port, shop.shop_port] {
            probe_runner::check_handshake(self.backend, port).await?;
        }
        if self.shop.is_none() {
            return Ok(());
        }
        let trial = Condition { delay: "20ms".parse()?, ..Condition::BASELINE };
        self.emulator.apply(self.backend, &trial, 0).await.context("setting a delay for the path check")?;
        let measured = probe_runner::probe(self.backend, &ProbePlan::for_condition(&trial), &trial).await?;
        self.emulator
            .apply(self.backend, &Condition::BASELINE, 0)
            .await
            .context("removing the delay of the path check")?;
        match probe_plan::proxy_mismatch(&trial, baseline_rtt_ms, &measured) {
            Some(mismatch) => bail!(
                "{mismatch}; disable the userland proxy of the server's Docker Engine, so published ports use iptables"
            ),
            None => Ok(()),
        }
    }

    fn shop_log(&self) -> String {
        log_tail(&self.logs.join(SHOP_LOG))
    }

    /// Recreates the server's node, and starts shop and emulator in it.
    ///
    /// # Errors
    /// When any of them does not start.
    pub(crate) async fn recreate_server(&mut self) -> anyhow::Result<()> {
        // A failure to stop the emulator does not matter: it ends with the node.
        let _ = self.emulator.shut_down(self.backend).await;
        self.server_was_recreated = true;
        self.backend.recreate(Node::Server).await.context("recreating the server's node")?;
        set_offloads(self.backend, self.scenario.server.offloads).await?;
        let password = self.admin_password.as_deref().unwrap_or_default();
        self.shop = Some(start_shop(self.backend, &self.scenario, password, &self.logs).await?);
        self.emulator.prepare(self.backend, &self.logs).await.context("starting the emulator in the recreated node")
    }

    /// Checks stock against orders in the shop's database, and these against the acknowledged orders.
    ///
    /// # Errors
    /// When the check cannot run.
    pub(crate) async fn order_check(&self) -> anyhow::Result<OrderCheck> {
        let database = database(self.backend, self.scenario.server.storage);
        let check = NodeCommand::program(Program::ShopServer, ["check", "--database", &database]);
        // Exit code 1 means inconsistent: the report contains that, too.
        let output = self.backend.exec(Node::Server, &check).await?;
        let what = || format!("`{check}` exited with code {}: {}", output.code, last_lines(&output.stderr, 3));
        let report = serde_json::from_str(output.stdout.trim()).with_context(what)?;
        Ok(OrderCheck::new(self.acknowledged_orders, &report))
    }

    /// Removes the condition and stops the emulator. The nodes stay.
    ///
    /// # Errors
    /// When the emulator does not stop.
    pub(crate) async fn shut_down(&mut self) -> anyhow::Result<()> {
        self.emulator.shut_down(self.backend).await
    }
}

/// Returns the tenth number after an interface's name in `/proc/net/dev`: packets sent (proc(5)).
fn packets_sent(table: &str, interface: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'))?;
    line.split_whitespace().nth(9)?.parse().ok()
}

/// With offloads off, limits packets of the server's interface to one segment, and reads the limit back. TCP builds GSO
/// packets even after `ethtool -K … gso off`; it respects `gso_max_segs` (`sk_setup_caps` in the kernel's
/// net/core/sock.c).
async fn set_offloads(backend: &dyn Backend, offloads: Offloads) -> anyhow::Result<()> {
    if offloads == Offloads::On {
        return Ok(());
    }
    let set = NodeCommand::installed("ip", ["link", "set", "dev", DEVICE, "gso_max_segs", "1"]);
    backend.exec(Node::Server, &set).await?.success(&set).context("disabling segmentation offload")?;
    let show = NodeCommand::installed("ip", ["-d", "link", "show", "dev", DEVICE]);
    let shown = backend.exec(Node::Server, &show).await?.success(&show)?.stdout;
    let mut fields = shown.split_whitespace().skip_while(|field| *field != "gso_max_segs");
    if fields.nth(1) != Some("1") {
        bail!("segmentation offload is still on at the server: `{show}` does not show gso_max_segs 1");
    }
    Ok(())
}

const SHOP_LOG: &str = "server.log";

fn database_directory(backend: &dyn Backend, storage: Storage) -> String {
    let work_dir = backend.folder(Node::Server);
    match storage {
        Storage::Memory => format!("{work_dir}/{MEMORY_DIRECTORY}"),
        Storage::Disk => work_dir,
    }
}

fn database(backend: &dyn Backend, storage: Storage) -> String {
    format!("{}/shop.db", database_directory(backend, storage))
}

/// Returns the type of the file system with the database. Fails if the scenario requires a tmpfs and it is none.
async fn check_storage(backend: &dyn Backend, storage: Storage) -> anyhow::Result<String> {
    let directory = database_directory(backend, storage);
    let stat = NodeCommand::installed("stat", ["--file-system", "--format", "%T", &directory]);
    let filesystem = backend.exec(Node::Server, &stat).await?.success(&stat)?.stdout.trim().to_owned();
    if storage == Storage::Memory && filesystem != "tmpfs" {
        bail!("the shop's database is on {filesystem}, expected memory (tmpfs): `{stat}` in the server's node");
    }
    Ok(filesystem)
}

async fn start_shop(
    backend: &dyn Backend,
    scenario: &Scenario,
    admin_password: &str,
    logs: &std::path::Path,
) -> anyhow::Result<NodeProcess> {
    let listen = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let options = ServeOptions {
        database: database(backend, scenario.server.storage).into(),
        accounts_listen: listen(limits::ACCOUNTS_PORT),
        shop_listen: listen(limits::SHOP_PORT),
        echo_listen: Some(listen(limits::ECHO_PORT)),
        trace: Some(server_trace::path(backend).into()),
        admin_username: ADMIN.to_owned(),
        shop: scenario.shop.clone(),
        congestion_control: Some(scenario.server.congestion_control.clone()),
        ..settings::defaults()?
    };
    let config = serde_json::to_string(&options).context("the shop's configuration")?;
    let command = NodeCommand::program(Program::ShopServer, ["--config", &config]).env(ADMIN_PASSWORD, admin_password);
    let log = logs.join(SHOP_LOG);
    let mut shop = backend.spawn(Node::Server, &command, &log).await?;
    let ready: anyhow::Result<ServerEvent> = shop.first_event(START_TIMEOUT).await;
    ready.with_context(|| log_tail(&log))?;
    Ok(shop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_sent_are_the_tenth_number_of_the_interface() {
        let table = "Inter-|   Receive                |  Transmit\n face |bytes    packets errs drop\n    lo:    1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 1400 20 0 0 0 0 0 0 900 33 0 0 0 0 0 0\n";
        assert_eq!(packets_sent(table, "eth0"), Some(33));
        assert_eq!(packets_sent(table, "lo"), Some(10));
        assert_eq!(packets_sent(table, "eth1"), None);
    }
}
