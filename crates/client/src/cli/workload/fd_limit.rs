//! Raises the limit of open files for thousands of sockets, or reports a too low limit before the measurement.

use std::num::NonZeroU32;

use anyhow::Context;
use model::settings::ConnectionMode;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use program_main::note;

/// Open files other than virtual users' sockets: the CSV, the terminal, the runtime, preparation of accounts.
const OTHER_FILES: u64 = 64;

/// Raises the limit of open files as far as necessary and allowed.
///
/// # Errors
/// The persistent connections exceed the limit. With a connection per request only a note is printed, because rarely
/// all virtual users have one at the same time.
pub(super) fn raise_limit(users: NonZeroU32, mode: ConnectionMode) -> anyhow::Result<()> {
    let needed = needed(users, mode);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limit of open files")?;
    let granted = raise(soft, hard, needed);
    if granted < needed {
        note(shortage(users, mode, granted)?);
    }
    Ok(())
}

fn needed(users: NonZeroU32, mode: ConnectionMode) -> u64 {
    u64::from(users.get()) * sockets_per_user(mode) + OTHER_FILES
}

/// Describes the effect of a too low limit of `granted` open files.
fn shortage(users: NonZeroU32, mode: ConnectionMode, granted: u64) -> anyhow::Result<String> {
    let needed = needed(users, mode);
    let possible = granted.saturating_sub(OTHER_FILES) / sockets_per_user(mode);
    match mode {
        ConnectionMode::Persistent => anyhow::bail!(
            "{users} virtual users with persistent connections need {needed} open files, and {granted} are allowed: use \
             --users {possible}, --connection per-request, or a higher limit (ulimit -Hn {needed})"
        ),
        ConnectionMode::PerRequest => Ok(format!(
            "{granted} open files are allowed: when more than {possible} of {users} virtual users have a connection at \
             the same time, operations end as connect_failed; a higher limit (ulimit -Hn {needed}) prevents it"
        )),
    }
}

/// Returns the maximum number of open sockets of a virtual user.
fn sockets_per_user(mode: ConnectionMode) -> u64 {
    match mode {
        ConnectionMode::PerRequest => 1,
        // One per port.
        ConnectionMode::Persistent => 2,
    }
}

/// Tries to raise the limit to `needed`, and returns the resulting limit.
fn raise(soft: u64, hard: u64, needed: u64) -> u64 {
    // Raising the hard limit requires CAP_SYS_RESOURCE.
    if needed > hard && setrlimit(Resource::RLIMIT_NOFILE, needed, needed).is_ok() {
        return needed;
    }
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_open_files_are_an_error_for_persistent_connections_and_a_note_for_others() {
        let users = NonZeroU32::new(1_000).unwrap();
        let error = shortage(users, ConnectionMode::Persistent, 1_064).unwrap_err().to_string();
        assert!(error.contains("need 2064 open files") && error.contains("--users 500"), "{error}");
        let note = shortage(users, ConnectionMode::PerRequest, 564).unwrap();
        assert!(note.contains("more than 500 of 1000"), "{note}");
    }
}
