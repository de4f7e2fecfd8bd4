//! Nodes as network namespaces on this host: a veth pair each, joined by a bridge.
//!
//! The driver itself first moves into a network namespace of its own (and, without root, into a user namespace), the
//! environment, and hangs bridge and nodes below it. None of these namespaces has a name: the kernel removes them, with
//! all that is in them, when the last process in them ends, and every such process dies with the driver. So nothing is
//! left behind, not even after kill -9, and nothing of the host's own network is ever touched.

mod memory;
mod namespace;
mod topology;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use futures_util::future::try_join_all;

use crate::backend::local_processes;
use crate::backend::local_processes::LocalProcesses;
use crate::backend::node_process::NodeProcess;
use crate::backend::{
    Backend, CommandOutput, EnvironmentSpec, MEMORY_DIRECTORY, Node, NodeCommand, ShopAddress, in_time,
};
use memory::MemoryDirectory;
use model::settings::Storage;
use namespace::Namespace;
pub(crate) use namespace::{enter_namespace, try_namespace_if_requested, unavailable_reason};
use topology::{Bridge, VethLink};

/// The network of the environments: its own address space, so it can't collide with anything.
const NETWORK: [u8; 2] = [10, 77];

/// Nodes as network namespaces.
pub(crate) struct NetnsBackend {
    /// Where the nodes' directories are; removed by its owner, not here.
    folder: PathBuf,
    /// Number of the environment, from 1: bridges and the nodes' links are named after it.
    environment: u32,
    shop: ShopAddress,
    /// Kept for `renew`.
    plan: Option<EnvironmentSpec>,
    /// Where the links of all nodes end.
    bridge: Option<Bridge>,
    /// The nodes that are up.
    nodes: BTreeMap<Node, Namespace>,
    /// The server's storage in memory.
    memory: RefCell<Option<MemoryDirectory>>,
    /// What runs in them.
    children: RefCell<LocalProcesses>,
}

impl NetnsBackend {
    /// The engine of the environment of this number, from 1, whose nodes' directories are below `folder`. The process
    /// must be in the environments' namespace already ([`enter_namespace`]).
    pub(crate) fn new(folder: &Path, environment: u32) -> Self {
        let shop = ShopAddress::of_node(&address(Node::Server));
        let folder = folder.join(format!("environment-{environment}"));
        Self {
            folder,
            environment,
            shop,
            plan: None,
            bridge: None,
            nodes: BTreeMap::new(),
            memory: RefCell::default(),
            children: RefCell::default(),
        }
    }

    fn node_folder(&self, node: Node) -> PathBuf {
        self.folder.join(node.to_string())
    }

    /// A handle on the node's namespace.
    fn namespace(&self, node: Node) -> anyhow::Result<OwnedFd> {
        let namespace = self.nodes.get(&node).with_context(|| format!("node {node} is not up"))?;
        namespace.as_fd().try_clone_to_owned().context("copying a namespace's handle")
    }

    /// The name of a node's link at the bridge; the kernel takes 15 bytes.
    fn lab_end(&self, node: Node) -> String {
        match node {
            Node::Server => format!("server-{}", self.environment),
            Node::Client(number) => format!("c{number}-{}", self.environment),
        }
    }

    async fn make_node(&self, node: Node, plan: &EnvironmentSpec, bridge: &Bridge) -> anyhow::Result<Namespace> {
        let folder = self.node_folder(node);
        std::fs::create_dir_all(&folder).with_context(|| format!("making the directory {}", folder.display()))?;
        if node == Node::Server && plan.storage == Storage::Memory {
            self.memory.replace(Some(MemoryDirectory::mount(folder.join(MEMORY_DIRECTORY))?));
        }
        let namespace = Namespace::make(plan.sysctls_here()).await.with_context(|| format!("making node {node}"))?;
        let peers = match node {
            Node::Server => plan.client_nodes().map(address).collect(),
            Node::Client(_) => vec![address(Node::Server)],
        };
        let link = VethLink { lab_end: self.lab_end(node), address: address(node), peers };
        bridge.attach(&namespace, link).await.with_context(|| format!("connecting node {node}"))?;
        Ok(namespace)
    }
}

/// The server is 10.77.0.2; clients start at 10.77.1.0.
fn address(node: Node) -> Ipv4Addr {
    let [a, b] = NETWORK;
    match node {
        Node::Server => Ipv4Addr::new(a, b, 0, 2),
        Node::Client(number) => {
            let [.., c, d] = (256 + number).to_be_bytes();
            Ipv4Addr::new(a, b, c, d)
        }
    }
}

#[async_trait(?Send)]
impl Backend for NetnsBackend {
    fn name(&self) -> &'static str {
        "netns"
    }

    async fn up(&mut self, plan: &EnvironmentSpec) -> anyhow::Result<()> {
        let bridge =
            Bridge::make(&format!("br-{}", self.environment)).await.context("making the environment's bridge")?;
        let made = plan.nodes().map(|node| {
            let bridge = &bridge;
            let backend = &*self;
            async move { backend.make_node(node, plan, bridge).await.map(|namespace| (node, namespace)) }
        });
        let nodes = try_join_all(made).await?;
        self.nodes = nodes.into_iter().collect();
        self.bridge = Some(bridge);
        self.plan = Some(plan.clone());
        Ok(())
    }

    fn shop(&self) -> &ShopAddress {
        &self.shop
    }

    fn folder(&self, node: Node) -> String {
        self.node_folder(node).display().to_string()
    }

    async fn exec(&self, node: Node, command: &NodeCommand) -> anyhow::Result<CommandOutput> {
        let ran = in_time(local_processes::run(command, Some(self.namespace(node)?))).await;
        ran.with_context(|| format!("running `{command}` in {node}"))
    }

    async fn spawn(&self, node: Node, command: &NodeCommand, log: &Path) -> anyhow::Result<NodeProcess> {
        let namespace = self.namespace(node)?;
        let spawned = self.children.borrow_mut().spawn(node, command, Some(namespace), log);
        spawned.with_context(|| format!("starting `{command}` in {node}"))
    }

    async fn get_file(&self, _node: Node, path: &str) -> anyhow::Result<Vec<u8>> {
        tokio::fs::read(path).await.with_context(|| format!("reading {path}"))
    }

    async fn cpu_time(&self, node: Node) -> anyhow::Result<Duration> {
        self.children.borrow().cpu_time(node)
    }

    async fn is_local(&self) -> bool {
        true
    }

    async fn recreate(&mut self, node: Node) -> anyhow::Result<()> {
        self.children.get_mut().kill(node).await;
        self.nodes.remove(&node);
        if node == Node::Server {
            self.memory.take();
        }
        let folder = self.node_folder(node);
        std::fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
        let plan = self.plan.clone().context("the environment is not up")?;
        let bridge = self.bridge.as_ref().context("the environment is not up")?;
        bridge.detach(&self.lab_end(node)).await?;
        let namespace = self.make_node(node, &plan, bridge).await?;
        self.nodes.insert(node, namespace);
        Ok(())
    }

    async fn down(&mut self) -> anyhow::Result<()> {
        let nodes: Vec<Node> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.children.get_mut().kill(node).await;
        }
        self.nodes.clear();
        self.memory.take();
        self.bridge = None;
        Ok(())
    }

    async fn info(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::json!({ "rootless": namespace::is_rootless() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_an_address_of_its_own() {
        assert_eq!(address(Node::Server), Ipv4Addr::new(10, 77, 0, 2));
        assert_eq!(address(Node::Client(1)), Ipv4Addr::new(10, 77, 1, 1));
        assert_eq!(address(Node::Client(256)), Ipv4Addr::new(10, 77, 2, 0));
        assert_eq!(address(Node::Client(1000)), Ipv4Addr::new(10, 77, 4, 232));
    }
}
