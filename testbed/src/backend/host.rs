//! Clients as plain processes on this host, in its own network: for a shop elsewhere when there is no Docker here. No
//! server's node, and nothing of the host's network is changed.

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
    /// Where the clients' directories are; removed by its owner, not here.
    folder: PathBuf,
    shop: ShopAddress,
    clients: Vec<Node>,
    children: RefCell<LocalProcesses>,
}

impl HostBackend {
    /// Clients for this shop, with their directories below `folder`.
    pub(crate) fn new(folder: PathBuf, shop: ShopAddress) -> Self {
        Self { folder, shop, clients: Vec::new(), children: RefCell::default() }
    }

    fn make_folder(&self, node: Node) -> anyhow::Result<()> {
        let folder = self.folder.join(node.to_string());
        std::fs::create_dir_all(&folder).with_context(|| format!("making the directory {}", folder.display()))
    }

    fn refuse_server(node: Node) -> anyhow::Result<()> {
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

    async fn up(&mut self, plan: &EnvironmentSpec) -> anyhow::Result<()> {
        self.clients = plan.client_nodes().collect();
        self.clients.iter().try_for_each(|node| self.make_folder(*node))
    }

    fn shop(&self) -> &ShopAddress {
        &self.shop
    }

    fn has_server(&self) -> bool {
        false
    }

    fn folder(&self, node: Node) -> String {
        self.folder.join(node.to_string()).display().to_string()
    }

    async fn exec(&self, node: Node, command: &NodeCommand) -> anyhow::Result<CommandOutput> {
        Self::refuse_server(node)?;
        in_time(local_processes::run(command, None)).await.with_context(|| format!("running `{command}` as {node}"))
    }

    async fn spawn(&self, node: Node, command: &NodeCommand, log: &Path) -> anyhow::Result<NodeProcess> {
        Self::refuse_server(node)?;
        let spawned = self.children.borrow_mut().spawn(node, command, None, log);
        spawned.with_context(|| format!("starting `{command}` as {node}"))
    }

    async fn get_file(&self, _node: Node, path: &str) -> anyhow::Result<Vec<u8>> {
        tokio::fs::read(path).await.with_context(|| format!("reading {path}"))
    }

    async fn cpu_time(&self, node: Node) -> anyhow::Result<Duration> {
        Self::refuse_server(node)?;
        self.children.borrow().cpu_time(node)
    }

    fn sysctls(&self, _plan: &EnvironmentSpec) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    async fn is_local(&self) -> bool {
        true
    }

    async fn recreate(&mut self, node: Node) -> anyhow::Result<()> {
        self.children.get_mut().kill(node).await;
        let folder = self.folder(node);
        std::fs::remove_dir_all(&folder).with_context(|| format!("emptying {folder}"))?;
        self.make_folder(node)
    }

    async fn down(&mut self) -> anyhow::Result<()> {
        for node in std::mem::take(&mut self.clients) {
            self.children.get_mut().kill(node).await;
        }
        Ok(())
    }

    async fn info(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::json!({ "shop": self.shop.host }))
    }
}
