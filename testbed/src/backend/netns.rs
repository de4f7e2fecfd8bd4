//! Nodes as network namespaces on this host, connected by veth pairs to a bridge.
//!
//! The driver first enters its own network namespace (and, without root, a user namespace), in which it creates bridges
//! and nodes. No namespace has a name: the kernel removes each with its last process, and all these processes end with
//! the driver. So nothing is left on the host, even after kill -9, and the host's network is never changed.

mod memory;
mod namespace;
mod topology;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
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

/// First two bytes of all addresses. They cannot collide with the host's: the namespaces are separate.
const NETWORK: [u8; 2] = [10, 77];

/// Nodes as network namespaces.
pub(crate) struct NetnsBackend {
    /// Parent of the nodes' directories; removed by its owner.
    directory: PathBuf,
    /// Number of the environment, from 1; part of the names of bridge and links.
    environment: u32,
    /// Present while the nodes are up.
    network: RefCell<Option<Rc<Network>>>,
    /// Nodes that are up.
    nodes: RefCell<BTreeMap<Node, Namespace>>,
    /// The server's storage in memory.
    memory: RefCell<Option<MemoryDirectory>>,
    /// Programs in the nodes.
    processes: LocalProcesses,
}

/// Network of an environment.
struct Network {
    /// Connects the links of all nodes.
    bridge: Bridge,
    /// Specification of the nodes.
    spec: EnvironmentSpec,
}

impl NetnsBackend {
    /// Creates the backend of the environment with this number, from 1. The nodes' directories are below `directory`.
    /// The process must have entered its namespace ([`enter_namespace`]).
    pub(crate) fn new(directory: &Path, environment: u32) -> Self {
        Self {
            directory: directory.join(format!("environment-{environment}")),
            environment,
            network: RefCell::default(),
            nodes: RefCell::default(),
            memory: RefCell::default(),
            processes: LocalProcesses::default(),
        }
    }

    fn node_directory(&self, node: Node) -> PathBuf {
        self.directory.join(node.to_string())
    }

    /// Returns a handle of the node's namespace.
    fn namespace(&self, node: Node) -> anyhow::Result<OwnedFd> {
        let nodes = self.nodes.borrow();
        let namespace = nodes.get(&node).with_context(|| format!("node {node} is not up"))?;
        namespace.as_fd().try_clone_to_owned().context("copying a namespace's handle")
    }

    /// Returns the name of the bridge's end of a node's link, at most the kernel's 15 bytes.
    fn bridge_end(&self, node: Node) -> String {
        match node {
            Node::Server => format!("server-{}", self.environment),
            Node::Client(number) => format!("c{number}-{}", self.environment),
        }
    }

    async fn create_node(&self, node: Node, spec: &EnvironmentSpec, bridge: &Bridge) -> anyhow::Result<Namespace> {
        let directory = self.node_directory(node);
        std::fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        if node == Node::Server && spec.storage == Storage::Memory {
            self.memory.replace(Some(MemoryDirectory::mount(directory.join(MEMORY_DIRECTORY))?));
        }
        let namespace =
            Namespace::make(spec.supported_sysctls()).await.with_context(|| format!("creating node {node}"))?;
        let peers = match node {
            Node::Server => spec.client_nodes().map(address).collect(),
            Node::Client(_) => vec![address(Node::Server)],
        };
        let link = VethLink { bridge_end: self.bridge_end(node), address: address(node), peers };
        bridge.attach(&namespace, link).await.with_context(|| format!("connecting node {node}"))?;
        Ok(namespace)
    }
}

/// Returns a node's address: 10.77.0.2 for the server; clients count from 10.77.1.1.
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

    async fn up(&self, spec: &EnvironmentSpec) -> anyhow::Result<()> {
        let bridge = format!("br-{}", self.environment);
        let bridge = Bridge::make(&bridge).await.context("creating the environment's bridge")?;
        let created = spec.nodes().map(async |node| anyhow::Ok((node, self.create_node(node, spec, &bridge).await?)));
        let nodes: Vec<(Node, Namespace)> = try_join_all(created).await?;
        self.nodes.replace(nodes.into_iter().collect());
        self.network.replace(Some(Rc::new(Network { bridge, spec: spec.clone() })));
        Ok(())
    }

    fn shop(&self) -> ShopAddress {
        ShopAddress::of_node(&address(Node::Server))
    }

    fn work_dir(&self, node: Node) -> String {
        self.node_directory(node).display().to_string()
    }

    async fn exec(&self, node: Node, command: &NodeCommand) -> anyhow::Result<CommandOutput> {
        let ran = in_time(local_processes::run(command, Some(self.namespace(node)?))).await;
        ran.with_context(|| format!("running `{command}` in {node}"))
    }

    async fn spawn(&self, node: Node, command: &NodeCommand, log: &Path) -> anyhow::Result<NodeProcess> {
        let namespace = self.namespace(node)?;
        let spawned = self.processes.spawn(node, command, Some(namespace), log);
        spawned.with_context(|| format!("starting `{command}` in {node}"))
    }

    async fn get_file(&self, _node: Node, path: &str) -> anyhow::Result<Vec<u8>> {
        tokio::fs::read(path).await.with_context(|| format!("reading {path}"))
    }

    async fn cpu_time(&self, node: Node) -> anyhow::Result<Duration> {
        self.processes.cpu_time(node)
    }

    async fn is_local(&self) -> bool {
        true
    }

    async fn recreate(&self, node: Node) -> anyhow::Result<()> {
        self.processes.kill(node).await;
        self.nodes.borrow_mut().remove(&node);
        if node == Node::Server {
            self.memory.take();
        }
        let directory = self.node_directory(node);
        std::fs::remove_dir_all(&directory).with_context(|| format!("emptying {}", directory.display()))?;
        let network = self.network.borrow().clone().context("the environment is not up")?;
        network.bridge.detach(&self.bridge_end(node)).await?;
        let namespace = self.create_node(node, &network.spec, &network.bridge).await?;
        self.nodes.borrow_mut().insert(node, namespace);
        Ok(())
    }

    async fn down(&self) -> anyhow::Result<()> {
        for node in self.nodes.take().into_keys() {
            self.processes.kill(node).await;
        }
        self.memory.take();
        self.network.take();
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
    fn every_node_has_its_own_address() {
        assert_eq!(address(Node::Server), Ipv4Addr::new(10, 77, 0, 2));
        assert_eq!(address(Node::Client(1)), Ipv4Addr::new(10, 77, 1, 1));
        assert_eq!(address(Node::Client(256)), Ipv4Addr::new(10, 77, 2, 0));
        assert_eq!(address(Node::Client(1000)), Ipv4Addr::new(10, 77, 4, 232));
    }
}
