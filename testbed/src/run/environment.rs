//! The lab of a run: nodes that are up, the shop running in one of them, and an emulator that works there.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use model::Condition;
use model::messages::server::ServerEvent;
use protocol::limits;

use crate::backend::node_process::NodeProcess;
use crate::backend::{Backend, DEVICE, EnvironmentSpec, MEMORY_DIRECTORY, Node, NodeCommand, last_lines, log_tail};
use crate::emulator::{Emulator, EmulatorChoice, choose};
use crate::program::Program;
use crate::run::{RunRequest, probe_runner, programs, server_trace};
use crate::scenario::{Offloads, Scenario, Storage};
use crate::store::order_check::OrderCheck;
use crate::verify::probe_plan;
use crate::verify::probe_plan::ProbePlan;
use model::Cell;

/// How long the shop may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the shop may take to answer when it is asked whether it is well.
const ANSWER_TIMEOUT: &str = "3s";
/// The administrator of the testbed's shop.
pub(crate) const ADMIN: &str = "admin";
/// The environment variable that carries the administrator's password.
pub(crate) const ADMIN_PASSWORD: &str = "SHOP_ADMIN_PASSWORD";

/// What is up.
pub(crate) struct Environment<'a> {
    /// Where the nodes live.
    pub(crate) backend: &'a mut dyn Backend,
    /// What imposes conditions.
    pub(crate) emulator: Box<dyn Emulator>,
    /// Why that emulator.
    pub(crate) emulator_reason: String,
    /// Where logs go.
    pub(crate) logs: PathBuf,
    /// Made up for this run; for somebody else's shop what the environment says, if anything.
    pub(crate) admin_password: Option<String>,
    /// Whether the server's node, and the database in it, was replaced since the run began.
    pub(crate) server_was_renewed: bool,
    /// Orders that clients of this lab were promised so far.
    pub(crate) acknowledged_orders: i64,
    /// Whether this host's CPU is the nodes' CPU.
    pub(crate) is_here: bool,
    /// Kind of the file system that holds the shop's database.
    pub(crate) database_filesystem: Option<String>,
    /// How long it took to make network and nodes.
    pub(crate) nodes_up: Duration,
    /// Version of the programs in the nodes.
    pub(crate) programs: String,
    /// `None`: it is somebody else's.
    shop: Option<NodeProcess>,
    scenario: Scenario,
}

impl<'a> Environment<'a> {
    /// Brings nodes, shop and emulator up on `engine`; whoever calls takes the engine down, also after a failure.
    pub(crate) async fn up(
        backend: &'a mut dyn Backend,
        plan: &EnvironmentSpec,
        request: &RunRequest,
        cells: &[Cell],
        choice: EmulatorChoice,
    ) -> anyhow::Result<Environment<'a>> {
        let (scenario, logs) = (&request.scenario, plan.logs.clone());
        std::fs::create_dir_all(&logs).with_context(|| format!("making the folder {}", logs.display()))?;
        let began = Instant::now();
        backend.up(plan).await.context("setting up the nodes")?;
        let nodes_up = began.elapsed();
        let programs = programs::check(backend).await?;
        tracing::debug!("server and {} clients up after {:.3} s", plan.clients, nodes_up.as_secs_f64());
        let (shop, admin_password) = if backend.has_server() {
            let password = format!("{:016x}", getrandom::u64().context("no randomness for a password")?);
            set_offloads(backend, scenario.network.offloads).await?;
            let shop = start_shop(backend, scenario, &password, &logs).await?;
            tracing::debug!("shop ready at {}", backend.shop().host);
            (Some(shop), Some(password))
        } else {
            (None, std::env::var(ADMIN_PASSWORD).ok().filter(|password| !password.is_empty()))
        };
        let conditions: Vec<Condition> = cells.iter().map(|cell| cell.condition).collect();
        let chosen = choose(backend, choice, &conditions, &logs, &plan.stop).await;
        let chosen = chosen.context("choosing the link emulator")?;
        let (emulator, emulator_reason) = (chosen.emulator, chosen.why);
        let database_filesystem = match shop {
            Some(_) => Some(check_storage(backend, scenario.server.storage).await?),
            None => None,
        };
        Ok(Environment {
            is_here: backend.is_local().await,
            backend,
            emulator,
            emulator_reason,
            logs,
            admin_password,
            server_was_renewed: false,
            acknowledged_orders: 0,
            database_filesystem,
            nodes_up,
            programs,
            shop,
            scenario: scenario.clone(),
        })
    }

    /// Whether the shop still runs and answers.
    ///
    /// # Errors
    /// What is wrong, with its log's last lines.
    pub(crate) async fn check_shop(&self) -> anyhow::Result<()> {
        let Some(shop) = &self.shop else {
            return probe_runner::check_handshake(self.backend, self.backend.shop().shop_port).await;
        };
        if let Some(code) = shop.exit_status() {
            bail!("the server ended with exit code {code}: {}", self.shop_log());
        }
        let ask = ["ready", "--address", "127.0.0.1:5001", "--timeout", ANSWER_TIMEOUT];
        let answer = self.backend.exec(Node::Server, &NodeCommand::program(Program::ShopServer, ask)).await?;
        if answer.code != 0 {
            bail!("the server does not answer within {ANSWER_TIMEOUT}: {}", self.shop_log());
        }
        Ok(())
    }

    /// How many packets the server's device has sent so far, as its kernel counts them.
    ///
    /// # Errors
    /// When it does not tell.
    pub(crate) async fn device_packets(&self) -> anyhow::Result<u64> {
        let show = NodeCommand::installed("cat", ["/proc/net/dev"]);
        let shown = self.backend.exec(Node::Server, &show).await?.success(&show)?.stdout;
        packets_sent(&shown, DEVICE).with_context(|| format!("`{show}` does not tell of {DEVICE}"))
    }

    /// Resolves when the shop ends, which it should not. Nobody tells of somebody else's.
    pub(crate) async fn shop_ended(&self) -> anyhow::Error {
        let Some(shop) = &self.shop else { return std::future::pending().await };
        let code = shop.ended().await;
        anyhow::anyhow!("the server ended with exit code {code}: {}", self.shop_log())
    }

    /// Behind a published port, whether connections really go through the link and are not ended by a proxy before it:
    /// with a delay on the link, a handshake must take as long.
    ///
    /// # Errors
    /// When they don't.
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
        self.emulator.apply(self.backend, &trial, 0).await.context("trying a delay")?;
        let measured = probe_runner::probe(self.backend, &ProbePlan::for_condition(&trial), &trial).await?;
        self.emulator.apply(self.backend, &Condition::BASELINE, 0).await.context("ending the trial")?;
        match probe_plan::proxy_mismatch(&trial, baseline_rtt_ms, &measured) {
            Some(doubt) => bail!("{doubt}; on the server's engine, let published ports go through iptables"),
            None => Ok(()),
        }
    }

    fn shop_log(&self) -> String {
        log_tail(&self.logs.join(SHOP_LOG))
    }

    /// A new server node with a new shop, and the emulator started in it.
    pub(crate) async fn recreate_server(&mut self) -> anyhow::Result<()> {
        // The emulator's daemon goes with the node; a failure to stop it is no news.
        let _ = self.emulator.shut_down(self.backend).await;
        self.server_was_renewed = true;
        self.backend.recreate(Node::Server).await.context("renewing the server's node")?;
        set_offloads(self.backend, self.scenario.network.offloads).await?;
        let password = self.admin_password.as_deref().unwrap_or_default();
        self.shop = Some(start_shop(self.backend, &self.scenario, password, &self.logs).await?);
        self.emulator.prepare(self.backend, &self.logs).await.context("starting the emulator in the new node")
    }

    /// Stock against orders in the shop's database, and these against what clients were promised.
    pub(crate) async fn order_check(&self) -> anyhow::Result<OrderCheck> {
        let database = database(self.backend, self.scenario.server.storage);
        let verify = NodeCommand::program(Program::ShopServer, ["check", "--database", &database]);
        // Exit code 1 means inconsistent, which the line says, too.
        let output = self.backend.exec(Node::Server, &verify).await?;
        let words = || format!("`{verify}` exited {} and printed: {}", output.code, last_lines(&output.stderr, 3));
        let report = serde_json::from_str(output.stdout.trim()).with_context(words)?;
        Ok(OrderCheck::new(self.acknowledged_orders, &report))
    }

    /// Leaves the bare link and stops the emulator. Nodes are the engine's to remove.
    pub(crate) async fn shut_down(&mut self) -> anyhow::Result<()> {
        self.emulator.shut_down(self.backend).await
    }
}

/// The tenth number after a device's name in `/proc/net/dev`: packets sent (proc(5)).
fn packets_sent(table: &str, device: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'))?;
    line.split_whitespace().nth(9)?.parse().ok()
}

/// Has the server's device take one segment a packet, where that is wanted, and reads it back. TCP bundles segments for
/// it whatever `ethtool -K … gso off` says; `gso_max_segs` is what it keeps to (`sk_setup_caps` in the kernel's
/// net/core/sock.c).
async fn set_offloads(backend: &dyn Backend, offloads: Offloads) -> anyhow::Result<()> {
    if offloads == Offloads::On {
        return Ok(());
    }
    let set = NodeCommand::installed("ip", ["link", "set", "dev", DEVICE, "gso_max_segs", "1"]);
    backend.exec(Node::Server, &set).await?.success(&set).context("turning segmentation offload off")?;
    let show = NodeCommand::installed("ip", ["-d", "link", "show", "dev", DEVICE]);
    let shown = backend.exec(Node::Server, &show).await?.success(&show)?.stdout;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "gso_max_segs");
    if words.nth(1) != Some("1") {
        bail!("segmentation offload stays on at the server: `{show}` does not say gso_max_segs 1");
    }
    Ok(())
}

const SHOP_LOG: &str = "server.log";

fn database_folder(backend: &dyn Backend, storage: Storage) -> String {
    let folder = backend.folder(Node::Server);
    match storage {
        Storage::Memory => format!("{folder}/{MEMORY_DIRECTORY}"),
        Storage::Disk => folder,
    }
}

fn database(backend: &dyn Backend, storage: Storage) -> String {
    format!("{}/shop.db", database_folder(backend, storage))
}

/// The kind of the file system that holds the database, which must be a tmpfs if the scenario says so.
async fn check_storage(backend: &dyn Backend, storage: Storage) -> anyhow::Result<String> {
    let folder = database_folder(backend, storage);
    let stat = NodeCommand::installed("stat", ["--file-system", "--format", "%T", &folder]);
    let kind = backend.exec(Node::Server, &stat).await?.success(&stat)?.stdout.trim().to_owned();
    if storage == Storage::Memory && kind != "tmpfs" {
        bail!("the shop's database is on {kind}, not in memory (tmpfs) as asked: `{stat}` in the server's node");
    }
    Ok(kind)
}

async fn start_shop(
    backend: &dyn Backend,
    scenario: &Scenario,
    admin_password: &str,
    logs: &std::path::Path,
) -> anyhow::Result<NodeProcess> {
    let settings = &scenario.server;
    let options = [
        ("--database", database(backend, settings.storage)),
        ("--accounts-listen", format!("0.0.0.0:{}", limits::ACCOUNTS_PORT)),
        ("--shop-listen", format!("0.0.0.0:{}", limits::SHOP_PORT)),
        ("--trace", server_trace::path(backend)),
        ("--echo-listen", format!("0.0.0.0:{}", limits::ECHO_PORT)),
        ("--admin-username", ADMIN.to_owned()),
        ("--catalogue", "demo".to_owned()),
        ("--catalogue-stock", settings.catalogue_stock.to_string()),
        ("--password-memory-kib", settings.password_memory_kib.to_string()),
        ("--password-iterations", settings.password_iterations.to_string()),
        ("--durability", settings.durability.clone()),
        ("--congestion-control", scenario.network.congestion_control.clone()),
    ];
    let arguments = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let command = NodeCommand::program(Program::ShopServer, arguments).env(ADMIN_PASSWORD, admin_password);
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
    fn packets_sent_are_the_tenth_number_of_the_device() {
        let table = "Inter-|   Receive                |  Transmit\n face |bytes    packets errs drop\n    lo:    1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 1400 20 0 0 0 0 0 0 900 33 0 0 0 0 0 0\n";
        assert_eq!(packets_sent(table, "eth0"), Some(33));
        assert_eq!(packets_sent(table, "lo"), Some(10));
        assert_eq!(packets_sent(table, "eth1"), None);
    }
}
