//! CSV file of the menu. Existing content is never overwritten.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use model::sample::COLUMNS;

/// Maximum number that is added to the name.
const MAX_NUMBER: u32 = 999;

/// A file that rows can be appended to.
pub(super) struct CsvFile {
    /// The file, opened for appending.
    pub(super) file: File,
    /// The given path, or one with a number in its name.
    pub(super) path: PathBuf,
    /// Whether the file already contains the header.
    pub(super) has_header: bool,
}

impl CsvFile {
    /// Opens `path`. If rows of this build cannot be appended to its content, opens a path with a number in its name
    /// (`session-2.csv`).
    ///
    /// # Errors
    /// The file cannot be created, read or written, or no number is free.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        for number in 1..=MAX_NUMBER {
            let path = numbered(path, number);
            let opened = open_or_create(&path).with_context(|| format!("cannot open the CSV '{}'", path.display()))?;
            if let Some((file, has_header)) = opened {
                return Ok(Self { file, path, has_header });
            }
        }
        bail!(
            "cannot append to the CSV '{}', nor with a number up to {MAX_NUMBER}: choose another name",
            path.display()
        )
    }
}

/// Returns the path with a number in its name: `session.csv` → `session-2.csv`. 1 is the path itself.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Returns the file and whether it contains the header; `None` if it contains anything but complete rows of this build.
fn open_or_create(path: &Path) -> io::Result<Option<(File, bool)>> {
    let mut options = File::options();
    match options.append(true).create_new(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        created => return created.map(|file| Some((file, false))),
    }
    let file = File::options().append(true).open(path)?;
    let metadata = file.metadata()?;
    // Pipes and devices have no content.
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(Some((file, false)));
    }
    let content = fs::read(path)?;
    let header = format!("{}\n", COLUMNS.join(","));
    let is_ours = content.starts_with(header.as_bytes()) && content.ends_with(b"\n");
    Ok(is_ours.then_some((file, true)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::workload::recorder::Recorder;

    /// Runs a session without operations and returns the path of its file.
    fn session(path: &Path) -> PathBuf {
        let CsvFile { file, path, has_header } = CsvFile::open(path).unwrap();
        let start = if has_header { Recorder::append } else { Recorder::start };
        start(Box::new(file), String::new()).unwrap().finish().unwrap();
        path
    }

    #[test]
    fn sessions_share_a_file_with_one_header_and_keep_each_others_rows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.csv");
        assert_eq!(session(&path), path);
        let header = fs::read_to_string(&path).unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"a row\n").unwrap();
        assert_eq!(session(&path), path);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{header}a row\n"));
    }

    #[test]
    fn a_file_with_other_content_is_kept_and_another_name_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.csv");
        let header = format!("{}\n", COLUMNS.join(","));
        for (number, content) in [(2, "name,price\n".to_owned()), (3, format!("{header}half a r"))] {
            fs::write(numbered(&path, number - 1), &content).unwrap();
            assert_eq!(session(&path), directory.path().join(format!("session-{number}.csv")));
            assert_eq!(fs::read_to_string(numbered(&path, number - 1)).unwrap(), content, "unchanged");
        }
        assert_eq!(session(&path), directory.path().join("session-3.csv"), "rows are appended");
        fs::write(directory.path().join("empty"), "").unwrap();
        assert_eq!(session(&directory.path().join("empty")), directory.path().join("empty"));
        assert_eq!(session(Path::new("/dev/null")), Path::new("/dev/null"));
        assert!(CsvFile::open(&directory.path().join("none/session.csv")).is_err());
    }
}
