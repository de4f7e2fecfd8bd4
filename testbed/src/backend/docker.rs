//! Nodes as containers of one or several Docker engines.
//!
//! On one engine, server and clients share a network of their own. On several, or when the server's engine is named,
//! the server's ports are published and clients reach them from outside, as virtual users on other hosts do. A node's
//! container only waits; everything is started in it by exec, as in the other engines. Containers and networks carry
//! the run's id as a label, so that `testbed clean` finds what a killed driver left.

mod docker_host;
mod exec;
mod remove;
mod specs;
pub(crate) mod stale;
mod tunnel;
mod unsupported;
mod url;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
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
pub(crate) use url::{check_url, url_or_default};

/// The images of the two kinds of node; `compose.yaml` and `docker/` build them under these names.
pub(crate) const IMAGES: [&str; 2] = ["testbed-shop-server:latest", "testbed-shop-client:latest"];

/// What to do when they are missing or old, for the user.
pub(crate) const HOW_TO_BUILD_IMAGES: &str = "`docker compose build`, or docker/offline.sh where nothing can be pulled";

/// The label with the run's id on everything that is made.
const RUN_LABEL: &str = "testbed.run";
/// The label with the name of the driver's host.
const HOST_LABEL: &str = "testbed.host";
/// The label with the driver's temporary directory, which is locked as long as the driver lives.
const LOCK_DIR_LABEL: &str = "testbed.lock_dir";

/// Where in a container our programs write.
pub(super) const WORK_DIR: &str = "/testbed";

/// How clients get to the shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ShopAccess {
    /// Server and clients are on one network of one engine.
    OneNetwork,
    /// By ports that the server's engine publishes.
    Published(ShopAddress),
    /// The server is external; there is no server node.
    Elsewhere(ShopAddress),
}

/// Containers of Docker engines.
pub(crate) struct DockerBackend {
    /// The engines, each once.
    docker_hosts: Vec<DockerHost>,
    /// Where the server is, if there is one: an index into `sites`.
    server: usize,
    /// Where clients are, in turn: indexes into `sites`.
    clients: Vec<usize>,
    reach: ShopAccess,
    /// Where clients find the shop; known when the nodes are up.
    shop: ShopAddress,
    /// What is up.
    plan: Option<EnvironmentSpec>,
}

impl DockerBackend {
    /// All nodes on one engine.
    pub(crate) fn on_one(docker_host: DockerHost) -> Self {
        Self::with(vec![docker_host], 0, vec![0], ShopAccess::OneNetwork)
    }

    /// The server on one engine and the clients on the others in turn. BackendFactory that are named twice are one.
    ///
    /// # Errors
    /// When clients would be on the server's engine: from there, published ports lead through its proxy or nowhere.
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
                    "{} is the server's Docker host (same id, same host name): clients on the server's host do not reach its published ports as others do; \
                     name other engines for them, or none for everything on one",
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

    /// Clients only, for an external server.
    pub(crate) fn clients_only(mut docker_hosts: Vec<DockerHost>, shop: ShopAddress) -> Self {
        let mut seen = HashSet::new();
        docker_hosts.retain(|docker_host| seen.insert(docker_host.id()));
        let clients = (0..docker_hosts.len()).collect();
        Self::with(docker_hosts, 0, clients, ShopAccess::Elsewhere(shop))
    }

    fn with(docker_hosts: Vec<DockerHost>, server: usize, clients: Vec<usize>, reach: ShopAccess) -> Self {
        let shop = match &reach {
            ShopAccess::OneNetwork => ShopAddress::of_node(&""),
            ShopAccess::Published(shop) | ShopAccess::Elsewhere(shop) => shop.clone(),
        };
        Self { docker_hosts, server, clients, reach, shop, plan: None }
    }

    fn docker_host(&self, node: Node) -> &DockerHost {
        &self.docker_hosts[match node {
            Node::Server => self.server,
            Node::Client(number) => self.clients[(number.saturating_sub(1)) as usize % self.clients.len()],
        }]
    }

    fn plan(&self) -> anyhow::Result<&EnvironmentSpec> {
        self.plan.as_ref().context("the environment is not up")
    }

    fn container(&self, node: Node) -> anyhow::Result<String> {
        Ok(names::node(&self.plan()?.run_id, node))
    }

    /// The nodes that there are.
    fn nodes(&self, plan: &EnvironmentSpec) -> Vec<Node> {
        if self.has_server() { plan.nodes().collect() } else { plan.client_nodes().collect() }
    }

    async fn make_node(&self, node: Node, plan: &EnvironmentSpec) -> anyhow::Result<()> {
        let publish = match (&self.reach, node) {
            (ShopAccess::Published(shop), Node::Server) => Some(shop),
            _ => None,
        };
        self.docker_host(node).make_node(node, plan, publish).await
    }

    /// On one network only the engine knows the address.
    async fn find_shop(&mut self, plan: &EnvironmentSpec) -> anyhow::Result<()> {
        if self.reach == ShopAccess::OneNetwork {
            let (container, network) = (names::node(&plan.run_id, Node::Server), names::network(&plan.run_id));
            let address = self.docker_host(Node::Server).address_of(&container, &network).await?;
            self.shop = ShopAddress::of_node(&address);
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl Backend for DockerBackend {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn up(&mut self, plan: &EnvironmentSpec) -> anyhow::Result<()> {
        // Set first: `down` must find what a failure below leaves half done.
        self.plan = Some(plan.clone());
        let kind = if self.reach == ShopAccess::OneNetwork { NetworkKind::Closed } else { NetworkKind::Open };
        // All of them, also after a failure: the daemon would create the rest later, and nothing would remove it.
        let networks = join_all(self.docker_hosts.iter().map(|docker_host| docker_host.make_network(plan, kind))).await;
        networks.into_iter().collect::<anyhow::Result<()>>()?;
        let made = join_all(self.nodes(plan).into_iter().map(|node| self.make_node(node, plan))).await;
        made.into_iter().collect::<anyhow::Result<()>>()?;
        self.find_shop(plan).await
    }

    fn shop(&self) -> &ShopAddress {
        &self.shop
    }

    fn has_server(&self) -> bool {
        !matches!(self.reach, ShopAccess::Elsewhere(_))
    }

    fn folder(&self, _node: Node) -> String {
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
        let clients = self.plan.as_ref().map_or(0, |plan| plan.clients);
        let machines = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        (1..=clients.min(machines)).map(Node::Client).collect()
    }

    fn sysctls(&self, plan: &EnvironmentSpec) -> BTreeMap<String, String> {
        // What one engine's kernel lacks is left out in its nodes only, but is no setting of the run any more.
        let mut common = plan.all_sysctls();
        for docker_host in &self.docker_hosts {
            let there = docker_host.sysctls(plan);
            common.retain(|name, _| there.contains_key(name));
        }
        common
    }

    async fn is_local(&self) -> bool {
        let Some(plan) = &self.plan else { return false };
        let nodes = self.nodes(plan);
        for docker_host in &self.docker_hosts {
            // A node's word, since a driver in a container has another host name than its engine.
            let Some(node) = nodes.iter().find(|node| self.docker_host(**node).url() == docker_host.url()) else {
                continue;
            };
            let requested = self.exec(*node, &NodeCommand::installed("cat", [host_info::BOOT_ID])).await;
            let told = requested.ok().map(|answer| answer.stdout.trim().to_owned());
            if told.is_none() || told != host_info::boot_id() {
                return false;
            }
        }
        true
    }

    async fn recreate(&mut self, node: Node) -> anyhow::Result<()> {
        let plan = self.plan()?.clone();
        self.docker_host(node).remove_container(&names::node(&plan.run_id, node)).await?;
        self.make_node(node, &plan).await?;
        if node == Node::Server { self.find_shop(&plan).await } else { Ok(()) }
    }

    async fn down(&mut self) -> anyhow::Result<()> {
        let Some(plan) = self.plan.clone() else { return Ok(()) };
        let nodes = self.nodes(&plan);
        let removed =
            join_all(nodes.iter().map(|node| async {
                self.docker_host(*node).remove_container(&names::node(&plan.run_id, *node)).await
            }))
            .await;
        let network = names::network(&plan.run_id);
        let networks = join_all(self.docker_hosts.iter().map(|docker_host| docker_host.remove_network(&network))).await;
        removed.into_iter().chain(networks).collect::<anyhow::Result<()>>()?;
        self.plan = None;
        Ok(())
    }

    async fn info(&self) -> anyhow::Result<serde_json::Value> {
        let mut backends = Vec::new();
        for docker_host in &self.docker_hosts {
            backends.push(docker_host.info().await?);
        }
        let clients: Vec<&str> = self.clients.iter().map(|index| self.docker_hosts[*index].url()).collect();
        let server = self.has_server().then(|| self.docker_hosts[self.server].url());
        Ok(serde_json::json!({ "docker_hosts": backends, "server_host": server, "client_hosts": clients }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) use super::specs::tests::plan;

    #[test]
    fn compose_builds_the_images_that_runs_use() {
        let compose = include_str!("../../../compose.yaml");
        for image in IMAGES {
            assert!(compose.contains(&format!("image: {image}\n")), "compose.yaml does not name {image}");
        }
    }

    #[tokio::test]
    async fn clients_are_dealt_out_to_the_engines_in_turn_and_an_engine_named_twice_is_one() {
        let docker_host = |url: &str| DockerHost::unchecked(url).unwrap();
        let shop = ShopAddress::published("192.0.2.1", 5000).unwrap();
        let [a, b, c] = ["tcp://192.0.2.1:2375", "tcp://192.0.2.2:2375", "tcp://192.0.2.3:2375"];
        let backend = DockerBackend::on_several(
            docker_host(a),
            vec![docker_host(b), docker_host(c), docker_host(b)],
            shop.clone(),
        )
        .unwrap();
        assert_eq!(backend.docker_hosts.len(), 3);
        let urls: Vec<&str> = (1..=4).map(|number| backend.docker_host(Node::Client(number)).url()).collect();
        assert_eq!((backend.docker_host(Node::Server).url(), urls), (a, vec![b, c, b, b]));
        let error = DockerBackend::on_several(docker_host(a), vec![docker_host(b), docker_host(a)], shop)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(a), "{error}");
    }
}
