//! File of the trace. It is opened by its path for each batch of rows, so another process can rotate it by renaming.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use model::TraceRow;

/// File to which rows are appended.
#[derive(Debug)]
pub(super) struct TraceFile {
    path: PathBuf,
}

impl TraceFile {
    /// Creates the file with its header. Fails if it exists: exchange ids start with 1 in each server, so rows of two
    /// servers would be indistinguishable.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        writeln!(File::create_new(path)?, "{}", TraceRow::HEADER)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Appends all of `rows` or none.
    pub(super) fn append(&self, rows: &[TraceRow]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        let before = file.metadata()?.len();
        let mut text = String::new();
        if before == 0 {
            let _ = writeln!(text, "{}", TraceRow::HEADER);
        }
        for row in rows {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{row}");
        }
        file.write_all(text.as_bytes()).inspect_err(|_| {
            // A full disk may have stored a part. If the truncation fails too, the file has duplicate or incomplete rows.
            let _ = file.set_len(before);
        })
    }
}
