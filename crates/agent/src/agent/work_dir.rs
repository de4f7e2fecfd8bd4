//! The directory in which programs run and write files.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, ensure};

/// Directory whose content may be removed.
#[derive(Debug, Clone)]
pub(super) struct WorkDir(PathBuf);

impl WorkDir {
    /// Opens a directory, and creates it if it does not exist.
    ///
    /// # Errors
    /// The directory cannot be created, or is the root directory.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let opened = fs::create_dir_all(path).and_then(|()| path.canonicalize());
        let path = opened.with_context(|| format!("cannot use the directory {}", path.display()))?;
        ensure!(
            path.parent().is_some(),
            "cannot use the directory {}: its whole content would be removed",
            path.display()
        );
        Ok(Self(path))
    }

    /// Returns the absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes the content; symbolic links are removed, not followed.
    pub(super) async fn empty(&self) -> anyhow::Result<()> {
        let path = self.0.clone();
        // On a separate thread: removing many files would block the runtime.
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
    async fn the_whole_content_and_nothing_else_is_removed() {
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
    fn the_root_directory_is_rejected() {
        let error = WorkDir::open(Path::new("/tmp/..")).unwrap_err();
        assert_eq!(error.to_string(), "cannot use the directory /: its whole content would be removed");
    }
}
