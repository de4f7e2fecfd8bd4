//! The server's node with the shop in it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use model::messages::server::ServerEvent;
use model::settings;
use model::settings::{Offloads, Storage};
use model::{CertificateFingerprint, TraceRow};
use protocol::limits;
use server::cli::ServeOptions;

use crate::backend::node_process::NodeProcess;
use crate::backend::{DEVICE, MEMORY_DIRECTORY, NodeCommand, NodeHandle, last_lines, log_tail};
use crate::program::Program;
use crate::scenario::Scenario;
use crate::store::order_check::OrderCheck;
use crate::store::server_metrics::ServerMetrics;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const HEALTH_CHECK_TIMEOUT: &str = "3s";
/// Username of the shop's administrator.
pub(super) const ADMIN: &str = "admin";
/// Environment variable with the administrator's password.
pub(super) const ADMIN_PASSWORD: &str = "SHOP_ADMIN_PASSWORD";

/// The server of an environment.
pub(super) struct Server {
    /// Its node.
    pub(super) node: NodeHandle,
    /// Orders acknowledged to clients so far.
    pub(super) acknowledged_orders: i64,
    /// Password of the shop's administrator, generated for this environment.
    pub(super) admin_password: String,
    shop: Shop,
    scenario: Scenario,
    log: PathBuf,
    /// Whether the node, and the database in it, was recreated.
    was_recreated: bool,
}

/// Running shop.
struct Shop {
    process: NodeProcess,
    /// Address of its metrics in the node.
    metrics: SocketAddr,
    /// Fingerprint of its certificate, if connections are encrypted.
    tls_fingerprint: Option<CertificateFingerprint>,
}

impl Server {
    /// Configures the node and starts the shop in it.
    ///
    /// # Errors
    /// When the shop does not start.
    pub(super) async fn start(node: NodeHandle, scenario: &Scenario, logs: &Path) -> anyhow::Result<Self> {
        let admin_password = format!("{:016x}", getrandom::u64().context("cannot generate a random password")?);
        let log = logs.join("server.log");
        let shop = start_shop(&node, scenario, &admin_password, &log).await?;
        Ok(Self {
            node,
            acknowledged_orders: 0,
            shop,
            scenario: scenario.clone(),
            admin_password,
            log,
            was_recreated: false,
        })
    }

    /// Recreates the node and starts the shop in it, with a new database.
    ///
    /// # Errors
    /// When the node cannot be recreated, or the shop does not start.
    pub(super) async fn recreate(&mut self) -> anyhow::Result<()> {
        self.was_recreated = true;
        self.node.recreate().await.context("recreating the server's node")?;
        self.shop = start_shop(&self.node, &self.scenario, &self.admin_password, &self.log).await?;
        Ok(())
    }

    /// Checks that the shop is running and responds.
    ///
    /// # Errors
    /// When it does not, with the last lines of its log.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        if let Some(code) = self.shop.process.exit_status() {
            return Err(self.exit_error(code));
        }
        let tls = format!("--tls={}", settings::value_name(&self.scenario.shop.tls));
        let ready = ["ready", "--address", "127.0.0.1:5001", "--timeout", HEALTH_CHECK_TIMEOUT, &tls];
        let output = self.node.exec(&NodeCommand::program(Program::ShopServer, ready)).await?;
        if output.code != 0 {
            bail!("no response from the server within {HEALTH_CHECK_TIMEOUT}: {}", log_tail(&self.log));
        }
        Ok(())
    }

    /// Resolves with an error when the shop exits.
    pub(super) async fn ended(&self) -> anyhow::Error {
        self.exit_error(self.shop.process.ended().await)
    }

    fn exit_error(&self, code: i64) -> anyhow::Error {
        anyhow::anyhow!("server exited with code {code}: {}", log_tail(&self.log))
    }

    /// Returns the number of packets that the server's interface has sent, from its kernel's counters.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) async fn interface_packets(&self) -> anyhow::Result<u64> {
        let show = NodeCommand::installed("cat", ["/proc/net/dev"]);
        let shown = self.node.run(&show).await?.stdout;
        packets_sent(&shown, DEVICE).with_context(|| format!("`{show}` does not list {DEVICE}"))
    }

    /// Returns the fingerprint of the shop's certificate, if connections are encrypted.
    pub(super) fn tls_fingerprint(&self) -> Option<CertificateFingerprint> {
        self.shop.tls_fingerprint
    }

    /// Returns the shop's metrics.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) async fn metrics(&self) -> anyhow::Result<ServerMetrics> {
        let address = self.shop.metrics.to_string();
        let print = NodeCommand::program(Program::ShopServer, ["metrics", "--address", &address]);
        ServerMetrics::parse(&self.node.run(&print).await?.stdout)
    }

    /// Returns the rows of the server trace since the last call.
    ///
    /// # Errors
    /// When they cannot be fetched or parsed.
    pub(super) async fn take_trace(&self) -> anyhow::Result<Vec<TraceRow>> {
        let path = trace_file(&self.node);
        let taken = format!("{path}.taken");
        // The server continues in a new file.
        let renamed = self.node.exec(&NodeCommand::installed("mv", [&path, &taken])).await?;
        if renamed.code != 0 {
            // There is no file: no row has been written since the last call.
            return Ok(Vec::new());
        }
        let csv = self.node.get_file(&taken).await.context("fetching the server trace")?;
        let rows: Result<_, _> = csv::Reader::from_reader(csv.as_slice()).deserialize().collect();
        rows.context("parsing the server trace")
    }

    /// Checks stock against orders in the shop's database, and these against the acknowledged orders.
    ///
    /// # Errors
    /// When the check cannot run.
    pub(super) async fn order_check(&self) -> anyhow::Result<OrderCheck> {
        if self.was_recreated {
            bail!("the server was recreated, which removed its first database");
        }
        let database = database(&self.node, self.scenario.server.storage);
        let check = NodeCommand::program(Program::ShopServer, ["check", "--database", &database]);
        // Exit code 1 means inconsistent: the report states that, too.
        let output = self.node.exec(&check).await?;
        let what = || format!("`{check}` exited with code {}: {}", output.code, last_lines(&output.stderr, 3));
        let report = serde_json::from_str(output.stdout.trim()).with_context(what)?;
        Ok(OrderCheck::new(self.acknowledged_orders, &report))
    }

    /// Returns the type of the file system with the database.
    ///
    /// # Errors
    /// When it is not a tmpfs although the scenario requires storage in memory.
    pub(super) async fn check_storage(&self) -> anyhow::Result<String> {
        let storage = self.scenario.server.storage;
        let directory = database_directory(&self.node, storage);
        let stat = NodeCommand::installed("stat", ["--file-system", "--format", "%T", &directory]);
        let filesystem = self.node.run(&stat).await?.stdout.trim().to_owned();
        if storage == Storage::Memory && filesystem != "tmpfs" {
            bail!("the shop's database is on {filesystem}, expected memory (tmpfs): `{stat}` in the server's node");
        }
        Ok(filesystem)
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
async fn set_offloads(node: &NodeHandle, offloads: Offloads) -> anyhow::Result<()> {
    if offloads == Offloads::On {
        return Ok(());
    }
    let set = NodeCommand::installed("ip", ["link", "set", "dev", DEVICE, "gso_max_segs", "1"]);
    node.run(&set).await.context("disabling segmentation offload")?;
    let show = NodeCommand::installed("ip", ["-d", "link", "show", "dev", DEVICE]);
    let shown = node.run(&show).await?.stdout;
    let mut fields = shown.split_whitespace().skip_while(|field| *field != "gso_max_segs");
    if fields.nth(1) != Some("1") {
        bail!("segmentation offload is still on at the server: `{show}` does not show gso_max_segs 1");
    }
    Ok(())
}

fn database_directory(node: &NodeHandle, storage: Storage) -> String {
    match storage {
        Storage::Memory => format!("{}/{MEMORY_DIRECTORY}", node.work_dir()),
        Storage::Disk => node.work_dir(),
    }
}

fn database(node: &NodeHandle, storage: Storage) -> String {
    format!("{}/shop.db", database_directory(node, storage))
}

fn trace_file(node: &NodeHandle) -> String {
    format!("{}/exchanges.csv", node.work_dir())
}

async fn start_shop(node: &NodeHandle, scenario: &Scenario, admin_password: &str, log: &Path) -> anyhow::Result<Shop> {
    set_offloads(node, scenario.server.offloads).await?;
    let listen = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let options = ServeOptions {
        database: database(node, scenario.server.storage).into(),
        accounts_listen: listen(limits::ACCOUNTS_PORT),
        shop_listen: listen(limits::SHOP_PORT),
        echo_listen: Some(listen(limits::ECHO_PORT)),
        // Only programs in the node can read them: they must not cross the link that is measured.
        metrics_listen: Some((Ipv4Addr::LOCALHOST, 0).into()),
        trace: Some(trace_file(node).into()),
        admin_username: ADMIN.to_owned(),
        shop: scenario.shop.clone(),
        congestion_control: Some(scenario.server.congestion_control.clone()),
        ..settings::defaults()?
    };
    let config = serde_json::to_string(&options).context("the shop's configuration")?;
    let command = NodeCommand::program(Program::ShopServer, ["--config", &config]).env(ADMIN_PASSWORD, admin_password);
    let mut process = node.spawn(&command, log).await?;
    let ready: anyhow::Result<ServerEvent> = process.first_event(START_TIMEOUT).await;
    let ServerEvent::Ready { metrics, tls_fingerprint, .. } = ready.with_context(|| log_tail(log))?;
    let metrics = metrics.context("the shop's ready line has no address of its metrics")?;
    Ok(Shop { process, metrics, tls_fingerprint })
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
