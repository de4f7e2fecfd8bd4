//! Cleaning up after dead runs, on this host and on all engines that are named.

use std::process::ExitCode;

use super::place::EngineUrls;
use super::runtime;
use crate::clean::{Care, Cleaned, clean};
use crate::engine::docker;
use crate::output::{complain, result, say};

/// `testbed clean`.
pub(super) fn when_asked(urls: &EngineUrls) -> anyhow::Result<ExitCode> {
    let cleaned = runtime()?.block_on(clean_everything(urls, Care::WhenAsked));
    if cleaned.removed.is_empty() && cleaned.failures.is_empty() {
        result("nothing to remove");
    }
    for what in &cleaned.removed {
        result(&format!("removed {what}"));
    }
    for what in &cleaned.failures {
        complain(&format!("could not remove {what}"));
    }
    Ok(if cleaned.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Leftovers of dead runs are removed before a new one begins; a failure to do so is told, and no reason not to run.
pub(super) fn before_a_run(urls: &EngineUrls) -> anyhow::Result<()> {
    let cleaned = runtime()?.block_on(clean_everything(urls, Care::BeforeARun));
    if !cleaned.removed.is_empty() {
        say(&format!("removed what a killed run left: {}", cleaned.removed.join(", ")));
    }
    if !cleaned.failures.is_empty() {
        complain(&format!("could not remove: {}", cleaned.failures.join(", ")));
    }
    Ok(())
}

/// On this host's engine, if there is one, and all that are named.
async fn clean_everything(urls: &EngineUrls, care: Care) -> Cleaned {
    let mut cleaned = Cleaned::default();
    let mut sites = Vec::new();
    match docker::connect(None).await {
        Ok(site) => sites.push(site),
        Err(error) if care == Care::WhenAsked => say(&format!("not looked at: {error:#}")),
        Err(_) => {}
    }
    for url in urls.all() {
        match docker::connect(Some(url)).await {
            Ok(site) => sites.push(site),
            Err(error) => cleaned.failures.push(format!("what may be on {url}: {error:#}")),
        }
    }
    clean(&sites, care, cleaned).await
}
