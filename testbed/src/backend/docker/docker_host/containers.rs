//! Networks and containers of a run on a Docker host.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bollard::errors::Error;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, InspectContainerOptions, ListContainersOptions,
    StartContainerOptions, StatsOptionsBuilder,
};
use futures_util::StreamExt;

use crate::backend::docker::docker_host::DockerHost;
use crate::backend::docker::remove;
use crate::backend::docker::remove::{force_remove, is_missing, remove_network};
use crate::backend::docker::specs;
use crate::backend::docker::specs::{NetworkKind, names};
use crate::backend::docker::{RUN_LABEL, exec};
use crate::backend::node_process::NodeProcess;
use crate::backend::{CommandOutput, EnvironmentSpec, Node, NodeCommand, ShopAddress, in_time};

impl DockerHost {
    pub(in crate::backend) async fn make_network(
        &self,
        spec: &EnvironmentSpec,
        kind: NetworkKind,
    ) -> anyhow::Result<()> {
        let request = specs::network_request(spec, kind);
        let created = self.docker.create_network(request).await;
        created.map(drop).with_context(|| format!("creating the run's network on {}", self.url))
    }

    /// Creates and starts a node's container, without the features that this Docker host turns out to lack.
    pub(in crate::backend) async fn make_node(
        &self,
        node: Node,
        spec: &EnvironmentSpec,
        publish: Option<&ShopAddress>,
    ) -> anyhow::Result<()> {
        let name = names::node(&spec.run_id, node);
        loop {
            let unsupported = self.unsupported.borrow().clone();
            let mut body = specs::description(node, spec, self.sysctls(spec));
            unsupported.adapt(&mut body);
            publish.inspect(|shop| specs::publish(&mut body, shop));
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            let Err(error) = self.create_and_start(&name, options, body).await else { return Ok(()) };
            self.record_missing(&error.to_string(), spec);
            // Compared with the features before the attempt, because another node's attempt may have added some.
            let is_retry_useful = *self.unsupported.borrow() != unsupported;
            if !is_retry_useful {
                let advice = if is_port_taken(&error) { "; choose other ports with --publish-port" } else { "" };
                return Err(error).with_context(|| format!("starting the container {name} on {}{advice}", self.url));
            }
            self.remove_container(&name).await?;
        }
    }

    async fn create_and_start(
        &self,
        name: &str,
        options: bollard::query_parameters::CreateContainerOptions,
        body: bollard::models::ContainerCreateBody,
    ) -> Result<(), Error> {
        self.docker.create_container(Some(options), body).await?;
        self.docker.start_container(name, None::<StartContainerOptions>).await
    }

    /// Records missing features that an error at a node's start mentions.
    pub(in crate::backend) fn record_missing(&self, error: &str, spec: &EnvironmentSpec) {
        self.unsupported.borrow_mut().record_missing(error, spec);
    }

    /// Returns the sysctls that the kernel supports, as far as is known.
    pub(in crate::backend) fn sysctls(&self, spec: &EnvironmentSpec) -> BTreeMap<String, String> {
        let is_local = self.url.starts_with("unix:");
        self.unsupported.borrow().without_missing(if is_local { spec.supported_sysctls() } else { spec.all_sysctls() })
    }

    /// Returns the address of a container on a network.
    pub(in crate::backend) async fn address_of(&self, container: &str, network: &str) -> anyhow::Result<Ipv4Addr> {
        let inspected = self.docker.inspect_container(container, None::<InspectContainerOptions>).await;
        let settings = inspected.with_context(|| format!("inspecting the container {container}"))?.network_settings;
        let mut networks = settings.and_then(|settings| settings.networks).unwrap_or_default();
        let address = networks.remove(network).and_then(|endpoint| endpoint.ip_address).unwrap_or_default();
        address.parse().with_context(|| format!("{container} has no IPv4 address on {network}, got '{address}'"))
    }

    pub(in crate::backend) async fn remove_container(&self, name: &str) -> anyhow::Result<()> {
        self.check_removed("container", name, force_remove(&self.docker, name).await)
    }

    /// Removes a network, and stops the followers of all commands.
    pub(in crate::backend) async fn remove_network(&self, name: &str) -> anyhow::Result<()> {
        for follower in self.followers.borrow_mut().drain(..) {
            follower.abort();
        }
        self.check_removed("network", name, remove_network(&self.docker, name).await)
    }

    /// Logs a removal. A resource that did not exist is no error.
    fn check_removed(&self, kind: &str, name: &str, removed: Result<(), Error>) -> anyhow::Result<()> {
        match removed {
            Err(error) if !is_missing(&error) => Err(error).with_context(|| format!("removing the {kind} {name}")),
            Err(_) => Ok(()),
            Ok(()) => {
                tracing::debug!("removed {kind} {name} on {}", self.url);
                Ok(())
            }
        }
    }

    /// Waits, with a timeout, until the daemon itself has removed all containers of a run.
    pub(in crate::backend) async fn wait_for_no_container(&self, run_id: &str) {
        let label = format!("{RUN_LABEL}={run_id}");
        let deadline = Instant::now() + remove::REMOVAL_TIMEOUT;
        while Instant::now() < deadline {
            let filters = remove::labelled(&label);
            let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
            match self.docker.list_containers(Some(options)).await {
                Ok(containers) if !containers.is_empty() => tokio::time::sleep(remove::POLL_INTERVAL).await,
                _ => return,
            }
        }
    }

    /// Creates and starts a container that is not a node, for programs of the testbed.
    pub(in crate::backend) async fn make_helper(&self, name: &str, spec: &EnvironmentSpec) -> anyhow::Result<()> {
        let body = specs::helper(spec);
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let started = self.create_and_start(name, options, body).await;
        started.with_context(|| format!("starting the container {name} on {}", self.url))
    }

    pub(in crate::backend) async fn exec(
        &self,
        container: &str,
        command: &NodeCommand,
    ) -> anyhow::Result<CommandOutput> {
        let output = in_time(exec::run(&self.docker, container, command)).await;
        output.with_context(|| format!("running `{command}` in {container}"))
    }

    pub(in crate::backend) async fn spawn(
        &self,
        container: &str,
        command: &NodeCommand,
        log: &Path,
    ) -> anyhow::Result<NodeProcess> {
        let spawned = exec::spawn(&self.docker, container, command, log).await;
        let (process, follower) = spawned.with_context(|| format!("starting `{command}` in {container}"))?;
        self.followers.borrow_mut().push(follower);
        Ok(process)
    }

    pub(in crate::backend) async fn get_file(&self, container: &str, path: &str) -> anyhow::Result<Vec<u8>> {
        let content = in_time(self.download(container, path)).await;
        content.with_context(|| format!("getting {path} from the container {container}"))
    }

    async fn download(&self, container: &str, path: &str) -> anyhow::Result<Vec<u8>> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut chunks = self.docker.download_from_container(container, Some(options));
        let mut packed = Vec::new();
        while let Some(chunk) = chunks.next().await {
            packed.extend_from_slice(&chunk?);
        }
        let mut archive = tar::Archive::new(packed.as_slice());
        let mut entries = archive.entries()?;
        let Some(entry) = entries.next() else { bail!("the archive is empty") };
        let mut content = Vec::new();
        entry?.read_to_end(&mut content)?;
        Ok(content)
    }

    pub(in crate::backend) async fn cpu_time(&self, container: &str) -> anyhow::Result<Duration> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let stats = self.docker.stats(container, Some(options)).next().await;
        let stats = stats.context("no response")?.with_context(|| format!("querying the CPU time of {container}"))?;
        let usage = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage).and_then(|usage| usage.total_usage);
        Ok(Duration::from_nanos(usage.with_context(|| format!("no CPU time reported for {container}"))?))
    }
}

/// Returns whether a container could not start because a port of its host is in use.
fn is_port_taken(error: &Error) -> bool {
    let message = error.to_string();
    message.contains("port is already allocated") || message.contains("address already in use")
}
