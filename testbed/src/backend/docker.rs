//! Nodes as containers on one or several Docker hosts.
//!
//! On one Docker host, server and clients share a dedicated network. On several, the server's ports are published and
//! clients connect to them from the other hosts. A node's container only waits: programs are started in it by exec.
//! Containers and networks have the run's id as a label, so that `testbed clean` finds those left by a killed run.

mod docker_host;
mod exec;
mod remove;
mod specs;
pub(crate) mod stale;
mod tunnel;
mod unsupported;
mod url;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use futures_util::future::join_all;

use crate::backend::node_process::NodeProcess;
use crate::backend::{Backend, CommandOutput, EnvironmentSpec, Node, NodeCommand, ShopAddress};
use crate::host_info;
pub(crate) use docker_host::{DockerHost, connect};
pub(super) use remove::is_missing;
pub(super) use specs::{
    CLIENT_CAPABILITIES, MAX_MEMORY_BYTES, MAX_PROCESSES, NetworkKind, capabilities, labels, names,
};
use tunnel::Tunnel;
pub(crate) use url::url_or_default;

/// Images of the server's and the clients' nodes; `compose.yaml` and `docker/` build them under these names.
pub(crate) const IMAGES: [&str; 2] = ["testbed-shop-server:latest", "testbed-shop-client:latest"];

/// How to build missing or outdated images, for messages.
pub(crate) const HOW_TO_BUILD_IMAGES: &str = "`docker compose build`, or docker/offline.sh where nothing can be pulled";

/// Label with the run's id, on everything that is created.
const RUN_LABEL: &str = "testbed.run";
/// Label with the name of the driver's host.
const HOST_LABEL: &str = "testbed.host";
/// Label with the driver's temporary directory, which is locked while the driver lives.
const LOCK_DIR_LABEL: &str = "testbed.lock_dir";

/// Working directory of the testbed's programs in a container.
pub(super) const WORK_DIR: &str = "/testbed";

/// Returns the error of programs in an image that were built from other sources than the driver.
pub(crate) fn other_build(holder: &str, printed: &str, expected: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{holder}: image built from other sources: got '{printed}', expected '{expected}'; rebuild the images: \
         {HOW_TO_BUILD_IMAGES}"
    )
}

/// Checks the syntax of a Docker host's URL.
///
/// # Errors
/// When it is invalid; the error states the accepted forms.
pub(crate) fn check_url(url: &str) -> anyhow::Result<()> {
    if url.starts_with("ssh:") { Tunnel::check(url) } else { DockerHost::unchecked(url).map(drop) }
}

/// How clients reach the shop.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ShopAccess {
    /// Through a network of one Docker host, which has server and clients.
    OneNetwork,
    /// Through ports that the server's Docker host publishes.
    Published(ShopAddress),
    /// The server is external; there is no server node.
    External(ShopAddress),
}

/// Containers on Docker hosts.
pub(crate) struct DockerBackend {
    /// Docker hosts, each once.
    docker_hosts: Vec<DockerHost>,
    /// The server's Docker host, an index into `docker_hosts`.
    server: usize,
    /// Docker hosts of the clients, assigned round-robin: indices into `docker_hosts`.
    clients: Vec<usize>,
    access: ShopAccess,
    /// Where clients reach the shop; known once the nodes are up.
    shop: RefCell<ShopAddress>,
    /// Specification of the nodes that are up.
    spec: RefCell<Option<Rc<EnvironmentSpec>>>,
}

impl DockerBackend {
    /// Places all nodes on one Docker host.
    pub(crate) fn on_one(docker_host: DockerHost) -> Self {
        Self::with(vec![docker_host], 0, vec![0], ShopAccess::OneNetwork)
    }

    /// Places the server on one Docker host and the clients round-robin on others. A Docker host given twice counts once.
    ///
    /// # Errors
    /// When clients would be on the server's Docker host: from there, published ports lead through its proxy or nowhere.
    pub(crate) fn on_several(
        server: DockerHost,
        others: Vec<DockerHost>,
        published: ShopAddress,
    ) -> anyhow::Result<Self> {
        let mut docker_hosts = vec![server];
        let mut clients = Vec::new();
        for docker_host in others {
            let known = docker_hosts.iter().position(|known| known.id() == docker_host.id());
            if known == Some(0) {
                bail!(
                    "{} is the server's Docker host (same id, same host name): clients on the server's host do not reach \
                     its published ports as others do; give other Docker hosts for the clients, or none to place all \
                     nodes on one",
                    docker_host.url()
                );
            }
            clients.push(known.unwrap_or(docker_hosts.len()));
            if known.is_none() {
                docker_hosts.push(docker_host);
            }
        }
        Ok(Self::with(docker_hosts, 0, clients, ShopAccess::Published(published)))
    }

    /// Places clients only, for an external server.
    pub(crate) fn clients_only(mut docker_hosts: Vec<DockerHost>, shop: ShopAddress) -> Self {
        let mut seen = HashSet::new();
        docker_hosts.retain(|docker_host| seen.insert(docker_host.id()));
        let clients = (0..docker_hosts.len()).collect();
        Self::with(docker_hosts, 0, clients, ShopAccess::External(shop))
    }

    fn with(docker_hosts: Vec<DockerHost>, server: usize, clients: Vec<usize>, access: ShopAccess) -> Self {
        let shop = match &access {
            ShopAccess::OneNetwork => ShopAddress::of_node(&""),
            ShopAccess::Published(shop) | ShopAccess::External(shop) => shop.clone(),
        };
        Self { docker_hosts, server, clients, access, shop: RefCell::new(shop), spec: RefCell::default() }
    }

    fn docker_host(&self, node: Node) -> &DockerHost {
        &self.docker_hosts[match node {
            Node::Server => self.server,
            Node::Client(number) => self.clients[(number.saturating_sub(1)) as usize % self.clients.len()],
        }]
    }

    fn spec(&self) -> anyhow::Result<Rc<EnvironmentSpec>> {
        self.spec.borrow().clone().context("the environment is not up")
    }

    fn container(&self, node: Node) -> anyhow::Result<String> {
        Ok(names::node(&self.spec()?.run_id, node))
    }

    fn nodes(&self, spec: &EnvironmentSpec) -> Vec<Node> {
        if self.has_server() { spec.nodes().collect() } else { spec.client_nodes().collect() }
    }

    async fn create_node(&self, node: Node, spec: &EnvironmentSpec) -> anyhow::Result<()> {
        let publish = match (&self.access, node) {
            (ShopAccess::Published(shop), Node::Server) => Some(shop),
            _ => None,
        };
        self.docker_host(node).make_node(node, spec, publish).await
    }

    /// Queries the server's address: on one network, Docker assigns it.
    async fn find_shop(&self, spec: &EnvironmentSpec) -> anyhow::Result<()> {
        if self.access == ShopAccess::OneNetwork {
            let (container, network) = (names::node(&spec.run_id, Node::Server), names::network(&spec.run_id));
            let address = self.docker_host(Node::Server).address_of(&container, &network).await?;
            self.shop.replace(ShopAddress::of_node(&address));
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl Backend for DockerBackend {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn up(&self, spec: &EnvironmentSpec) -> anyhow::Result<()> {
        // Set first: after a failure below, `down` removes what was created until then.
        self.spec.replace(Some(Rc::new(spec.clone())));
        let kind = if self.access == ShopAccess::OneNetwork { NetworkKind::Closed } else { NetworkKind::Open };
        // All are awaited, also after a failure: otherwise the daemon could create one after `down`.
        let networks = join_all(self.docker_hosts.iter().map(|docker_host| docker_host.make_network(spec, kind))).await;
        networks.into_iter().collect::<anyhow::Result<()>>()?;
        let created = join_all(self.nodes(spec).into_iter().map(|node| self.create_node(node, spec))).await;
        created.into_iter().collect::<anyhow::Result<()>>()?;
        self.find_shop(spec).await
    }

    fn shop(&self) -> ShopAddress {
        self.shop.borrow().clone()
    }

    fn has_server(&self) -> bool {
        !matches!(self.access, ShopAccess::External(_))
    }

    fn work_dir(&self, _node: Node) -> String {
        WORK_DIR.to_owned()
    }

    async fn exec(&self, node: Node, command: &NodeCommand) -> anyhow::Result<CommandOutput> {
        self.docker_host(node).exec(&self.container(node)?, command).await
    }

    async fn spawn(&self, node: Node, command: &NodeCommand, log: &Path) -> anyhow::Result<NodeProcess> {
        self.docker_host(node).spawn(&self.container(node)?, command, log).await
    }

    async fn get_file(&self, node: Node, path: &str) -> anyhow::Result<Vec<u8>> {
        self.docker_host(node).get_file(&self.container(node)?, path).await
    }

    async fn cpu_time(&self, node: Node) -> anyhow::Result<Duration> {
        self.docker_host(node).cpu_time(&self.container(node)?).await
    }

    fn clients_by_host(&self) -> Vec<Node> {
        // Clients are assigned round-robin, so the first of them are on different Docker hosts.
        let clients = self.spec.borrow().as_ref().map_or(0, |spec| spec.clients);
        let hosts = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        (1..=clients.min(hosts)).map(Node::Client).collect()
    }

    fn sysctls(&self, spec: &EnvironmentSpec) -> BTreeMap<String, String> {
        // A setting that one host's kernel does not support is omitted on that host only, but the nodes no longer share it.
        let mut common = spec.all_sysctls();
        for docker_host in &self.docker_hosts {
            let supported = docker_host.sysctls(spec);
            common.retain(|name, _| supported.contains_key(name));
        }
        common
    }

    async fn is_local(&self) -> bool {
        let Ok(spec) = self.spec() else { return false };
        let nodes = self.nodes(&spec);
        for docker_host in &self.docker_hosts {
            // The boot id identifies the host: a driver in a container has a different host name.
            let Some(node) = nodes.iter().find(|node| self.docker_host(**node).url() == docker_host.url()) else {
                continue;
            };
            let output = self.exec(*node, &NodeCommand::installed("cat", [host_info::BOOT_ID])).await;
            let boot_id = output.ok().map(|output| output.stdout.trim().to_owned());
            if boot_id.is_none() || boot_id != host_info::boot_id() {
                return false;
            }
        }
        true
    }

    async fn recreate(&self, node: Node) -> anyhow::Result<()> {
        let spec = self.spec()?;
        self.docker_host(node).remove_container(&names::node(&spec.run_id, node)).await?;
        self.create_node(node, &spec).await?;
        if node == Node::Server { self.find_shop(&spec).await } else { Ok(()) }
    }

    async fn down(&self) -> anyhow::Result<()> {
        let Ok(spec) = self.spec() else { return Ok(()) };
        let nodes = self.nodes(&spec).into_iter();
        let containers = nodes.map(|node| (node, names::node(&spec.run_id, node)));
        let removed =
            join_all(containers.map(async |(node, name)| self.docker_host(node).remove_container(&name).await)).await;
        let network = names::network(&spec.run_id);
        let networks = join_all(self.docker_hosts.iter().map(|docker_host| docker_host.remove_network(&network))).await;
        removed.into_iter().chain(networks).collect::<anyhow::Result<()>>()?;
        self.spec.take();
        Ok(())
    }

    async fn info(&self) -> anyhow::Result<serde_json::Value> {
        let mut docker_hosts = Vec::new();
        for docker_host in &self.docker_hosts {
            docker_hosts.push(docker_host.info().await?);
        }
        let clients: Vec<&str> = self.clients.iter().map(|index| self.docker_hosts[*index].url()).collect();
        let server = self.has_server().then(|| self.docker_hosts[self.server].url());
        Ok(serde_json::json!({ "docker_hosts": docker_hosts, "server_host": server, "client_hosts": clients }))
    }
}

#[cfg(test)]
pub(super) mod tests;
