//! The lab of a run: nodes that are up, the shop running in one of them, and an emulator that works there.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;
use shaper::Condition;
use shop_protocol::limits;

use crate::emulator::{Emulator, EmulatorChoice, choose};
use crate::engine::process::Process;
use crate::engine::{DEVICE, Engine, LabPlan, MEMORY_FOLDER, Node, NodeCommand, last_lines, log_end};
use crate::plan::Cell;
use crate::probe::{self, ProbePlan};
use crate::program::Program;
use crate::run::audit::Audit;
use crate::run::{RunRequest, prober, programs, trace};
use crate::scenario::{Offloads, Scenario, Storage};

/// How long the shop may take to start.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long the shop may take to answer when it is asked whether it is well.
const ANSWER_LIMIT: &str = "3s";
/// The administrator of the testbed's shop.
pub(crate) const ADMIN: &str = "admin";
/// The environment variable that carries the administrator's password.
pub(crate) const ADMIN_PASSWORD: &str = "SHOP_ADMIN_PASSWORD";

/// What is up.
pub(crate) struct Lab<'a> {
    /// Where the nodes live.
    pub(crate) engine: &'a mut dyn Engine,
    /// What imposes conditions.
    pub(crate) emulator: Box<dyn Emulator>,
    /// Why that emulator.
    pub(crate) why_emulator: String,
    /// Where logs go.
    pub(crate) logs: PathBuf,
    /// Made up for this run; for somebody else's shop what the environment says, if anything.
    pub(crate) admin_password: Option<String>,
    /// Whether the server's node, and the database in it, was replaced since the run began.
    pub(crate) server_was_renewed: bool,
    /// Orders that clients of this lab were promised so far.
    pub(crate) promised_orders: i64,
    /// Whether this host's CPU is the nodes' CPU.
    pub(crate) is_here: bool,
    /// Kind of the file system that holds the shop's database.
    pub(crate) database_filesystem: Option<String>,
    /// How long it took to make network and nodes.
    pub(crate) nodes_up: Duration,
    /// Version of the programs in the nodes.
    pub(crate) programs: String,
    /// `None`: it is somebody else's.
    shop: Option<Process>,
    scenario: Scenario,
}

/// The line the server prints when both its ports listen.
#[derive(Deserialize)]
struct Ready {
    #[allow(dead_code, reason = "read only so that another line is not taken for this one")]
    shop: String,
}

impl<'a> Lab<'a> {
    /// Brings nodes, shop and emulator up on `engine`; whoever calls takes the engine down, also after a failure.
    pub(crate) async fn up(
        engine: &'a mut dyn Engine,
        plan: &LabPlan,
        request: &RunRequest,
        cells: &[Cell],
        choice: EmulatorChoice,
    ) -> anyhow::Result<Lab<'a>> {
        let (scenario, logs) = (&request.scenario, plan.logs.clone());
        std::fs::create_dir_all(&logs).with_context(|| format!("making the folder {}", logs.display()))?;
        let began = Instant::now();
        engine.up(plan).await.context("setting up the nodes")?;
        let nodes_up = began.elapsed();
        let programs = programs::check(engine).await?;
        tracing::debug!("server and {} clients up after {:.3} s", plan.clients, nodes_up.as_secs_f64());
        let (shop, admin_password) = if engine.has_server() {
            let password = format!("{:016x}", getrandom::u64().context("no randomness for a password")?);
            set_offloads(engine, scenario.network.offloads).await?;
            let shop = start_shop(engine, scenario, &password, &logs).await?;
            tracing::debug!("shop ready at {}", engine.shop().host);
            (Some(shop), Some(password))
        } else {
            (None, std::env::var(ADMIN_PASSWORD).ok().filter(|password| !password.is_empty()))
        };
        let conditions: Vec<Condition> = cells.iter().map(|cell| cell.condition).collect();
        let chosen = choose(engine, choice, &conditions, &logs, &plan.stop).await;
        let chosen = chosen.context("choosing the link emulator")?;
        let (emulator, why_emulator) = (chosen.emulator, chosen.why);
        let database_filesystem = match shop {
            Some(_) => Some(check_storage(engine, scenario.server.storage).await?),
            None => None,
        };
        Ok(Lab {
            is_here: engine.shares_host().await,
            engine,
            emulator,
            why_emulator,
            logs,
            admin_password,
            server_was_renewed: false,
            promised_orders: 0,
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
            return prober::check_handshake(self.engine, self.engine.shop().shop_port).await;
        };
        if let Some(code) = shop.exit_status() {
            bail!("the server ended with exit code {code}: {}", self.shop_log());
        }
        let ask = ["ready", "--address", "127.0.0.1:5001", "--timeout", ANSWER_LIMIT];
        let answer = self.engine.exec(Node::Server, &NodeCommand::program(Program::ShopServer, ask)).await?;
        if answer.code != 0 {
            bail!("the server does not answer within {ANSWER_LIMIT}: {}", self.shop_log());
        }
        Ok(())
    }

    /// How many packets the server's device has sent so far, as its kernel counts them.
    ///
    /// # Errors
    /// When it does not tell.
    pub(crate) async fn device_packets(&self) -> anyhow::Result<u64> {
        let show = NodeCommand::installed("cat", ["/proc/net/dev"]);
        let shown = self.engine.exec(Node::Server, &show).await?.success(&show)?.stdout;
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
    pub(crate) async fn check_way(&mut self, floor_rtt_ms: f64) -> anyhow::Result<()> {
        let shop = self.engine.shop();
        if shop.echo_port.is_none() {
            return Ok(());
        }
        for port in [shop.accounts_port, shop.shop_port] {
            prober::check_handshake(self.engine, port).await?;
        }
        if self.shop.is_none() {
            return Ok(());
        }
        let trial = Condition { delay: "20ms".parse()?, ..Condition::BASELINE };
        self.emulator.apply(self.engine, &trial, 0).await.context("trying a delay")?;
        let measured = prober::probe(self.engine, &ProbePlan::for_condition(&trial), &trial).await?;
        self.emulator.apply(self.engine, &Condition::BASELINE, 0).await.context("ending the trial")?;
        match probe::way_doubt(&trial, floor_rtt_ms, &measured) {
            Some(doubt) => bail!("{doubt}; on the server's engine, let published ports go through iptables"),
            None => Ok(()),
        }
    }

    fn shop_log(&self) -> String {
        log_end(&self.logs.join(SHOP_LOG))
    }

    /// A new server node with a new shop, and the emulator started in it.
    pub(crate) async fn renew_server(&mut self) -> anyhow::Result<()> {
        // The emulator's daemon goes with the node; a failure to stop it is no news.
        let _ = self.emulator.shut_down(self.engine).await;
        self.server_was_renewed = true;
        self.engine.renew(Node::Server).await.context("renewing the server's node")?;
        set_offloads(self.engine, self.scenario.network.offloads).await?;
        let password = self.admin_password.as_deref().unwrap_or_default();
        self.shop = Some(start_shop(self.engine, &self.scenario, password, &self.logs).await?);
        self.emulator.prepare(self.engine, &self.logs).await.context("starting the emulator in the new node")
    }

    /// Stock against orders in the shop's database, and these against what clients were promised.
    pub(crate) async fn audit(&self) -> anyhow::Result<Audit> {
        let database = database(self.engine, self.scenario.server.storage);
        let verify = NodeCommand::program(Program::ShopServer, ["verify", "--database", &database]);
        // Exit code 1 means inconsistent, which the line says, too.
        let output = self.engine.exec(Node::Server, &verify).await?;
        let words = || format!("`{verify}` exited {} and printed: {}", output.code, last_lines(&output.stderr, 3));
        let audit: Audit = serde_json::from_str(output.stdout.trim()).with_context(words)?;
        Ok(Audit { promised: self.promised_orders, ..audit })
    }

    /// Leaves the bare link and stops the emulator. Nodes are the engine's to remove.
    pub(crate) async fn shut_down(&mut self) -> anyhow::Result<()> {
        self.emulator.shut_down(self.engine).await
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
async fn set_offloads(engine: &dyn Engine, offloads: Offloads) -> anyhow::Result<()> {
    if offloads == Offloads::On {
        return Ok(());
    }
    let set = NodeCommand::installed("ip", ["link", "set", "dev", DEVICE, "gso_max_segs", "1"]);
    engine.exec(Node::Server, &set).await?.success(&set).context("turning segmentation offload off")?;
    let show = NodeCommand::installed("ip", ["-d", "link", "show", "dev", DEVICE]);
    let shown = engine.exec(Node::Server, &show).await?.success(&show)?.stdout;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "gso_max_segs");
    if words.nth(1) != Some("1") {
        bail!("segmentation offload stays on at the server: `{show}` does not say gso_max_segs 1");
    }
    Ok(())
}

const SHOP_LOG: &str = "server.log";

fn database_folder(engine: &dyn Engine, storage: Storage) -> String {
    let folder = engine.folder(Node::Server);
    match storage {
        Storage::Memory => format!("{folder}/{MEMORY_FOLDER}"),
        Storage::Disk => folder,
    }
}

fn database(engine: &dyn Engine, storage: Storage) -> String {
    format!("{}/shop.db", database_folder(engine, storage))
}

/// The kind of the file system that holds the database, which must be a tmpfs if the scenario says so.
async fn check_storage(engine: &dyn Engine, storage: Storage) -> anyhow::Result<String> {
    let folder = database_folder(engine, storage);
    let stat = NodeCommand::installed("stat", ["--file-system", "--format", "%T", &folder]);
    let kind = engine.exec(Node::Server, &stat).await?.success(&stat)?.stdout.trim().to_owned();
    if storage == Storage::Memory && kind != "tmpfs" {
        bail!("the shop's database is on {kind}, not in memory (tmpfs) as asked: `{stat}` in the server's node");
    }
    Ok(kind)
}

async fn start_shop(
    engine: &dyn Engine,
    scenario: &Scenario,
    admin_password: &str,
    logs: &std::path::Path,
) -> anyhow::Result<Process> {
    let settings = &scenario.server;
    let options = [
        ("--database", database(engine, settings.storage)),
        ("--accounts-listen", format!("0.0.0.0:{}", limits::ACCOUNTS_PORT)),
        ("--shop-listen", format!("0.0.0.0:{}", limits::SHOP_PORT)),
        ("--trace", trace::path(engine)),
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
    let mut shop = engine.spawn(Node::Server, &command, &log).await?;
    let ready: anyhow::Result<Ready> = shop.first_event(START_LIMIT).await;
    ready.with_context(|| log_end(&log))?;
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
