//! The run's id, its start as a calendar time, and the lock that says that its driver is alive.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};

/// A moment in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UtcTime {
    year: i64,
    month: u32,
    day: u32,
    hour: u64,
    minute: u64,
    second: u64,
}

impl UtcTime {
    /// The wall clock now.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_unix(since.as_secs())
    }

    /// Seconds since 1970 as a date: `civil_from_days` of Howard Hinnant, "chrono-Compatible Low-Level Date
    /// Algorithms".
    fn from_unix(seconds: u64) -> Self {
        let days = (seconds / 86_400) as i64 + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let in_day = seconds % 86_400;
        Self { year, month, day, hour: in_day / 3_600, minute: in_day / 60 % 60, second: in_day % 60 }
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// A new id: the time in UTC and a random part, so that two runs started at once differ.
pub(crate) fn new_run_id() -> anyhow::Result<String> {
    let time = UtcTime::now().to_string().replace(['-', ':', 'Z'], "").replace('T', "-");
    let random = getrandom::u32().context("no randomness for the run's id")?;
    Ok(format!("{time}-{:04x}", random & 0xffff))
}

/// The run's own temporary folder; it exists, and is locked, as long as its driver lives.
pub(crate) struct RunLock {
    folder: PathBuf,
    _lock: Flock<File>,
}

/// What the names of these folders start with.
const PREFIX: &str = "testbed-";
/// The locked file in them.
const LOCK: &str = "lock";
/// The file in them with the engines that were named for the run, a line each.
const ENGINES: &str = "engines";

impl RunLock {
    /// Makes and locks the folder. It gets its name only with the lock held, so that nobody takes it for a dead one.
    pub(crate) fn take(run_id: &str) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("{PREFIX}{run_id}"));
        match lock_state(&folder) {
            LockState::Alive => {
                anyhow::bail!("the run {run_id} is still under way (its driver holds {})", folder.display())
            }
            LockState::Dead => anyhow::bail!(
                "the run {run_id} has left {}: `testbed clean`, with the engines that it was on, removes it",
                folder.display()
            ),
            LockState::Unknown => {}
        }
        let draft = std::env::temp_dir().join(format!(".{PREFIX}{run_id}"));
        let what = || format!("making the temporary folder {}", folder.display());
        fs::create_dir_all(&draft).with_context(what)?;
        let file = File::create(draft.join(LOCK)).with_context(what)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).with_context(what)?;
        fs::rename(&draft, &folder).with_context(what)?;
        Ok(Self { folder, _lock: lock })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Notes the engines that the run makes things on, besides this host's: until all of them were looked at, the
    /// folder is what its leftovers there are known by.
    pub(crate) fn note_engines(&self, urls: &[&str]) -> anyhow::Result<()> {
        fs::write(self.folder.join(ENGINES), urls.join("\n")).context("noting the run's engines")
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // What can't be removed now is found by the next run or `testbed clean`.
        match fs::remove_dir_all(&self.folder) {
            Ok(()) => tracing::debug!("removed directory {}", self.folder.display()),
            Err(error) => tracing::debug!("could not remove directory {}: {error}", self.folder.display()),
        }
    }
}

/// What is known of a driver by its temporary folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockState {
    /// It holds the lock, or nobody can tell.
    Alive,
    /// Its lock is free: the kernel frees it when the driver dies.
    Dead,
    /// There is no such folder: somebody emptied the temporary folder, or the driver sees another one.
    Unknown,
}

/// Whether the driver lives whose temporary folder this is.
pub(crate) fn lock_state(folder: &Path) -> LockState {
    match File::open(folder.join(LOCK)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => LockState::Unknown,
        Err(_) => LockState::Alive,
        Ok(file) => match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => LockState::Dead,
            Err(_) => LockState::Alive,
        },
    }
}

/// Removes the temporary folders of drivers that are dead, but not those whose engines were not all looked at. Returns
/// what was removed and what could not be, in words.
pub(crate) fn remove_dead_folders(looked_at: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut removed, mut failures) = (Vec::new(), Vec::new());
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let path = entry.path();
        if lock_state(&path) != LockState::Dead {
            continue;
        }
        let backends = fs::read_to_string(path.join(ENGINES)).unwrap_or_default();
        let unseen: Vec<&str> = backends.lines().filter(|url| !looked_at.contains(url)).collect();
        if !unseen.is_empty() {
            let urls = unseen.join(",");
            failures.push(format!("folder {}: its run was on {urls}, too: name them, too", path.display()));
            continue;
        }
        match fs::remove_dir_all(&path) {
            Ok(()) => removed.push(format!("folder {}", path.display())),
            Err(error) => failures.push(format!("folder {}: {error}", path.display())),
        }
    }
    (removed, failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_since_1970_become_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(UtcTime::from_unix(seconds).to_string(), expected);
        }
    }

    #[test]
    fn a_run_is_alive_while_its_lock_is_held() {
        let run_id = format!("test-{}-{}", std::process::id(), new_run_id().unwrap());
        let lock = RunLock::take(&run_id).unwrap();
        let folder = lock.folder().to_owned();
        assert_eq!(lock_state(&folder), LockState::Alive);
        drop(lock);
        assert_eq!(lock_state(&folder), LockState::Unknown);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(LOCK), "").unwrap();
        assert_eq!(lock_state(&folder), LockState::Dead);
        fs::write(folder.join(ENGINES), "tcp://192.0.2.1:2375").unwrap();
        let (_, kept) = remove_dead_folders(&[]);
        assert!(folder.exists() && kept.iter().any(|words| words.contains("192.0.2.1")), "{kept:?}");
        let (removed, _) = remove_dead_folders(&["tcp://192.0.2.1:2375"]);
        assert!(!folder.exists() && removed.iter().any(|words| words.contains(&run_id)), "{removed:?}");
    }
}
