//! Lock between all test processes of a host.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

const NAME: &str = "testbed-tests.lock";

/// Lock on the host: exclusive for tests that measure, shared for other tests. Released when dropped and when the process
/// ends. Child processes do not inherit it.
#[derive(Debug)]
pub struct HostLock {
    file: File,
}

impl HostLock {
    /// Waits until no other test holds the lock.
    ///
    /// # Errors
    ///
    /// The lock's file in the temporary directory cannot be created, opened or locked.
    pub fn exclusive() -> Result<Self> {
        Self::take(&std::env::temp_dir(), File::lock)
    }

    /// Waits until no test holds the lock exclusively.
    ///
    /// # Errors
    ///
    /// The lock's file in the temporary directory cannot be created, opened or locked.
    pub fn shared() -> Result<Self> {
        Self::take(&std::env::temp_dir(), File::lock_shared)
    }

    fn take(directory: &Path, lock: fn(&File) -> Result<()>) -> Result<Self> {
        let path = directory.join(NAME);
        let named = |error: Error| Error::new(error.kind(), format!("cannot lock {}: {error}", path.display()));
        let file = open(&path).map_err(named)?;
        lock(&file).map_err(named)?;
        Ok(Self { file })
    }
}

impl Drop for HostLock {
    /// Unlocks explicitly: until its exec, a child process that another thread starts has a copy of the open file.
    fn drop(&mut self) {
        // If it fails, the end of the process releases the lock.
        let _ = self.file.unlock();
    }
}

/// Opens without `O_CREAT` where possible: Linux refuses that flag, even to root, for another user's file in a sticky
/// directory (`fs.protected_regular`). A lock does not require write permission.
fn open(path: &Path) -> Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            File::options().read(true).write(true).create(true).truncate(false).open(path)
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_free(directory: &Path, lock: fn(&File) -> std::result::Result<(), std::fs::TryLockError>) -> bool {
        lock(&open(&directory.join(NAME)).unwrap()).is_ok()
    }

    #[test]
    fn shared_holders_exclude_exclusive_ones_and_exclusive_ones_exclude_all() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let one = HostLock::take(directory, File::lock_shared).unwrap();
        let other = HostLock::take(directory, File::lock_shared).unwrap();
        drop(one);
        assert!(is_free(directory, File::try_lock_shared) && !is_free(directory, File::try_lock));
        drop(other);
        let only = HostLock::take(directory, File::lock).unwrap();
        assert!(!is_free(directory, File::try_lock_shared) && !is_free(directory, File::try_lock));
        drop(only);
        assert!(is_free(directory, File::try_lock));
    }

    #[test]
    fn a_copy_of_the_file_in_a_starting_child_does_not_keep_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let held = HostLock::take(directory.path(), File::lock).unwrap();
        let _copy = held.file.try_clone().unwrap();
        drop(held);
        assert!(is_free(directory.path(), File::try_lock));
    }

    #[test]
    fn a_lock_that_cannot_be_created_is_reported_with_its_path() {
        let error = HostLock::take(Path::new("/nowhere"), File::lock).unwrap_err();
        assert!(error.to_string().contains("cannot lock /nowhere/testbed-tests.lock"), "{error}");
    }
}
