//! Which engine a run uses, and why.

use std::path::Path;

use anyhow::{Context, bail};
use tokio::runtime::Runtime;

use crate::backend::docker;
use crate::backend::docker::{DockerBackend, DockerHost};
use crate::backend::host::HostBackend;
use crate::backend::netns;
use crate::backend::netns::NetnsBackend;
use crate::backend::placement::{BackendChoice, ONE_LINK, ONE_SWARM, PUBLISHED_ONCE, PlacementArgs};
use crate::backend::swarm::SwarmBackend;
use crate::backend::{BackendFactory, ShopAddress};
use crate::usage::usage;

/// An engine that can be used.
pub(crate) struct SelectedBackend {
    /// The runtime that everything must run on: its thread is in the environment.
    pub(crate) runtime: Runtime,
    /// The engines, one an environment.
    pub(crate) backends: BackendFactory,
    /// Why it was taken, for the user and the manifest.
    pub(crate) why: String,
}

/// Returns a runtime on the calling thread. It starts no other thread, so a process can enter namespaces after it.
///
/// # Errors
/// When the kernel refuses its file descriptors.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the async runtime")
}

/// Takes the wanted engine, or the first that can be used. `folder` is the run's temporary directory. Enters the
/// environment for namespaces, so the process must have one thread only.
pub(crate) fn select_backend(placement: &PlacementArgs, folder: &Path) -> anyhow::Result<SelectedBackend> {
    if let Some(host) = &placement.external_server {
        return use_shop_elsewhere(placement, host, folder);
    }
    if !placement.urls.is_empty() && placement.backend() != BackendChoice::Swarm {
        return use_several(placement);
    }
    match placement.backend() {
        BackendChoice::Swarm => use_swarm(placement),
        BackendChoice::Docker => use_docker("requested"),
        BackendChoice::Netns => use_netns(folder, "requested"),
        BackendChoice::Auto => match use_docker("daemon reachable, images present") {
            Ok(chosen) => Ok(chosen),
            Err(no_docker) => match use_netns(folder, &format!("no Docker ({no_docker:#})")) {
                Ok(chosen) => Ok(chosen),
                Err(no_netns) => bail!("no backend is available\n  docker: {no_docker:#}\n  netns: {no_netns:#}"),
            },
        },
    }
}

/// Connects, and sees whether the images are there.
async fn docker_host(url: Option<&str>, wanted: &[&'static str]) -> anyhow::Result<DockerHost> {
    let docker_host = docker::connect(url).await?;
    let missing = docker_host.missing_images(wanted).await?;
    if !missing.is_empty() {
        let (images, how) = (missing.join(" and "), docker::HOW_TO_BUILD_IMAGES);
        bail!("missing images {images} on {}: build them with {how}", docker_host.url());
    }
    Ok(docker_host)
}

fn use_docker(why: &str) -> anyhow::Result<SelectedBackend> {
    let runtime = runtime()?;
    let docker_host = runtime.block_on(docker_host(None, &docker::IMAGES))?;
    let backends = BackendFactory::several(move |_| DockerBackend::on_one(docker_host.for_another_environment()));
    Ok(SelectedBackend { runtime, backends, why: format!("backend docker: {why}") })
}

fn use_netns(folder: &Path, why: &str) -> anyhow::Result<SelectedBackend> {
    netns::enter_namespace()?;
    let folder = folder.to_owned();
    let backends = BackendFactory::several(move |environment| NetnsBackend::new(&folder, environment));
    Ok(SelectedBackend { runtime: runtime()?, backends, why: format!("backend netns: {why}") })
}

fn use_swarm(placement: &PlacementArgs) -> anyhow::Result<SelectedBackend> {
    let runtime = runtime()?;
    let manager = runtime.block_on(docker_host(placement.urls.server_docker_host.as_deref(), &docker::IMAGES))?;
    let backends = BackendFactory::one(SwarmBackend::new(manager)?, ONE_SWARM);
    Ok(SelectedBackend { runtime, backends, why: "backend swarm: requested".to_owned() })
}

/// Server and clients on engines that the user names.
fn use_several(placement: &PlacementArgs) -> anyhow::Result<SelectedBackend> {
    let runtime = runtime()?;
    let (server, clients) = runtime.block_on(async {
        let [server_image, client_image] = docker::IMAGES;
        let wanted: &[_] = if placement.urls.client_docker_host.is_empty() { &docker::IMAGES } else { &[server_image] };
        let server =
            docker_host(placement.urls.server_docker_host.as_deref(), wanted).await.context("the server's engine")?;
        let mut clients = Vec::new();
        for url in &placement.urls.client_docker_host {
            clients.push(docker_host(Some(url), &[client_image]).await.context("a clients' engine")?);
        }
        anyhow::Ok((server, clients))
    })?;
    if clients.is_empty() {
        let why = format!("backend docker: all nodes on {}, requested", server.url());
        let backends = BackendFactory::several(move |_| DockerBackend::on_one(server.for_another_environment()));
        return Ok(SelectedBackend { runtime, backends, why });
    }
    let address = placement.published_address()?;
    let shop = ShopAddress::published(&address, placement.first_port())?;
    let why = format!("backend docker: server on {}, its ports published at {address}", server.url());
    let backends =
        BackendFactory::one(DockerBackend::on_several(server, clients, shop).map_err(usage)?, PUBLISHED_ONCE);
    Ok(SelectedBackend { runtime, backends, why })
}

/// Clients on this host, for an external server.
fn use_shop_elsewhere(placement: &PlacementArgs, host: &str, folder: &Path) -> anyhow::Result<SelectedBackend> {
    let shop = ShopAddress::published(host, placement.first_port())?;
    let runtime = runtime()?;
    let named: Vec<Option<&str>> = match placement.urls.client_docker_host.as_slice() {
        [] => vec![None],
        urls => urls.iter().map(|url| Some(url.as_str())).collect(),
    };
    let docker_hosts = runtime.block_on(async {
        let mut docker_hosts = Vec::new();
        for url in named {
            docker_hosts.push(docker_host(url, &docker::IMAGES[1..]).await?);
        }
        anyhow::Ok(docker_hosts)
    });
    let must_be_docker = placement.backend() == BackendChoice::Docker || !placement.urls.client_docker_host.is_empty();
    let (backends, what) = match docker_hosts {
        Ok(docker_hosts) => {
            (BackendFactory::one(DockerBackend::clients_only(docker_hosts, shop), ONE_LINK), "docker".to_owned())
        }
        Err(error) if must_be_docker => return Err(error),
        Err(error) => (
            BackendFactory::one(HostBackend::new(folder.to_owned(), shop), ONE_LINK),
            format!("processes on this host, no Docker ({error:#})"),
        ),
    };
    Ok(SelectedBackend { runtime, backends, why: format!("clients: {what}; external server at {host}") })
}
