//! Nodes as containers of a Docker engine, on a network of their own.
//!
//! A node's container only waits; everything is started in it by exec, as in the other engines. Containers and network
//! carry the run's id as a label, so that `testbed clean` finds what a killed driver left.

mod attached;
mod container;
pub(crate) mod leftovers;

use std::cell::RefCell;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use bollard::Docker;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, InspectContainerOptions,
    RemoveContainerOptionsBuilder, StartContainerOptions, StatsOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::process::Process;
use super::{EXEC_LIMIT, Engine, LabPlan, Node, NodeCommand, Output};
use crate::host;

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
const FOLDER: &str = "/testbed";

/// Containers of a Docker engine.
pub(crate) struct DockerEngine {
    /// The connection to the engine.
    docker: Docker,
    /// What is up.
    plan: Option<LabPlan>,
    /// The server's address, which Docker chose.
    server_address: Ipv4Addr,
    /// Log files that exec streams are written to, kept open by their tasks.
    followers: RefCell<Vec<tokio::task::JoinHandle<()>>>,
}

/// Connects to the engine that the environment names (DOCKER_HOST), else to the local one.
///
/// # Errors
/// When no engine answers.
pub(crate) async fn connect() -> anyhow::Result<Docker> {
    let docker = Docker::connect_with_defaults().context("finding a Docker engine")?;
    docker.ping().await.context("no Docker engine answers (is it running, and may you use it?)")?;
    Ok(docker)
}

/// Which of the images are not there.
pub(crate) async fn missing_images(docker: &Docker) -> Vec<&'static str> {
    let looked = IMAGES.map(|image| async move { (image, docker.inspect_image(image).await.is_ok()) });
    join_all(looked).await.into_iter().filter(|(_, there)| !there).map(|(image, _)| image).collect()
}

impl DockerEngine {
    /// An engine on this connection.
    pub(crate) fn new(docker: Docker) -> Self {
        Self { docker, plan: None, server_address: Ipv4Addr::UNSPECIFIED, followers: RefCell::default() }
    }

    fn plan(&self) -> anyhow::Result<&LabPlan> {
        self.plan.as_ref().context("the lab is not up")
    }

    fn container(&self, node: Node) -> anyhow::Result<String> {
        Ok(container::name(&self.plan()?.run_id, node))
    }

    async fn make_network(&self, plan: &LabPlan) -> anyhow::Result<()> {
        let request = NetworkCreateRequest {
            name: container::network(&plan.run_id),
            driver: Some("bridge".to_owned()),
            internal: Some(true),
            labels: Some(container::labels(plan)),
            ..NetworkCreateRequest::default()
        };
        self.docker.create_network(request).await.context("making the run's network")?;
        Ok(())
    }

    async fn make_node(&self, node: Node, plan: &LabPlan) -> anyhow::Result<()> {
        let name = container::name(&plan.run_id, node);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let body = container::description(node, plan);
        let created = self.docker.create_container(Some(options), body).await;
        created.with_context(|| format!("creating the container {name}"))?;
        let started = self.docker.start_container(&name, None::<StartContainerOptions>).await;
        started.with_context(|| format!("starting the container {name}"))?;
        self.make_folder(&name).await
    }

    /// Makes the folder that the node's programs write to.
    async fn make_folder(&self, container: &str) -> anyhow::Result<()> {
        let archive = container::folder_archive(FOLDER).context("packing a folder")?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let body = bollard::body_full(archive.into());
        let uploaded = self.docker.upload_to_container(container, Some(options), body).await;
        uploaded.with_context(|| format!("making {FOLDER} in the container {container}"))
    }

    async fn find_server_address(&self, plan: &LabPlan) -> anyhow::Result<Ipv4Addr> {
        let name = container::name(&plan.run_id, Node::Server);
        let inspected = self.docker.inspect_container(&name, None::<InspectContainerOptions>).await;
        let settings = inspected.with_context(|| format!("inspecting the container {name}"))?.network_settings;
        let mut networks = settings.and_then(|settings| settings.networks).unwrap_or_default();
        let endpoint = networks.remove(&container::network(&plan.run_id));
        let address = endpoint.and_then(|endpoint| endpoint.ip_address).unwrap_or_default();
        address.parse().with_context(|| format!("container {name} has no IPv4 address on its network, got '{address}'"))
    }

    async fn remove_node(&self, name: &str) -> anyhow::Result<()> {
        match force_remove(&self.docker, name).await {
            Err(error) if !is_missing(&error) => Err(error).with_context(|| format!("removing the container {name}")),
            _ => Ok(()),
        }
    }
}

/// Removes a container, whatever it does, with its anonymous volumes.
async fn force_remove(docker: &Docker, name_or_id: &str) -> Result<(), bollard::errors::Error> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    docker.remove_container(name_or_id, Some(options)).await
}

/// Whether an error only says that there is no such thing.
fn is_missing(error: &bollard::errors::Error) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })
}

#[async_trait(?Send)]
impl Engine for DockerEngine {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn up(&mut self, plan: &LabPlan) -> anyhow::Result<()> {
        // Set first: `down` must find what a failure below leaves half done.
        self.plan = Some(plan.clone());
        self.make_network(plan).await?;
        // All of them, also after a failure: the engine would go on making what nobody waits for, and nobody removes.
        let made = join_all(plan.nodes().map(|node| self.make_node(node, plan))).await;
        made.into_iter().collect::<anyhow::Result<()>>()?;
        self.server_address = self.find_server_address(plan).await?;
        Ok(())
    }

    fn server_address(&self) -> Ipv4Addr {
        self.server_address
    }

    fn folder(&self, _node: Node) -> String {
        FOLDER.to_owned()
    }

    async fn exec(&self, node: Node, command: &NodeCommand) -> anyhow::Result<Output> {
        let container = self.container(node)?;
        let ran = timeout(EXEC_LIMIT, attached::run(&self.docker, &container, command)).await;
        let ran = ran.unwrap_or_else(|_| bail!("it did not end within {} s", EXEC_LIMIT.as_secs()));
        ran.with_context(|| format!("running `{command}` in {container}"))
    }

    async fn spawn(&self, node: Node, command: &NodeCommand, log: &Path) -> anyhow::Result<Process> {
        let container = self.container(node)?;
        let spawned = attached::spawn(&self.docker, &container, command, log).await;
        let (process, follower) = spawned.with_context(|| format!("starting `{command}` in {container}"))?;
        self.followers.borrow_mut().push(follower);
        Ok(process)
    }

    async fn get_file(&self, node: Node, path: &str) -> anyhow::Result<Vec<u8>> {
        let container = self.container(node)?;
        let what = || format!("getting {path} from the container {container}");
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut chunks = self.docker.download_from_container(&container, Some(options));
        let mut packed = Vec::new();
        while let Some(chunk) = chunks.next().await {
            packed.extend_from_slice(&chunk.with_context(what)?);
        }
        let mut archive = tar::Archive::new(packed.as_slice());
        let mut entries = archive.entries().with_context(what)?;
        let Some(entry) = entries.next() else { bail!("{}: the archive is empty", what()) };
        let mut content = Vec::new();
        entry.with_context(what)?.read_to_end(&mut content).with_context(what)?;
        Ok(content)
    }

    async fn cpu_time(&self, node: Node) -> anyhow::Result<Duration> {
        let container = self.container(node)?;
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let stats = self.docker.stats(&container, Some(options)).next().await;
        let stats = stats.context("no answer")?.with_context(|| format!("asking for the CPU time of {container}"))?;
        let usage = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage).and_then(|usage| usage.total_usage);
        Ok(Duration::from_nanos(usage.with_context(|| format!("{container} has no CPU time to tell"))?))
    }

    async fn shares_host(&self) -> bool {
        let Ok(info) = self.docker.info().await else { return false };
        info.name == Some(host::name()) && info.kernel_version == host::kernel()
    }

    async fn renew(&mut self, node: Node) -> anyhow::Result<()> {
        let plan = self.plan()?.clone();
        self.remove_node(&container::name(&plan.run_id, node)).await?;
        self.make_node(node, &plan).await?;
        if node == Node::Server {
            self.server_address = self.find_server_address(&plan).await?;
        }
        Ok(())
    }

    async fn down(&mut self) -> anyhow::Result<()> {
        let Some(plan) = self.plan.clone() else { return Ok(()) };
        let names: Vec<String> = plan.nodes().map(|node| container::name(&plan.run_id, node)).collect();
        let removed = join_all(names.iter().map(|name| self.remove_node(name))).await;
        for follower in self.followers.get_mut().drain(..) {
            follower.abort();
        }
        let network = container::network(&plan.run_id);
        let network_removed = match self.docker.remove_network(&network).await {
            Err(error) if !is_missing(&error) => Err(error).with_context(|| format!("removing the network {network}")),
            _ => Ok(()),
        };
        removed.into_iter().collect::<anyhow::Result<()>>().and(network_removed)?;
        self.plan = None;
        Ok(())
    }

    async fn facts(&self) -> anyhow::Result<serde_json::Value> {
        let version = self.docker.version().await.context("asking for the engine's version")?;
        let mut images = serde_json::Map::new();
        for image in IMAGES {
            let inspected = self.docker.inspect_image(image).await.with_context(|| format!("inspecting {image}"))?;
            images.insert(image.to_owned(), serde_json::json!(inspected.id));
        }
        let info = self.docker.info().await.context("asking for the engine's host")?;
        Ok(serde_json::json!({
            "version": version.version,
            "api": version.api_version,
            "images": images,
            "kernel": info.kernel_version,
            "cores": info.ncpu,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compose_builds_the_images_that_runs_use() {
        let compose = include_str!("../../../compose.yaml");
        for image in IMAGES {
            assert!(compose.contains(&format!("image: {image}\n")), "compose.yaml does not name {image}");
        }
    }
}
