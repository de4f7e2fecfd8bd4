//! Which engine a run uses, and why.

use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;
use shop_protocol::limits;
use tokio::runtime::Runtime;

use super::runtime;
use crate::engine::docker::{self, DockerEngine, Site};
use crate::engine::host_processes::HostEngine;
use crate::engine::netns::{self, NetnsEngine};
use crate::engine::swarm::SwarmEngine;
use crate::engine::{Engines, ShopAddress};
use crate::manifest::{Manifest, Place};

/// The user's choice of engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum EngineChoice {
    /// Docker when an engine answers and the images are there, else namespaces.
    Auto,
    /// Containers of the local Docker engine, or the one that DOCKER_HOST names.
    Docker,
    /// Network namespaces on this host.
    Netns,
    /// Tasks on all machines of the Swarm that the Docker engine (or --server-engine) is a manager of.
    Swarm,
}

/// Docker engines that the user names.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct EngineUrls {
    /// Docker engine of the server: unix:///PATH, tcp://HOST:PORT (TLS with DOCKER_TLS_VERIFY), https://HOST:PORT or
    /// ssh://USER@HOST, which may go on with :PORT and /SOCKET
    #[arg(long, value_name = "URL")]
    pub(super) server_engine: Option<String>,
    /// Docker engines of the clients, which are dealt out to them in turn; none: all nodes are on the server's
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub(super) client_engine: Vec<String>,
}

/// Where server and clients live.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where nodes live")]
pub(super) struct PlaceArgs {
    /// What nodes are [default: auto, or that of the run that is repeated]
    #[arg(long, value_enum)]
    pub(super) engine: Option<EngineChoice>,
    #[command(flatten)]
    pub(super) urls: EngineUrls,
    /// Where clients reach the server's published ports; else the host in --server-engine's URL
    #[arg(long, value_name = "HOST")]
    server_address: Option<String>,
    #[arg(long, value_name = "PORT", help = format!("First of the three ports that are published: accounts, shop, and UDP echo \
          for the probe [default: {}]", limits::ACCOUNTS_PORT))]
    publish_port: Option<u16>,
    /// Use a shop that somebody started by hand on HOST; conditions are set there by hand, as the run then tells
    #[arg(long, value_name = "HOST", conflicts_with_all = ["server_engine", "server_address"])]
    pub(super) server: Option<String>,
}

/// An engine that can be used.
pub(super) struct ChosenEngine {
    /// The runtime that everything must run on: its thread is in the lab.
    pub(super) runtime: Runtime,
    /// The engines, one a lab.
    pub(super) engines: Engines,
    /// Why it was taken, for the user and the manifest.
    pub(super) why: String,
}

impl EngineChoice {
    /// The one that a manifest names.
    pub(super) fn named(name: &str) -> Option<Self> {
        <Self as clap::ValueEnum>::from_str(name, false).ok()
    }
}

impl PlaceArgs {
    /// What the user named, for the manifest.
    pub(super) fn named(&self) -> Place {
        let EngineUrls { server_engine, client_engine } = self.urls.clone();
        Place {
            server_engine,
            client_engine,
            server_address: self.server_address.clone(),
            publish_port: self.publish_port,
            server: self.server.clone(),
        }
    }

    /// This place if the user named any, else that of an earlier run.
    pub(super) fn or_that_of(mut self, earlier: &Manifest) -> Self {
        if self.named() == Place::default() && self.engine.is_none() {
            let Place { server_engine, client_engine, server_address, publish_port, server } = earlier.place.clone();
            // Clients that are processes have no engine to be asked for: what there is decides again.
            let engine = EngineChoice::named(&earlier.engine).filter(|_| server.is_none());
            self = Self {
                engine,
                urls: EngineUrls { server_engine, client_engine },
                server_address,
                publish_port,
                server,
            };
        }
        self
    }

    fn engine(&self) -> EngineChoice {
        self.engine.unwrap_or(EngineChoice::Auto)
    }

    fn first_port(&self) -> u16 {
        self.publish_port.unwrap_or(limits::ACCOUNTS_PORT)
    }
}

impl EngineUrls {
    fn is_empty(&self) -> bool {
        self.server_engine.is_none() && self.client_engine.is_empty()
    }

    /// All that are named, each once.
    pub(super) fn all(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.server_engine.iter().chain(&self.client_engine).map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Takes the wanted engine, or the first that can be used. `folder` is the run's temporary folder. Enters the lab for
/// namespaces, so the process must have one thread only.
pub(super) fn choose_engine(place: &PlaceArgs, folder: &Path) -> anyhow::Result<ChosenEngine> {
    if let Some(host) = &place.server {
        return use_shop_elsewhere(place, host, folder);
    }
    let is_published = !place.urls.client_engine.is_empty() && place.engine() != EngineChoice::Swarm;
    if !is_published && (place.server_address.is_some() || place.publish_port.is_some()) {
        bail!("--server-address and --publish-port go with --client-engine or --server: else no port is published");
    }
    if !place.urls.is_empty() && place.engine() != EngineChoice::Swarm {
        return use_several(place);
    }
    match place.engine() {
        EngineChoice::Swarm => use_swarm(place),
        EngineChoice::Docker => use_docker("asked for"),
        EngineChoice::Netns => use_netns(folder, "asked for"),
        EngineChoice::Auto => match use_docker("an engine answers and the images are there") {
            Ok(chosen) => Ok(chosen),
            Err(no_docker) => match use_netns(folder, &format!("no Docker ({no_docker:#})")) {
                Ok(chosen) => Ok(chosen),
                Err(no_netns) => bail!("no engine can be used\n  docker: {no_docker:#}\n  netns: {no_netns:#}"),
            },
        },
    }
}

/// Connects, and sees whether the images are there.
async fn site(url: Option<&str>, wanted: &[&'static str]) -> anyhow::Result<Site> {
    let site = docker::connect(url).await?;
    let missing = site.missing_images(wanted).await?;
    if !missing.is_empty() {
        let (images, how) = (missing.join(" and "), docker::HOW_TO_BUILD_IMAGES);
        bail!("the images {images} are not there on {}: {how}", site.url());
    }
    Ok(site)
}

fn use_docker(why: &str) -> anyhow::Result<ChosenEngine> {
    let runtime = runtime()?;
    let site = runtime.block_on(site(None, &docker::IMAGES))?;
    let engines = Engines::several(move |_| DockerEngine::on_one(site.for_another_lab()));
    Ok(ChosenEngine { runtime, engines, why: format!("engine docker: {why}") })
}

fn use_netns(folder: &Path, why: &str) -> anyhow::Result<ChosenEngine> {
    netns::enter_lab()?;
    let folder = folder.to_owned();
    let engines = Engines::several(move |lab| NetnsEngine::new(&folder, lab));
    Ok(ChosenEngine { runtime: runtime()?, engines, why: format!("engine netns: {why}") })
}

fn use_swarm(place: &PlaceArgs) -> anyhow::Result<ChosenEngine> {
    if !place.urls.client_engine.is_empty() {
        bail!("--engine swarm places clients by itself: of the engines only --server-engine can be named, a manager");
    }
    let runtime = runtime()?;
    let manager = runtime.block_on(site(place.urls.server_engine.as_deref(), &docker::IMAGES))?;
    let engines = Engines::one(SwarmEngine::new(manager)?, "a Swarm's tasks share all its machines");
    Ok(ChosenEngine { runtime, engines, why: "engine swarm: asked for".to_owned() })
}

/// Server and clients on engines that the user names.
fn use_several(place: &PlaceArgs) -> anyhow::Result<ChosenEngine> {
    if place.engine() == EngineChoice::Netns {
        bail!("--server-engine and --client-engine name Docker engines, --engine netns needs none: leave one out");
    }
    let runtime = runtime()?;
    let (server, clients) = runtime.block_on(async {
        let [server_image, client_image] = docker::IMAGES;
        let wanted: &[_] = if place.urls.client_engine.is_empty() { &docker::IMAGES } else { &[server_image] };
        let server = site(place.urls.server_engine.as_deref(), wanted).await.context("the server's engine")?;
        let mut clients = Vec::new();
        for url in &place.urls.client_engine {
            clients.push(site(Some(url), &[client_image]).await.context("a clients' engine")?);
        }
        anyhow::Ok((server, clients))
    })?;
    if clients.is_empty() {
        let why = format!("engine docker: all nodes on {}, asked for", server.url());
        let engines = Engines::several(move |_| DockerEngine::on_one(server.for_another_lab()));
        return Ok(ChosenEngine { runtime, engines, why });
    }
    let address = place.server_address.clone().or_else(|| host_in(server.url())).with_context(|| {
        format!("{} does not say where clients reach the server's ports: give --server-address", server.url())
    })?;
    let shop = ShopAddress::published(&address, place.first_port())?;
    let why = format!("engine docker: server on {}, its ports published at {address}", server.url());
    let engines =
        Engines::one(DockerEngine::on_several(server, clients, shop)?, "the server's ports are published once");
    Ok(ChosenEngine { runtime, engines, why })
}

/// Clients here, for somebody else's shop.
fn use_shop_elsewhere(place: &PlaceArgs, host: &str, folder: &Path) -> anyhow::Result<ChosenEngine> {
    if matches!(place.engine(), EngineChoice::Netns | EngineChoice::Swarm) {
        bail!("--server {host}: clients are containers or processes on this host; leave --engine away, or give docker");
    }
    let shop = ShopAddress::published(host, place.first_port())?;
    let runtime = runtime()?;
    let named: Vec<Option<&str>> = match place.urls.client_engine.as_slice() {
        [] => vec![None],
        urls => urls.iter().map(|url| Some(url.as_str())).collect(),
    };
    let sites = runtime.block_on(async {
        let mut sites = Vec::new();
        for url in named {
            sites.push(site(url, &docker::IMAGES[1..]).await?);
        }
        anyhow::Ok(sites)
    });
    let must_be_docker = place.engine() == EngineChoice::Docker || !place.urls.client_engine.is_empty();
    let one_link = "there is one link, and somebody sets it by hand";
    let (engines, what) = match sites {
        Ok(sites) => (Engines::one(DockerEngine::clients_only(sites, shop), one_link), "docker".to_owned()),
        Err(error) if must_be_docker => return Err(error),
        Err(error) => (
            Engines::one(HostEngine::new(folder.to_owned(), shop), one_link),
            format!("processes on this host, no Docker ({error:#})"),
        ),
    };
    Ok(ChosenEngine { runtime, engines, why: format!("clients: {what}; the shop at {host} is somebody else's") })
}

/// `tcp://192.0.2.1:2375` → `192.0.2.1`.
fn host_in(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split(['/', ':']).next()?;
    // An IPv6 address can't be the server's: the testbed is IPv4 only.
    let is_ipv6 = host.starts_with('[');
    (scheme != "unix" && !host.is_empty() && !is_ipv6).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_address_is_that_of_its_engine_unless_that_is_a_socket() {
        for (url, expected) in [
            ("tcp://192.0.2.1:2375", Some("192.0.2.1")),
            ("ssh://user@vm-a:22", Some("vm-a")),
            ("https://vm-a", Some("vm-a")),
            ("tcp://[fd00::1]:2375", None),
            ("unix:///run/docker.sock", None),
        ] {
            assert_eq!(host_in(url).as_deref(), expected, "{url}");
        }
    }
}
