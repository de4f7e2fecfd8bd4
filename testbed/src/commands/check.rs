//! Checks of a run before anything is started or created. `--dry-run` performs the same checks.

use std::net::ToSocketAddrs;
use std::path::Path;

use anyhow::{Context, anyhow};
use nix::unistd::{AccessFlags, eaccess};

use crate::backend::placement;
use crate::cli::{ResolvedRun, RunArgs};
use crate::commands::dry_run;
use crate::emulator;
use crate::emulator::EmulatorChoice;
use crate::scenario::plan;
use crate::usage::{bail_usage, usage};

/// Checks flags against each other and against this host: combinations, directories, the server's name.
///
/// # Errors
/// A usage error that names the flag.
pub(super) fn check(args: &RunArgs, resolved: &ResolvedRun) -> anyhow::Result<()> {
    if args.dry_run {
        dry_run::check_format(args.shown.format)?;
    }
    placement::check(&resolved.placement)?;
    let is_manual = resolved.placement.external_server.is_some();
    if is_manual && args.emulator.is_some_and(|emulator| emulator != EmulatorChoice::Auto) {
        bail_usage!("--emulator conflicts with --external-server: its conditions are set manually; omit it");
    }
    let cells = plan::cells(&resolved.scenario, resolved.seed);
    args.jobs.environments(cells.len(), resolved.placement.sequential_reason())?;
    for cell in &cells {
        let supported = emulator::check_supported_by(resolved.emulator, is_manual, &cell.condition);
        supported.with_context(|| format!("cell {}", cell.id)).map_err(usage)?;
    }
    if args.resume.is_none() {
        check_writable(&args.results).map_err(|error| usage(error.context("--results")))?;
    }
    check_writable(&args.shown.graphs).map_err(|error| usage(error.context("--graphs")))?;
    resolved.placement.external_server.as_deref().map_or(Ok(()), check_resolvable)
}

/// Checks that files can be created in `directory`, or that it can be created. Creates nothing.
fn check_writable(directory: &Path) -> anyhow::Result<()> {
    let absolute = std::path::absolute(directory).with_context(|| format!("'{}'", directory.display()))?;
    // The deepest existing path decides. A dangling symbolic link counts as missing; its use reports the error.
    let existing = absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let what = || format!("'{}': cannot create files in '{}'", directory.display(), existing.display());
    if !existing.is_dir() {
        return Err(anyhow!("not a directory").context(what()));
    }
    eaccess(existing, AccessFlags::W_OK | AccessFlags::X_OK).with_context(what)
}

/// Checks that `host` has an IPv4 address: nodes have no IPv6 address.
fn check_resolvable(host: &str) -> anyhow::Result<()> {
    match (host, 0).to_socket_addrs() {
        Ok(addresses) if addresses.clone().any(|address| address.is_ipv4()) => Ok(()),
        Ok(_) => bail_usage!("--external-server '{host}': no IPv4 address: give a name or address with one"),
        Err(error) => {
            bail_usage!("--external-server '{host}': cannot resolve the name ({error}): check it, or give an address")
        }
    }
}
