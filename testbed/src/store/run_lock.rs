//! The lock that a driver holds while it lives, in its temporary directory, and the removal of stale directories.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};

/// The temporary directory of a run. It exists and is locked while the driver lives.
pub(crate) struct RunLock {
    directory: PathBuf,
    _lock: Flock<File>,
}

/// Prefix of the names of these directories.
const PREFIX: &str = "testbed-";
/// Name of the locked file in them.
const LOCK: &str = "lock";
/// Name of the file in them with the URLs of the run's Docker hosts, one per line.
const DOCKER_HOSTS: &str = "docker-hosts";

impl RunLock {
    /// Creates and locks the directory.
    ///
    /// # Errors
    /// A run with this id is running or has left stale resources, or the directory cannot be created.
    pub(crate) fn take(run_id: &str) -> anyhow::Result<Self> {
        let directory = std::env::temp_dir().join(format!("{PREFIX}{run_id}"));
        match lock_state(&directory) {
            LockState::Alive => {
                anyhow::bail!("run {run_id} is still running (lock: {})", directory.display())
            }
            LockState::Dead => anyhow::bail!(
                "run {run_id} has left {}: remove it with `testbed clean`, and pass the run's Docker hosts to it",
                directory.display()
            ),
            LockState::Unknown => {}
        }
        // Renamed to its final name only with the lock held: otherwise another driver could take it for stale.
        let draft = std::env::temp_dir().join(format!(".{PREFIX}{run_id}"));
        let what = || format!("creating the temporary directory {}", directory.display());
        fs::create_dir_all(&draft).with_context(what)?;
        let file = File::create(draft.join(LOCK)).with_context(what)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).with_context(what)?;
        fs::rename(&draft, &directory).with_context(what)?;
        Ok(Self { directory, _lock: lock })
    }

    /// Returns the directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Records the Docker hosts other than this host's that the run uses. The directory identifies the run's stale
    /// resources on them: it is kept until all of them have been checked.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn record_docker_hosts(&self, urls: &[&str]) -> anyhow::Result<()> {
        fs::write(self.directory.join(DOCKER_HOSTS), urls.join("\n")).context("recording the run's Docker hosts")
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // After a failure, the next run or `testbed clean` removes it.
        match fs::remove_dir_all(&self.directory) {
            Ok(()) => tracing::debug!("removed directory {}", self.directory.display()),
            Err(error) => tracing::debug!("cannot remove directory {}: {error}", self.directory.display()),
        }
    }
}

/// State of a driver, determined from its temporary directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockState {
    /// The driver holds the lock, or the lock cannot be read.
    Alive,
    /// The lock is free: the kernel releases it when the driver ends.
    Dead,
    /// There is no lock: the directory was deleted, or the driver uses another temporary directory.
    Unknown,
}

/// Returns the state of the driver with this temporary directory.
pub(crate) fn lock_state(directory: &Path) -> LockState {
    match File::open(directory.join(LOCK)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => LockState::Unknown,
        Err(_) => LockState::Alive,
        Ok(file) => match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => LockState::Dead,
            Err(_) => LockState::Alive,
        },
    }
}

/// Removes the temporary directories of dead drivers, except those whose Docker hosts are not all in `checked`. Returns
/// descriptions of the removed directories and of the failures.
pub(crate) fn remove_stale_directories(checked: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut removed, mut failures) = (Vec::new(), Vec::new());
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let path = entry.path();
        if lock_state(&path) != LockState::Dead {
            continue;
        }
        let docker_hosts = fs::read_to_string(path.join(DOCKER_HOSTS)).unwrap_or_default();
        let unchecked: Vec<&str> = docker_hosts.lines().filter(|url| !checked.contains(url)).collect();
        if !unchecked.is_empty() {
            failures.push(format!(
                "directory {} kept: its run also used {}; pass them with --server-docker-host and --client-docker-host",
                path.display(),
                unchecked.join(",")
            ));
            continue;
        }
        match fs::remove_dir_all(&path) {
            Ok(()) => removed.push(format!("directory {}", path.display())),
            Err(error) => failures.push(format!("directory {}: {error}", path.display())),
        }
    }
    (removed, failures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::run_id::new_run_id;

    #[test]
    fn a_driver_is_alive_while_its_lock_is_held() {
        let run_id = format!("test-{}-{}", std::process::id(), new_run_id().unwrap());
        let lock = RunLock::take(&run_id).unwrap();
        let directory = lock.directory().to_owned();
        assert_eq!(lock_state(&directory), LockState::Alive);
        drop(lock);
        assert_eq!(lock_state(&directory), LockState::Unknown);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(LOCK), "").unwrap();
        assert_eq!(lock_state(&directory), LockState::Dead);
        fs::write(directory.join(DOCKER_HOSTS), "tcp://192.0.2.1:2375").unwrap();
        let (_, kept) = remove_stale_directories(&[]);
        assert!(directory.exists() && kept.iter().any(|failure| failure.contains("192.0.2.1")), "{kept:?}");
        let (removed, _) = remove_stale_directories(&["tcp://192.0.2.1:2375"]);
        assert!(!directory.exists() && removed.iter().any(|what| what.contains(&run_id)), "{removed:?}");
    }
}
