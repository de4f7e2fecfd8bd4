//! Enough open files for thousands of sockets; and saying so before anything is measured when there can't be.

use std::num::NonZeroU32;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::output;
use model::settings::ConnectionMode;

/// For everything that is no virtual user's socket: the CSV, the terminal, the runtime, preparing accounts.
const OTHERS: u64 = 64;

/// Raises the limit of open files, beyond the hard limit where that is needed and allowed.
///
/// # Errors
/// When kept connections can't all be open. Where each operation has its own there is only a note, since seldom all
/// virtual users are at it at once.
pub(super) fn make_room(users: NonZeroU32, mode: ConnectionMode) -> anyhow::Result<()> {
    let needed = u64::from(users.get()) * sockets_per_user(mode) + OTHERS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limit of open files")?;
    let granted = raise(soft, hard, needed);
    if granted >= needed {
        return Ok(());
    }
    let possible = granted.saturating_sub(OTHERS) / sockets_per_user(mode);
    match mode {
        ConnectionMode::Persistent => anyhow::bail!(
            "{users} virtual users who keep their connections need {needed} open files, and {granted} are allowed: \
             possible are --users {possible}, or --connection per-request, or a higher limit (ulimit -Hn {needed})"
        ),
        ConnectionMode::PerRequest => output::note(&format!(
            "{granted} open files are allowed: when more than {possible} of {users} virtual users are served at once, \
             operations end as connect_failed; a higher limit (ulimit -Hn {needed}) prevents it"
        )),
    }
    Ok(())
}

/// Sockets that a virtual user has at once, at most.
fn sockets_per_user(mode: ConnectionMode) -> u64 {
    match mode {
        ConnectionMode::PerRequest => 1,
        // One per port.
        ConnectionMode::Persistent => 2,
    }
}

/// The limit after trying to make it at least `needed`.
fn raise(soft: u64, hard: u64, needed: u64) -> u64 {
    // Beyond the hard limit goes only who has CAP_SYS_RESOURCE.
    if needed > hard && setrlimit(Resource::RLIMIT_NOFILE, needed, needed).is_ok() {
        return needed;
    }
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}
