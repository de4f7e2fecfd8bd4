//! A directory in memory, visible to this process and its children only.

use std::path::PathBuf;

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A tmpfs, unmounted when dropped. It is mounted in the driver's own mount namespace
/// ([`crate::backend::netns::enter_namespace`]), so it also ends with the driver's last process.
#[derive(Debug)]
pub(super) struct MemoryDirectory(PathBuf);

impl MemoryDirectory {
    /// Creates the directory and mounts a tmpfs of at most half of the host's memory there.
    ///
    /// # Errors
    /// The directory cannot be created, or the tmpfs cannot be mounted.
    pub(super) fn mount(directory: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("creating the directory {}", directory.display()))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), &directory, Some("tmpfs"), flags, Some("mode=700"))
            .with_context(|| format!("mounting a tmpfs at {} (not needed with --storage disk)", directory.display()))?;
        Ok(Self(directory))
    }
}

impl Drop for MemoryDirectory {
    fn drop(&mut self) {
        // Detached: a process that is still exiting may have the database open. If unmounting fails, the mount ends
        // with the driver.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
