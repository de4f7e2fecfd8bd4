//! The directory that programs run in and leave files in.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, ensure};

/// A directory whose content may be removed.
#[derive(Debug, Clone)]
pub(super) struct WorkDir(PathBuf);

impl WorkDir {
    /// Takes a directory, which is made if it is not there.
    ///
    /// # Errors
    /// When it can't be made, or is the root of all files.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let made = fs::create_dir_all(path).and_then(|()| path.canonicalize());
        let path = made.with_context(|| format!("cannot use the directory {}", path.display()))?;
        ensure!(path.parent().is_some(), "the directory {} can't be used: all in it would be removed", path.display());
        Ok(Self(path))
    }

    /// Its absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes all that is in it; links are removed, not followed.
    pub(super) async fn empty(&self) -> anyhow::Result<()> {
        let path = self.0.clone();
        // On a thread of its own: there may be much to remove.
        let emptied = tokio::task::spawn_blocking(move || empty(&path)).await?;
        emptied.with_context(|| format!("cannot empty the directory {}", self.0.display()))
    }
}

fn empty(work_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(work_dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_in_it_is_removed_and_nothing_else() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("stays"), "x").unwrap();
        let work_dir = WorkDir::open(&outside.path().join("a/b")).unwrap();
        fs::create_dir_all(work_dir.path().join("deep/deeper")).unwrap();
        fs::write(work_dir.path().join("deep/file"), "x").unwrap();
        fs::write(work_dir.path().join(".hidden"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), work_dir.path().join("link")).unwrap();
        work_dir.empty().await.unwrap();
        assert_eq!(fs::read_dir(work_dir.path()).unwrap().count(), 0);
        assert!(outside.path().join("stays").exists());
    }

    #[test]
    fn the_root_is_refused() {
        let error = WorkDir::open(Path::new("/tmp/..")).unwrap_err();
        assert_eq!(error.to_string(), "the directory / can't be used: all in it would be removed");
    }
}
