//! Where nodes run. Only this module and its children know namespaces, Docker and Swarm; others use the trait
//! [`Backend`].

mod command;
pub(crate) mod docker;
mod factory;
pub(crate) mod host;
mod local_processes;
pub(crate) mod netns;
mod node;
pub(crate) mod node_process;
pub(crate) mod placement;
pub(crate) mod select;
mod shop_address;
pub(crate) mod swarm;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use model::settings::Storage;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use command::{CommandOutput, Executable, NodeCommand, last_lines, log_tail};
pub(crate) use factory::BackendFactory;
pub(crate) use node::{Node, NodeHandle};
use node_process::NodeProcess;
pub(crate) use select::runtime;
pub(crate) use shop_address::ShopAddress;

/// Network device of every node.
pub(crate) const DEVICE: &str = "eth0";

/// Directory below the server's working directory with a tmpfs, if the scenario requires storage in memory.
pub(crate) const MEMORY_DIRECTORY: &str = "memory";

/// Timeout of a command that the driver waits for; probes of low-rate links take longest.
pub(crate) const EXEC_TIMEOUT: Duration = Duration::from_secs(120);

/// Waits for work in a node, at most [`EXEC_TIMEOUT`].
async fn in_time<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let done = timeout(EXEC_TIMEOUT, work).await;
    done.unwrap_or_else(|_| anyhow::bail!("it did not end within {} s", EXEC_TIMEOUT.as_secs()))
}

/// Specification of an environment's nodes.
#[derive(Debug, Clone)]
pub(crate) struct EnvironmentSpec {
    /// Id of the run; part of every name and label.
    pub(crate) run_id: String,
    /// Name of the driver's host: stale resources of other hosts' drivers are theirs to remove.
    pub(crate) host: String,
    /// The driver's temporary directory, locked while the driver lives.
    pub(crate) lock_dir: PathBuf,
    /// Directory of logs.
    pub(crate) logs: PathBuf,
    /// Cancelled by Ctrl-C or by a failure in another environment.
    pub(crate) stop: CancellationToken,
    /// Number of clients.
    pub(crate) clients: u32,
    /// Whether the server's node has a tmpfs at [`MEMORY_DIRECTORY`].
    pub(crate) storage: Storage,
    /// Kernel settings of each node's network namespace: name under `net.` → value.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Further kernel settings, which not every kernel supports.
    pub(crate) optional_sysctls: BTreeMap<String, String>,
}

impl EnvironmentSpec {
    /// Returns all clients.
    pub(crate) fn client_nodes(&self) -> impl Iterator<Item = Node> + use<> {
        (1..=self.clients).map(Node::Client)
    }

    /// Returns the server and all clients.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        std::iter::once(Node::Server).chain(self.client_nodes())
    }

    /// Returns all kernel settings, supported or not.
    pub(crate) fn all_sysctls(&self) -> BTreeMap<String, String> {
        self.sysctls.clone().into_iter().chain(self.optional_sysctls.clone()).collect()
    }

    /// Returns the kernel settings that the kernel of this host supports.
    pub(crate) fn supported_sysctls(&self) -> BTreeMap<String, String> {
        let is_supported = |name: &str| Path::new("/proc/sys/net").join(name.replace('.', "/")).exists();
        let mut all = self.all_sysctls();
        all.retain(|name, _| self.sysctls.contains_key(name) || is_supported(name));
        all
    }
}

/// Creates the nodes of one environment, and runs programs in them. Methods take `&self`: environment, emulator and
/// probe share a backend.
#[async_trait(?Send)]
pub(crate) trait Backend {
    /// Returns its name on the command line.
    fn name(&self) -> &'static str;

    /// Creates the network and all nodes.
    async fn up(&self, spec: &EnvironmentSpec) -> anyhow::Result<()>;

    /// Returns where clients reach the shop. Known once the nodes are up; may change when the server is recreated.
    fn shop(&self) -> ShopAddress;

    /// Returns whether there is a server node; otherwise the server is external.
    fn has_server(&self) -> bool {
        true
    }

    /// Returns the directory in the node that programs may write to, as a path in the node.
    fn work_dir(&self, node: Node) -> String;

    /// Runs a command until it ends, at most [`EXEC_TIMEOUT`].
    async fn exec(&self, node: Node, command: &NodeCommand) -> anyhow::Result<CommandOutput>;

    /// Starts a command; its stderr is appended to the file `log`.
    async fn spawn(&self, node: Node, command: &NodeCommand, log: &Path) -> anyhow::Result<NodeProcess>;

    /// Returns the content of a file in the node.
    async fn get_file(&self, node: Node, path: &str) -> anyhow::Result<Vec<u8>>;

    /// Returns the CPU time that the node's processes have used so far.
    async fn cpu_time(&self, node: Node) -> anyhow::Result<Duration>;

    /// Returns one client of each host whose programs may differ.
    fn clients_by_host(&self) -> Vec<Node> {
        vec![Node::Client(1)]
    }

    /// Returns the kernel settings of the specification that the nodes have; names under `net.`.
    fn sysctls(&self, spec: &EnvironmentSpec) -> BTreeMap<String, String> {
        spec.supported_sysctls()
    }

    /// Returns whether all nodes run on the driver's host, so that its CPU load is theirs.
    async fn is_local(&self) -> bool;

    /// Replaces a node by a new one with the same name. The server's address may change.
    async fn recreate(&self, node: Node) -> anyhow::Result<()>;

    /// Removes everything that `up` created. May be called at any time and repeatedly.
    async fn down(&self) -> anyhow::Result<()>;

    /// Returns versions and images, for the manifest.
    async fn info(&self) -> anyhow::Result<serde_json::Value>;
}
