//! The database's file: whether it exists, and its creation, complete or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::ServerError;

/// Minimum size of an SQLite database, bytes: one page of the minimum size.
const MIN_BYTES: u64 = 512;

/// Returns whether the database exists. Fails if the path leads to something that cannot be a database.
pub(super) fn exists(path: &Path) -> Result<bool, ServerError> {
    let invalid = |problem: String| Err(ServerError::File { path: path.to_owned(), problem });
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => invalid(format!("cannot be examined: {error}")),
        Ok(metadata) if metadata.is_dir() => invalid("is a directory; expected a file".to_owned()),
        Ok(metadata) if !metadata.is_file() => invalid("is not a regular file".to_owned()),
        Ok(metadata) if metadata.len() < MIN_BYTES => invalid(format!(
            "is not a database (size: {} B); restore it from a backup, or remove it to start a new shop",
            metadata.len()
        )),
        Ok(_) => match OpenOptions::new().write(true).open(path) {
            Ok(_) => Ok(true),
            Err(error) => invalid(format!("cannot be written: {error}")),
        },
    }
}

/// Creates the database: `fill` writes it to another file, which then gets the name `path`. After a crash there is either
/// the complete database or none.
pub(super) fn create(path: &Path, fill: impl FnOnce(&Path) -> Result<(), ServerError>) -> Result<(), ServerError> {
    let draft = with_suffix(path, ".creating");
    let failed = |error: io::Error| ServerError::File {
        path: path.to_owned(),
        problem: format!("cannot be created: {error} (expected an existing, writable directory)"),
    };
    // Not created by SQLite, because other users must not be able to read the password hashes.
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&draft).map_err(failed)?;
    // Another server may be creating the same database.
    file.lock().map_err(failed)?;
    if exists(path)? {
        // This draft is a new, empty file: the other server's has been renamed.
        return fs::remove_file(&draft).map_err(failed);
    }
    file.set_len(0).map_err(failed)?;
    // A journal left by a killed server would be applied to the new file.
    match fs::remove_file(with_suffix(&draft, "-journal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => fill(&draft)?,
    }
    fs::rename(&draft, path).map_err(failed)?;
    sync_directory(path).map_err(failed)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_absent_file_is_created() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.db");
        assert!(!exists(&path).unwrap());
        for bytes in [0, 1, 511] {
            fs::write(&path, vec![0; bytes]).unwrap();
            let error = exists(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("size: {bytes} B")), "{error}");
        }
        for (path, problem) in [(directory.path(), "is a directory"), (Path::new("/dev/null"), "not a regular file")] {
            let error = exists(path).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn a_failed_creation_leaves_no_database_and_the_next_one_succeeds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.db");
        let fails = create(&path, |draft| {
            fs::write(draft, "half of it").unwrap();
            Err(ServerError::ForeignDatabase { path: draft.to_owned() })
        });
        assert!(fails.is_err() && !exists(&path).unwrap());
        create(&path, |draft| {
            assert_eq!(draft.metadata().unwrap().len(), 0);
            fs::write(draft, vec![1; 512]).unwrap();
            Ok(())
        })
        .unwrap();
        assert!(exists(&path).unwrap());
        create(&path, |_| panic!("the database exists")).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a draft is left");
    }
}
