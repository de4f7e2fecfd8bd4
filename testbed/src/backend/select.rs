//! Selection of a run's backend.

use std::path::Path;

use anyhow::{Context, bail};
use tokio::runtime::Runtime;

use crate::backend::docker;
use crate::backend::docker::{DockerBackend, DockerHost};
use crate::backend::host::HostBackend;
use crate::backend::netns;
use crate::backend::netns::NetnsBackend;
use crate::backend::placement::published_address;
use crate::backend::swarm::SwarmBackend;
use crate::backend::{BackendFactory, ShopAddress};
use crate::placement::{BackendChoice, ONE_LINK, ONE_SWARM, PUBLISHED_ONCE, Placement};
use crate::usage::usage;

/// An available backend.
pub(crate) struct SelectedBackend {
    /// Runtime of the run. Its thread is in the namespace of the environments.
    pub(crate) runtime: Runtime,
    /// Creates the backend of each environment.
    pub(crate) backends: BackendFactory,
    /// Why it was selected, one line.
    pub(crate) reason: String,
}

/// Creates a runtime on the calling thread. It starts no other thread, so the process can still enter namespaces.
///
/// # Errors
/// When its file descriptors cannot be created.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the async runtime")
}

/// Selects the requested backend, or the first that is available. `lock_dir` is the driver's temporary directory. For
/// namespaces the process enters its own, so it must have one thread only.
///
/// # Errors
/// When the requested backend, or each of them, is unavailable.
pub(crate) fn select_backend(placement: &Placement, lock_dir: &Path) -> anyhow::Result<SelectedBackend> {
    if let Some(host) = &placement.external_server {
        return use_external_server(placement, host, lock_dir);
    }
    if !placement.docker_hosts.is_empty() && placement.backend() != BackendChoice::Swarm {
        return use_several(placement);
    }
    match placement.backend() {
        BackendChoice::Swarm => use_swarm(placement),
        BackendChoice::Docker => use_docker("requested"),
        BackendChoice::Netns => use_netns(lock_dir, "requested"),
        BackendChoice::Auto => match use_docker("daemon reachable, images present") {
            Ok(selected) => Ok(selected),
            Err(no_docker) => match use_netns(lock_dir, &format!("no Docker ({no_docker:#})")) {
                Ok(selected) => Ok(selected),
                Err(no_netns) => bail!("no backend is available\n  docker: {no_docker:#}\n  netns: {no_netns:#}"),
            },
        },
    }
}

/// Connects to a Docker host, and checks that it has the images.
async fn docker_host(url: Option<&str>, images: &[&'static str]) -> anyhow::Result<DockerHost> {
    let docker_host = docker::connect(url).await?;
    let missing = docker_host.missing_images(images).await?;
    if !missing.is_empty() {
        let (missing, how) = (missing.join(" and "), docker::HOW_TO_BUILD_IMAGES);
        bail!("missing images {missing} on {}: build them with {how}", docker_host.url());
    }
    Ok(docker_host)
}

fn use_docker(reason: &str) -> anyhow::Result<SelectedBackend> {
    let runtime = runtime()?;
    let docker_host = runtime.block_on(docker_host(None, &docker::IMAGES))?;
    let backends = BackendFactory::several(move |_| DockerBackend::on_one(docker_host.for_another_environment()));
    Ok(SelectedBackend { runtime, backends, reason: format!("backend docker: {reason}") })
}

fn use_netns(lock_dir: &Path, reason: &str) -> anyhow::Result<SelectedBackend> {
    netns::enter_namespace()?;
    let lock_dir = lock_dir.to_owned();
    let backends = BackendFactory::several(move |environment| NetnsBackend::new(&lock_dir, environment));
    Ok(SelectedBackend { runtime: runtime()?, backends, reason: format!("backend netns: {reason}") })
}

fn use_swarm(placement: &Placement) -> anyhow::Result<SelectedBackend> {
    let runtime = runtime()?;
    let manager =
        runtime.block_on(docker_host(placement.docker_hosts.server_docker_host.as_deref(), &docker::IMAGES))?;
    let backends = BackendFactory::one(SwarmBackend::new(manager)?, ONE_SWARM);
    Ok(SelectedBackend { runtime, backends, reason: "backend swarm: requested".to_owned() })
}

/// Places server and clients on the requested Docker hosts.
fn use_several(placement: &Placement) -> anyhow::Result<SelectedBackend> {
    let runtime = runtime()?;
    let (server, clients) = runtime.block_on(async {
        let [server_image, client_image] = docker::IMAGES;
        let images: &[_] =
            if placement.docker_hosts.client_docker_host.is_empty() { &docker::IMAGES } else { &[server_image] };
        let server = docker_host(placement.docker_hosts.server_docker_host.as_deref(), images)
            .await
            .context("the server's Docker host")?;
        let mut clients = Vec::new();
        for url in &placement.docker_hosts.client_docker_host {
            clients.push(docker_host(Some(url), &[client_image]).await.context("a Docker host of the clients")?);
        }
        anyhow::Ok((server, clients))
    })?;
    if clients.is_empty() {
        let reason = format!("backend docker: all nodes on {}, requested", server.url());
        let backends = BackendFactory::several(move |_| DockerBackend::on_one(server.for_another_environment()));
        return Ok(SelectedBackend { runtime, backends, reason });
    }
    let address = published_address(placement)?;
    let shop = ShopAddress::published(&address, placement.first_port())?;
    let reason = format!("backend docker: server on {}, its ports published at {address}", server.url());
    let backends =
        BackendFactory::one(DockerBackend::on_several(server, clients, shop).map_err(usage)?, PUBLISHED_ONCE);
    Ok(SelectedBackend { runtime, backends, reason })
}

/// Places clients on this host, for an external server.
fn use_external_server(placement: &Placement, host: &str, lock_dir: &Path) -> anyhow::Result<SelectedBackend> {
    let shop = ShopAddress {
        tls_fingerprint: placement.tls_fingerprint,
        ..ShopAddress::published(host, placement.first_port())?
    };
    let runtime = runtime()?;
    let requested: Vec<Option<&str>> = match placement.docker_hosts.client_docker_host.as_slice() {
        [] => vec![None],
        urls => urls.iter().map(|url| Some(url.as_str())).collect(),
    };
    let docker_hosts = runtime.block_on(async {
        let mut docker_hosts = Vec::new();
        for url in requested {
            docker_hosts.push(docker_host(url, &docker::IMAGES[1..]).await?);
        }
        anyhow::Ok(docker_hosts)
    });
    let must_be_docker =
        placement.backend() == BackendChoice::Docker || !placement.docker_hosts.client_docker_host.is_empty();
    let (backends, clients) = match docker_hosts {
        Ok(docker_hosts) => {
            (BackendFactory::one(DockerBackend::clients_only(docker_hosts, shop), ONE_LINK), "docker".to_owned())
        }
        Err(error) if must_be_docker => return Err(error),
        Err(error) => (
            BackendFactory::one(HostBackend::new(lock_dir.to_owned(), shop), ONE_LINK),
            format!("processes on this host, no Docker ({error:#})"),
        ),
    };
    Ok(SelectedBackend { runtime, backends, reason: format!("clients: {clients}; external server at {host}") })
}
