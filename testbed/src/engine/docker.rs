//! Nodes as containers of one or several Docker engines.
//!
//! On one engine, server and clients share a network of their own. On several, or when the server's engine is named, the
//! server's ports are published and clients reach them from outside, as shoppers on other machines do. A node's container
//! only waits; everything is started in it by exec, as in the other engines. Containers and networks carry the run's id
//! as a label, so that `testbed clean` finds what a killed driver left.

mod attached;
mod container;
pub(crate) mod leftovers;
mod quirks;
mod removal;
mod site;
mod tunnel;
mod url;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use futures_util::future::join_all;

use super::process::Process;
use super::{Engine, LabPlan, Node, NodeCommand, Output, ShopAddress};
use crate::host;
pub(super) use container::{
    CLIENT_CAPABILITIES, MAX_MEMORY_BYTES, MAX_PROCESSES, NetworkKind, capabilities, labels, names,
};
pub(super) use removal::is_missing;
pub(crate) use site::{Site, connect};
pub(crate) use url::{check_url, url_or_default};

/// The images of the two kinds of node; `compose.yaml` and `docker/` build them under these names.
pub(crate) const IMAGES: [&str; 2] = ["testbed-shop-server:latest", "testbed-shop-client:latest"];

/// What to do when they are missing or old, for the user.
pub(crate) const HOW_TO_BUILD_IMAGES: &str = "`docker compose build`, or docker/offline.sh where nothing can be pulled";

/// The label with the run's id on everything that is made.
const RUN_LABEL: &str = "testbed.run";
/// The label with the name of the driver's host.
const HOST_LABEL: &str = "testbed.host";
/// The label with the driver's temporary folder, which is locked as long as the driver lives.
const FOLDER_LABEL: &str = "testbed.folder";

/// Where in a container our programs write.
pub(super) const FOLDER: &str = "/testbed";

/// How clients get to the shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Server and clients are on one network of one engine.
    OneNetwork,
    /// By ports that the server's engine publishes.
    Published(ShopAddress),
    /// The shop is somebody else's; there is no server's node.
    Elsewhere(ShopAddress),
}

/// Containers of Docker engines.
pub(crate) struct DockerEngine {
    /// The engines, each once.
    sites: Vec<Site>,
    /// Where the server is, if there is one: an index into `sites`.
    server: usize,
    /// Where clients are, in turn: indexes into `sites`.
    clients: Vec<usize>,
    reach: Reach,
    /// Where clients find the shop; known when the nodes are up.
    shop: ShopAddress,
    /// What is up.
    plan: Option<LabPlan>,
}

impl DockerEngine {
    /// All nodes on one engine.
    pub(crate) fn on_one(site: Site) -> Self {
        Self::with(vec![site], 0, vec![0], Reach::OneNetwork)
    }

    /// The server on one engine and the clients on the others in turn. Engines that are named twice are one.
    ///
    /// # Errors
    /// When clients would be on the server's engine: from there, published ports lead through its proxy or nowhere.
    pub(crate) fn on_several(server: Site, others: Vec<Site>, published: ShopAddress) -> anyhow::Result<Self> {
        let mut sites = vec![server];
        let mut clients = Vec::new();
        for site in others {
            let known = sites.iter().position(|known| known.id() == site.id());
            if known == Some(0) {
                bail!(
                    "{} is the server's engine (same id, same host name): clients beside the server do not reach its published ports as others do; \
                     name other engines for them, or none for everything on one",
                    site.url()
                );
            }
            clients.push(known.unwrap_or(sites.len()));
            if known.is_none() {
                sites.push(site);
            }
        }
        Ok(Self::with(sites, 0, clients, Reach::Published(published)))
    }

    /// Clients only, for a shop that somebody else has started.
    pub(crate) fn clients_only(mut sites: Vec<Site>, shop: ShopAddress) -> Self {
        let mut seen = HashSet::new();
        sites.retain(|site| seen.insert(site.id()));
        let clients = (0..sites.len()).collect();
        Self::with(sites, 0, clients, Reach::Elsewhere(shop))
    }

    fn with(sites: Vec<Site>, server: usize, clients: Vec<usize>, reach: Reach) -> Self {
        let shop = match &reach {
            Reach::OneNetwork => ShopAddress::of_node(&""),
            Reach::Published(shop) | Reach::Elsewhere(shop) => shop.clone(),
        };
        Self { sites, server, clients, reach, shop, plan: None }
    }

    fn site(&self, node: Node) -> &Site {
        &self.sites[match node {
            Node::Server => self.server,
            Node::Client(number) => self.clients[(number.saturating_sub(1)) as usize % self.clients.len()],
        }]
    }

    fn plan(&self) -> anyhow::Result<&LabPlan> {
        self.plan.as_ref().context("the lab is not up")
    }

    fn container(&self, node: Node) -> anyhow::Result<String> {
        Ok(names::node(&self.plan()?.run_id, node))
    }

    /// The nodes that there are.
    fn nodes(&self, plan: &LabPlan) -> Vec<Node> {
        if self.has_server() { plan.nodes().collect() } else { plan.client_nodes().collect() }
    }

    async fn make_node(&self, node: Node, plan: &LabPlan) -> anyhow::Result<()> {
        let publish = match (&self.reach, node) {
            (Reach::Published(shop), Node::Server) => Some(shop),
            _ => None,
        };
        self.site(node).make_node(node, plan, publish).await
    }

    /// On one network only the engine knows the address.
    async fn find_shop(&mut self, plan: &LabPlan) -> anyhow::Result<()> {
        if self.reach == Reach::OneNetwork {
            let (container, network) = (names::node(&plan.run_id, Node::Server), names::network(&plan.run_id));
            let address = self.site(Node::Server).address_of(&container, &network).await?;
            self.shop = ShopAddress::of_node(&address);
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl Engine for DockerEngine {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn up(&mut self, plan: &LabPlan) -> anyhow::Result<()> {
        // Set first: `down` must find what a failure below leaves half done.
        self.plan = Some(plan.clone());
        let kind = if self.reach == Reach::OneNetwork { NetworkKind::Closed } else { NetworkKind::Open };
        // All of them, also after a failure: the engine would go on making what nobody waits for, and nobody removes.
        let networks = join_all(self.sites.iter().map(|site| site.make_network(plan, kind))).await;
        networks.into_iter().collect::<anyhow::Result<()>>()?;
        let made = join_all(self.nodes(plan).into_iter().map(|node| self.make_node(node, plan))).await;
        made.into_iter().collect::<anyhow::Result<()>>()?;
        self.find_shop(plan).await
    }

    fn shop(&self) -> &ShopAddress {
        &self.shop
    }

    fn has_server(&self) -> bool {
        !matches!(self.reach, Reach::Elsewhere(_))
    }

    fn folder(&self, _node: Node) -> String {
        FOLDER.to_owned()
    }

    async fn exec(&self, node: Node, command: &NodeCommand) -> anyhow::Result<Output> {
        self.site(node).exec(&self.container(node)?, command).await
    }

    async fn spawn(&self, node: Node, command: &NodeCommand, log: &Path) -> anyhow::Result<Process> {
        self.site(node).spawn(&self.container(node)?, command, log).await
    }

    async fn get_file(&self, node: Node, path: &str) -> anyhow::Result<Vec<u8>> {
        self.site(node).get_file(&self.container(node)?, path).await
    }

    async fn cpu_time(&self, node: Node) -> anyhow::Result<Duration> {
        self.site(node).cpu_time(&self.container(node)?).await
    }

    fn clients_by_machine(&self) -> Vec<Node> {
        let clients = self.plan.as_ref().map_or(0, |plan| plan.clients);
        let machines = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        (1..=clients.min(machines)).map(Node::Client).collect()
    }

    fn sysctls(&self, plan: &LabPlan) -> BTreeMap<String, String> {
        // What one engine's kernel lacks is left out in its nodes only, but is no setting of the run any more.
        let mut common = plan.all_sysctls();
        for site in &self.sites {
            let there = site.sysctls(plan);
            common.retain(|name, _| there.contains_key(name));
        }
        common
    }

    async fn shares_host(&self) -> bool {
        let Some(plan) = &self.plan else { return false };
        let nodes = self.nodes(plan);
        for site in &self.sites {
            // A node's word, since a driver in a container has another host name than its engine.
            let Some(node) = nodes.iter().find(|node| self.site(**node).url() == site.url()) else { continue };
            let asked = self.exec(*node, &NodeCommand::installed("cat", [host::BOOT_ID])).await;
            let told = asked.ok().map(|answer| answer.stdout.trim().to_owned());
            if told.is_none() || told != host::boot_id() {
                return false;
            }
        }
        true
    }

    async fn renew(&mut self, node: Node) -> anyhow::Result<()> {
        let plan = self.plan()?.clone();
        self.site(node).remove_container(&names::node(&plan.run_id, node)).await?;
        self.make_node(node, &plan).await?;
        if node == Node::Server { self.find_shop(&plan).await } else { Ok(()) }
    }

    async fn down(&mut self) -> anyhow::Result<()> {
        let Some(plan) = self.plan.clone() else { return Ok(()) };
        let nodes = self.nodes(&plan);
        let removed = join_all(
            nodes
                .iter()
                .map(|node| async { self.site(*node).remove_container(&names::node(&plan.run_id, *node)).await }),
        )
        .await;
        let network = names::network(&plan.run_id);
        let networks = join_all(self.sites.iter().map(|site| site.remove_network(&network))).await;
        removed.into_iter().chain(networks).collect::<anyhow::Result<()>>()?;
        self.plan = None;
        Ok(())
    }

    async fn facts(&self) -> anyhow::Result<serde_json::Value> {
        let mut engines = Vec::new();
        for site in &self.sites {
            engines.push(site.facts().await?);
        }
        let clients: Vec<&str> = self.clients.iter().map(|index| self.sites[*index].url()).collect();
        let server = self.has_server().then(|| self.sites[self.server].url());
        Ok(serde_json::json!({ "engines": engines, "server_on": server, "clients_on_in_turn": clients }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) use super::container::tests::plan;

    #[test]
    fn compose_builds_the_images_that_runs_use() {
        let compose = include_str!("../../../compose.yaml");
        for image in IMAGES {
            assert!(compose.contains(&format!("image: {image}\n")), "compose.yaml does not name {image}");
        }
    }

    #[tokio::test]
    async fn clients_are_dealt_out_to_the_engines_in_turn_and_an_engine_named_twice_is_one() {
        let site = |url: &str| Site::unchecked(url).unwrap();
        let shop = ShopAddress::published("192.0.2.1", 5000).unwrap();
        let [a, b, c] = ["tcp://192.0.2.1:2375", "tcp://192.0.2.2:2375", "tcp://192.0.2.3:2375"];
        let engine = DockerEngine::on_several(site(a), vec![site(b), site(c), site(b)], shop.clone()).unwrap();
        assert_eq!(engine.sites.len(), 3);
        let urls: Vec<&str> = (1..=4).map(|number| engine.site(Node::Client(number)).url()).collect();
        assert_eq!((engine.site(Node::Server).url(), urls), (a, vec![b, c, b, b]));
        let error = DockerEngine::on_several(site(a), vec![site(b), site(a)], shop).err().unwrap().to_string();
        assert!(error.contains(a), "{error}");
    }
}
