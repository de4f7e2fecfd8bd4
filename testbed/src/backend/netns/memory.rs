//! A directory in memory, seen by this process and its children only.

use std::path::PathBuf;

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A tmpfs, which is unmounted when this is dropped. It is mounted in the driver's own mount namespace
/// ([`crate::backend::netns::enter_namespace`]), so it also ends with the driver's last process.
#[derive(Debug)]
pub(super) struct MemoryDirectory(PathBuf);

impl MemoryDirectory {
    /// Makes the directory and mounts a tmpfs of at most half of the host's memory there.
    ///
    /// # Errors
    /// When it can't be made or mounted.
    pub(super) fn mount(folder: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("making the directory {}", folder.display()))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), &folder, Some("tmpfs"), flags, Some("mode=700"))
            .with_context(|| format!("mounting a tmpfs at {} (--storage disk does without)", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for MemoryDirectory {
    fn drop(&mut self) {
        // Lazily: a process that is still ending may hold the database. If it fails, the mount ends with the driver.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
