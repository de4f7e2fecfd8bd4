//! The menu's CSV file: appended to, never replaced.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use model::sample::COLUMNS;

/// Names that are tried after the first.
const MAX_NUMBER: u32 = 999;

/// A file that rows can be added to.
pub(super) struct CsvFile {
    /// Opened at its end.
    pub(super) file: File,
    /// The path that was asked for, or one with a number in its name.
    pub(super) path: PathBuf,
    /// Whether it has the header already.
    pub(super) has_header: bool,
}

impl CsvFile {
    /// Opens `path`, or a path with a number in its name (`session-2.csv`) if that holds something that rows of this
    /// build cannot be appended to.
    ///
    /// # Errors
    /// When it cannot be created, read or written, or all numbers are taken.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        for number in 1..=MAX_NUMBER {
            let path = numbered(path, number);
            let opened = open_or_create(&path).with_context(|| format!("cannot open the CSV '{}'", path.display()))?;
            if let Some((file, has_header)) = opened {
                return Ok(Self { file, path, has_header });
            }
        }
        bail!("cannot append to the CSV '{}' or to one with a number up to {MAX_NUMBER}: give another", path.display())
    }
}

/// `session.csv` → `session-2.csv`; 1 is the path itself.
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

/// The file, and whether it has a header; `None` when it holds something else than whole rows of this build.
fn open_or_create(path: &Path) -> io::Result<Option<(File, bool)>> {
    let mut options = File::options();
    match options.append(true).create_new(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        created => return created.map(|file| Some((file, false))),
    }
    let file = File::options().append(true).open(path)?;
    let found = file.metadata()?;
    // A pipe or a device holds nothing.
    if !found.is_file() || found.len() == 0 {
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

    /// One session without operations; the path that it wrote to.
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
    fn a_file_that_rows_do_not_fit_in_is_kept_and_another_name_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.csv");
        let header = format!("{}\n", COLUMNS.join(","));
        for (number, content) in [(2, "name,price\n".to_owned()), (3, format!("{header}half a r"))] {
            fs::write(numbered(&path, number - 1), &content).unwrap();
            assert_eq!(session(&path), directory.path().join(format!("session-{number}.csv")));
            assert_eq!(fs::read_to_string(numbered(&path, number - 1)).unwrap(), content, "it is left as it was");
        }
        assert_eq!(session(&path), directory.path().join("session-3.csv"), "and appended to");
        fs::write(directory.path().join("empty"), "").unwrap();
        assert_eq!(session(&directory.path().join("empty")), directory.path().join("empty"));
        assert_eq!(session(Path::new("/dev/null")), Path::new("/dev/null"));
        assert!(CsvFile::open(&directory.path().join("none/session.csv")).is_err());
    }
}
