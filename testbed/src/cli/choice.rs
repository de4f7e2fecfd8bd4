//! Which engine a run uses, and why.

use std::path::Path;

use anyhow::{Context, bail};
use tokio::runtime::Runtime;

use super::place::{EngineChoice, ONE_LINK, ONE_SWARM, PUBLISHED_ONCE, PlaceArgs};
use super::runtime;
use crate::engine::docker::{self, DockerEngine, Site};
use crate::engine::host_processes::HostEngine;
use crate::engine::netns::{self, NetnsEngine};
use crate::engine::swarm::SwarmEngine;
use crate::engine::{Engines, ShopAddress};
use crate::usage::usage;

/// An engine that can be used.
pub(super) struct ChosenEngine {
    /// The runtime that everything must run on: its thread is in the lab.
    pub(super) runtime: Runtime,
    /// The engines, one a lab.
    pub(super) engines: Engines,
    /// Why it was taken, for the user and the manifest.
    pub(super) why: String,
}

/// Takes the wanted engine, or the first that can be used. `folder` is the run's temporary folder. Enters the lab for
/// namespaces, so the process must have one thread only.
pub(super) fn choose_engine(place: &PlaceArgs, folder: &Path) -> anyhow::Result<ChosenEngine> {
    if let Some(host) = &place.server {
        return use_shop_elsewhere(place, host, folder);
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
    let runtime = runtime()?;
    let manager = runtime.block_on(site(place.urls.server_engine.as_deref(), &docker::IMAGES))?;
    let engines = Engines::one(SwarmEngine::new(manager)?, ONE_SWARM);
    Ok(ChosenEngine { runtime, engines, why: "engine swarm: asked for".to_owned() })
}

/// Server and clients on engines that the user names.
fn use_several(place: &PlaceArgs) -> anyhow::Result<ChosenEngine> {
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
    let address = place.published_address()?;
    let shop = ShopAddress::published(&address, place.first_port())?;
    let why = format!("engine docker: server on {}, its ports published at {address}", server.url());
    let engines = Engines::one(DockerEngine::on_several(server, clients, shop).map_err(usage)?, PUBLISHED_ONCE);
    Ok(ChosenEngine { runtime, engines, why })
}

/// Clients here, for somebody else's shop.
fn use_shop_elsewhere(place: &PlaceArgs, host: &str, folder: &Path) -> anyhow::Result<ChosenEngine> {
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
    let (engines, what) = match sites {
        Ok(sites) => (Engines::one(DockerEngine::clients_only(sites, shop), ONE_LINK), "docker".to_owned()),
        Err(error) if must_be_docker => return Err(error),
        Err(error) => (
            Engines::one(HostEngine::new(folder.to_owned(), shop), ONE_LINK),
            format!("processes on this host, no Docker ({error:#})"),
        ),
    };
    Ok(ChosenEngine { runtime, engines, why: format!("clients: {what}; the shop at {host} is somebody else's") })
}
