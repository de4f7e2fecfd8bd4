//! Clients as plain processes in this host's network, for an external server on a host without Docker. There is no
//! server node, and the host's network is not changed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;

use crate::backend::local_processes;
use crate::backend::local_processes::LocalProcesses;
use crate::backend::node_process::NodeProcess;
use crate::backend::{Backend, CommandOutput, EnvironmentSpec, Node, NodeCommand, ShopAddress, in_time};

/// Clients on this host.
pub(crate) struct HostBackend {
    /// Parent of the clients' directories; removed by its owner.
    directory: PathBuf,
    shop: ShopAddress,
    clients: RefCell<Vec<Node>>,
    processes: LocalProcesses,
}

impl HostBackend {
    /// Creates a backend for clients of this shop, with their directories below `directory`.
    pub(crate) fn new(directory: PathBuf, shop: ShopAddress) -> Self {
        Self { directory, shop, clients: RefCell::default(), processes: LocalProcesses::default() }
    }

    fn create_directory(&self, node: Node) -> anyhow::Result<()> {
        let directory = self.directory.join(node.to_string());
        std::fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))
    }

    fn check_client(node: Node) -> anyhow::Result<()> {
        if node == Node::Server {
            bail!("external server: no program can be run on its host");
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl Backend for HostBackend {
    fn name(&self) -> &'static str {
        "host"
    }

    async fn up(&self, spec: &EnvironmentSpec) -> anyhow::Result<()> {
        self.clients.replace(spec.client_nodes().collect());
        spec.client_nodes().try_for_each(|node| self.create_directory(node))
    }

    fn shop(&self) -> ShopAddress {
        self.shop.clone()
    }

    fn has_server(&self) -> bool {
        false
    }

    fn work_dir(&self, node: Node) -> String {
        self.directory.join(node.to_string()).display().to_string()
    }

    async fn exec(&self, node: Node, command: &NodeCommand) -> anyhow::Result<CommandOutput> {
        Self::check_client(node)?;
        in_time(local_processes::run(command, None)).await.with_context(|| format!("running `{command}` as {node}"))
    }

    async fn spawn(&self, node: Node, command: &NodeCommand, log: &Path) -> anyhow::Result<NodeProcess> {
        Self::check_client(node)?;
        let spawned = self.processes.spawn(node, command, None, log);
        spawned.with_context(|| format!("starting `{command}` as {node}"))
    }

    async fn get_file(&self, _node: Node, path: &str) -> anyhow::Result<Vec<u8>> {
        tokio::fs::read(path).await.with_context(|| format!("reading {path}"))
    }

    async fn cpu_time(&self, node: Node) -> anyhow::Result<Duration> {
        Self::check_client(node)?;
        self.processes.cpu_time(node)
    }

    fn sysctls(&self, _spec: &EnvironmentSpec) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    async fn is_local(&self) -> bool {
        true
    }

    async fn recreate(&self, node: Node) -> anyhow::Result<()> {
        self.processes.kill(node).await;
        let directory = self.work_dir(node);
        std::fs::remove_dir_all(&directory).with_context(|| format!("emptying {directory}"))?;
        self.create_directory(node)
    }

    async fn down(&self) -> anyhow::Result<()> {
        for node in self.clients.take() {
            self.processes.kill(node).await;
        }
        Ok(())
    }

    async fn info(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::json!({ "shop": self.shop.host }))
    }
}
