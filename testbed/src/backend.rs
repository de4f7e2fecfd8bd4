//! Where nodes live. Everything that knows namespaces or Docker stands below this trait; nothing outside does.

pub(crate) mod docker;
mod factory;
pub(crate) mod host;
mod local_processes;
pub(crate) mod netns;
pub(crate) mod node_process;
pub(crate) mod placement;
pub(crate) mod select;
pub(crate) mod swarm;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use protocol::limits;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::program::Program;
pub(crate) use factory::BackendFactory;
use model::settings::Storage;
use node_process::NodeProcess;
pub(crate) use select::runtime;

/// The network device of every node.
pub(crate) const DEVICE: &str = "eth0";

/// Below the server's directory, where its node has a tmpfs if the plan wants storage in memory.
pub(crate) const MEMORY_DIRECTORY: &str = "memory";

/// How long a command that is waited for may take; the longest are probes of slow links.
pub(crate) const EXEC_TIMEOUT: Duration = Duration::from_secs(120);

/// Waits for something in a node, but not longer than [`EXEC_TIMEOUT`].
async fn in_time<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let done = timeout(EXEC_TIMEOUT, work).await;
    done.unwrap_or_else(|_| anyhow::bail!("it did not end within {} s", EXEC_TIMEOUT.as_secs()))
}

/// A server or a client with a network namespace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    /// The one that runs the shop; its link is the one that is shaped.
    Server,
    /// The client of this number, from 1.
    Client(u32),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Server => f.write_str("server"),
            Node::Client(number) => write!(f, "client-{number}"),
        }
    }
}

/// What is to be set up.
#[derive(Debug, Clone)]
pub(crate) struct EnvironmentSpec {
    /// The run's id: it stands in every name and label.
    pub(crate) run_id: String,
    /// The driver's host, to tell its leftovers from those of another.
    pub(crate) host: String,
    /// The driver's temporary directory, which is locked as long as the driver lives.
    pub(crate) folder: PathBuf,
    /// Where logs go.
    pub(crate) logs: PathBuf,
    /// Ctrl-C, or the failure of another environment.
    pub(crate) stop: CancellationToken,
    /// How many clients.
    pub(crate) clients: u32,
    /// Whether the server's node has a tmpfs at [`MEMORY_DIRECTORY`].
    pub(crate) storage: Storage,
    /// Kernel settings of each node's own network namespace: name under `net.` → value.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// More of them, which not every kernel has.
    pub(crate) optional_sysctls: BTreeMap<String, String>,
}

impl EnvironmentSpec {
    /// All clients.
    pub(crate) fn client_nodes(&self) -> impl Iterator<Item = Node> + use<> {
        (1..=self.clients).map(Node::Client)
    }

    /// The server and all clients.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        std::iter::once(Node::Server).chain(self.client_nodes())
    }

    /// All settings, had or not.
    pub(crate) fn all_sysctls(&self) -> BTreeMap<String, String> {
        self.sysctls.clone().into_iter().chain(self.optional_sysctls.clone()).collect()
    }

    /// The settings that the kernel of this host has.
    pub(crate) fn sysctls_here(&self) -> BTreeMap<String, String> {
        let is_here = |name: &str| Path::new("/proc/sys/net").join(name.replace('.', "/")).exists();
        let mut all = self.all_sysctls();
        all.retain(|name, _| self.sysctls.contains_key(name) || is_here(name));
        all
    }
}

/// Where clients find the shop, and how the link to it is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShopAddress {
    /// Name or address.
    pub(crate) host: String,
    /// TCP port of accounts.
    pub(crate) accounts_port: u16,
    /// TCP port of everything else.
    pub(crate) shop_port: u16,
    /// UDP port of the server's echo, where the address is not the server's own: a published one, whose host would
    /// answer ICMP itself.
    pub(crate) echo_port: Option<u16>,
}

impl ShopAddress {
    /// The shop in a node with an address of its own.
    pub(crate) fn of_node(address: &impl fmt::Display) -> Self {
        let (accounts_port, shop_port) = (limits::ACCOUNTS_PORT, limits::SHOP_PORT);
        Self { host: address.to_string(), accounts_port, shop_port, echo_port: None }
    }

    /// The shop behind three consecutive published ports.
    pub(crate) fn published(host: &str, first_port: u16) -> anyhow::Result<Self> {
        let Some(echo_port) = first_port.checked_add(2).filter(|_| first_port > 0) else {
            anyhow::bail!("--publish-port {first_port}: it and the next two must be ports, 1 to 65535")
        };
        Ok(Self {
            host: host.to_owned(),
            accounts_port: first_port,
            shop_port: first_port + 1,
            echo_port: Some(echo_port),
        })
    }
}

/// A command to run in a node.
#[derive(Debug, Clone)]
pub(crate) struct NodeCommand {
    /// What to run.
    pub(crate) executable: Executable,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Environment variables on top of the node's.
    pub(crate) environment: Vec<(String, String)>,
}

/// What a [`NodeCommand`] runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Executable {
    /// One of ours.
    Program(Program),
    /// Something that is installed in the node.
    Installed(&'static str),
}

impl NodeCommand {
    /// One of the shop's programs.
    pub(crate) fn program<S: Into<String>>(program: Program, arguments: impl IntoIterator<Item = S>) -> Self {
        Self::new(Executable::Program(program), arguments)
    }

    /// A program that is installed in the node.
    pub(crate) fn installed<S: Into<String>>(name: &'static str, arguments: impl IntoIterator<Item = S>) -> Self {
        Self::new(Executable::Installed(name), arguments)
    }

    fn new<S: Into<String>>(executable: Executable, arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { executable, arguments, environment: Vec::new() }
    }

    /// With one more environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }
}

impl Executable {
    /// The name that a node with programs of its own finds it by.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Executable::Program(program) => program.name(),
            Executable::Installed(name) => name,
        }
    }
}

impl fmt::Display for NodeCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.executable.name())?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// What a command that ran to its end left.
#[derive(Debug, Clone)]
pub(crate) struct CommandOutput {
    /// Exit code; 128 + signal when a signal ended it.
    pub(crate) code: i64,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained about.
    pub(crate) stderr: String,
}

impl CommandOutput {
    /// The output when the command succeeded.
    ///
    /// # Errors
    /// Names the command, its exit code and its last words.
    pub(crate) fn success(self, what: &dyn fmt::Display) -> anyhow::Result<Self> {
        if self.code == 0 {
            return Ok(self);
        }
        let words = if self.stderr.trim().is_empty() { self.stdout.trim() } else { self.stderr.trim() };
        anyhow::bail!("`{what}` ended with exit code {}: {}", self.code, last_lines(words, 5))
    }
}

/// The last `count` lines of a text, in one line.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

/// How a log ends, for an error message about the program that wrote it.
pub(crate) fn log_tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    format!("its log ends with: {}", last_lines(&text, 3))
}

/// What every engine can do.
#[async_trait(?Send)]
pub(crate) trait Backend {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Makes the network and all nodes, in parallel.
    async fn up(&mut self, plan: &EnvironmentSpec) -> anyhow::Result<()>;

    /// Where clients find the shop.
    fn shop(&self) -> &ShopAddress;

    /// Whether there is a server node; otherwise the server is external.
    fn has_server(&self) -> bool {
        true
    }

    /// A directory in the node that programs may write to, with the node's own path.
    fn folder(&self, node: Node) -> String;

    /// Runs a command to its end, which must come within [`EXEC_TIMEOUT`].
    async fn exec(&self, node: Node, command: &NodeCommand) -> anyhow::Result<CommandOutput>;

    /// Starts a command and leaves it running; its stderr goes to the file `log`.
    async fn spawn(&self, node: Node, command: &NodeCommand, log: &Path) -> anyhow::Result<NodeProcess>;

    /// The content of a file in the node.
    async fn get_file(&self, node: Node, path: &str) -> anyhow::Result<Vec<u8>>;

    /// CPU time that the node's processes have used so far.
    async fn cpu_time(&self, node: Node) -> anyhow::Result<Duration>;

    /// One client of each host that may hold programs of its own.
    fn clients_by_host(&self) -> Vec<Node> {
        vec![Node::Client(1)]
    }

    /// The kernel settings that nodes have of those in the plan; names under `net.`.
    fn sysctls(&self, plan: &EnvironmentSpec) -> BTreeMap<String, String> {
        plan.sysctls_here()
    }

    /// Whether the nodes run on the host of the driver, so that its CPU is theirs.
    async fn is_local(&self) -> bool;

    /// Replaces a node by a fresh one with the same name. The server's address may be another then.
    async fn recreate(&mut self, node: Node) -> anyhow::Result<()>;

    /// Removes everything that `up` made; may be called at any time and more than once.
    async fn down(&mut self) -> anyhow::Result<()>;

    /// What the manifest should say about it: versions, images.
    async fn info(&self) -> anyhow::Result<serde_json::Value>;
}
