//! The trace's file: found by its path again for each batch of rows, so that anybody may take it away by renaming it.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use model::TraceRow;

/// Where rows are appended.
#[derive(Debug)]
pub(super) struct TraceFile {
    path: PathBuf,
}

impl TraceFile {
    /// Makes it, with its header. Fails when it is there: its rows would be those of another server, whose exchanges
    /// had the same numbers.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        writeln!(File::create_new(path)?, "{}", TraceRow::HEADER)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Appends `rows`, all of them or none.
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
            // A full disk may have taken a part. If even this fails, the reader sees rows twice, or a broken one.
            let _ = file.set_len(before);
        })
    }
}
