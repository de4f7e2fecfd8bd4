//! Which engine a run uses, and why.

use std::path::Path;

use anyhow::bail;
use tokio::runtime::Runtime;

use super::runtime;
use crate::engine::Engine;
use crate::engine::docker::{self, DockerEngine};
use crate::engine::netns::{self, NetnsEngine};

/// The user's choice of engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum EngineChoice {
    /// Docker when an engine answers and the images are there, else namespaces.
    Auto,
    /// Containers of the local Docker engine, or the one that DOCKER_HOST names.
    Docker,
    /// Network namespaces on this host.
    Netns,
}

/// An engine that can be used.
pub(super) struct ChosenEngine {
    /// The runtime that everything must run on: its thread is in the lab.
    pub(super) runtime: Runtime,
    /// The engine.
    pub(super) engine: Box<dyn Engine>,
    /// Why it was taken, for the user and the manifest.
    pub(super) why: String,
}

/// Takes the wanted engine, or the first that can be used. `folder` is the run's temporary folder. Enters the lab for
/// namespaces, so the process must have one thread only.
pub(super) fn choose_engine(choice: EngineChoice, folder: &Path) -> anyhow::Result<ChosenEngine> {
    match choice {
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

fn use_docker(why: &str) -> anyhow::Result<ChosenEngine> {
    let runtime = runtime()?;
    let docker = runtime.block_on(docker::connect())?;
    let missing = runtime.block_on(docker::missing_images(&docker));
    if !missing.is_empty() {
        bail!("the images {} are not there: {}", missing.join(" and "), docker::HOW_TO_BUILD_IMAGES);
    }
    let engine = Box::new(DockerEngine::new(docker));
    Ok(ChosenEngine { runtime, engine, why: format!("engine docker: {why}") })
}

fn use_netns(folder: &Path, why: &str) -> anyhow::Result<ChosenEngine> {
    netns::enter_lab()?;
    let engine = Box::new(NetnsEngine::new(folder.to_owned()));
    Ok(ChosenEngine { runtime: runtime()?, engine, why: format!("engine netns: {why}") })
}
