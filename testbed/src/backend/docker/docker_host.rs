//! One Docker host (a reachable daemon), and the resources that a run creates on it.

mod containers;

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::Context;
use bollard::Docker;
use bollard::models::{SwarmInfo, SystemInfo};
use tokio::task::JoinHandle;

use crate::backend::docker::IMAGES;
use crate::backend::docker::remove::is_missing;
use crate::backend::docker::tunnel::Tunnel;
use crate::backend::docker::unsupported::UnsupportedFeatures;
use crate::backend::docker::url::url_or_default;

/// One reachable Docker daemon.
pub(crate) struct DockerHost {
    url: String,
    /// The daemon's information at the time of the connection.
    info: SystemInfo,
    docker: Docker,
    /// Tunnel of an `ssh://` URL.
    tunnel: Option<Rc<Tunnel>>,
    /// Features that are known to be missing.
    unsupported: RefCell<UnsupportedFeatures>,
    /// Tasks that read the output of commands.
    followers: RefCell<Vec<JoinHandle<()>>>,
}

/// Connects to the daemon at `url`; without it, at `DOCKER_HOST`; without both, to the local one.
///
/// # Errors
/// The daemon is not reachable.
pub(crate) async fn connect(url: Option<&str>) -> anyhow::Result<DockerHost> {
    let url = url_or_default(url);
    let docker_host =
        if url.starts_with("ssh:") { DockerHost::by_ssh(&url).await? } else { DockerHost::unchecked(&url)? };
    let unreachable =
        || format!("cannot reach the Docker daemon at {url}: is it running, and may this user access it?");
    let docker = docker_host.docker.negotiate_version().await.with_context(unreachable)?;
    let info = docker.info().await.with_context(unreachable)?;
    Ok(DockerHost { info, docker, ..docker_host })
}

impl DockerHost {
    /// Creates a handle without checking that the daemon is reachable.
    pub(crate) fn unchecked(url: &str) -> anyhow::Result<Self> {
        let docker = Docker::connect_with_host(url).with_context(|| {
            format!(
                "invalid Docker host '{url}': expected unix:///PATH, tcp://HOST:PORT, https://HOST:PORT or ssh://USER@HOST[:PORT]"
            )
        })?;
        Ok(Self::with(url, docker, None))
    }

    async fn by_ssh(url: &str) -> anyhow::Result<Self> {
        let tunnel = Tunnel::open(url).await?;
        let socket = format!("unix://{}", tunnel.socket().display());
        let docker = Docker::connect_with_host(&socket).with_context(|| format!("connecting to {socket}"))?;
        Ok(Self::with(url, docker, Some(tunnel)))
    }

    fn with(url: &str, docker: Docker, tunnel: Option<Tunnel>) -> Self {
        let (unsupported, followers) = (RefCell::default(), RefCell::default());
        Self {
            url: url.to_owned(),
            info: SystemInfo::default(),
            docker,
            tunnel: tunnel.map(Rc::new),
            unsupported,
            followers,
        }
    }

    /// Returns a handle of the same daemon for another environment, with its own followers.
    pub(crate) fn for_another_environment(&self) -> Self {
        Self {
            url: self.url.clone(),
            info: self.info.clone(),
            docker: self.docker.clone(),
            tunnel: self.tunnel.clone(),
            unsupported: self.unsupported.clone(),
            followers: RefCell::default(),
        }
    }

    /// Returns the URL by which the user names the daemon.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns an id that does not depend on the URL. It includes the host's name, because cloned hosts may have the
    /// same daemon id.
    pub(crate) fn id(&self) -> String {
        format!("{} on {}", self.info.id.as_ref().unwrap_or(&self.url), self.info.name.as_deref().unwrap_or_default())
    }

    /// Returns the daemon's role in a Swarm.
    pub(in crate::backend) fn swarm(&self) -> Option<&SwarmInfo> {
        self.info.swarm.as_ref()
    }

    /// Returns the connection.
    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Returns the images that are not present.
    ///
    /// # Errors
    /// The daemon cannot be queried.
    pub(crate) async fn missing_images(&self, images: &[&'static str]) -> anyhow::Result<Vec<&'static str>> {
        let mut missing = Vec::new();
        for image in images {
            match self.docker.inspect_image(image).await {
                Ok(_) => {}
                Err(error) if is_missing(&error) => missing.push(*image),
                Err(error) => return Err(error).with_context(|| format!("looking for {image} on {}", self.url)),
            }
        }
        Ok(missing)
    }

    /// Returns the daemon's entry of the manifest.
    pub(in crate::backend) async fn info(&self) -> anyhow::Result<serde_json::Value> {
        let version = self.docker.version().await.context("querying the Docker daemon's version")?;
        let mut images = serde_json::Map::new();
        for image in IMAGES {
            // A Docker host without servers or without clients does not need both images.
            let id = self.docker.inspect_image(image).await.ok().and_then(|inspected| inspected.id);
            images.insert(image.to_owned(), serde_json::json!(id));
        }
        Ok(serde_json::json!({
            "url": self.url,
            "host": self.info.name,
            "version": version.version,
            "api": version.api_version,
            "images": images,
            "kernel": self.info.kernel_version,
            "cores": self.info.ncpu,
        }))
    }
}
