//! The trace's file: found by its path anew for each batch of rows, so that anybody may take it away by renaming it.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::trace::Row;

/// The first line of every file.
const HEADER: &str = "exchange_id,tcp_rtt_us,tcp_rto_us,retransmits\n";

/// Where rows are appended.
#[derive(Debug)]
pub(super) struct TraceFile {
    path: PathBuf,
}

impl TraceFile {
    /// Makes it, with its header. Fails when it is there: its rows would be those of another server, whose exchanges
    /// had the same numbers.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        File::create_new(path)?.write_all(HEADER.as_bytes())?;
        Ok(Self { path: path.to_owned() })
    }

    /// Appends `rows`, all of them or none.
    pub(super) fn append(&self, rows: &[Row]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        let before = file.metadata()?.len();
        let mut text = String::new();
        if before == 0 {
            text.push_str(HEADER);
        }
        for row in rows {
            append_row(&mut text, row);
        }
        file.write_all(text.as_bytes()).inspect_err(|_| {
            // A full disk may have taken a part. If even this fails, the reader sees rows twice, or a broken one.
            let _ = file.set_len(before);
        })
    }
}

fn append_row(text: &mut String, row: &Row) {
    let field = |value: Option<u128>| value.map_or_else(String::new, |value| value.to_string());
    let micros = |time: Option<Duration>| field(time.map(|time| time.as_micros()));
    let (rtt, rto, retransmits) = (micros(row.rtt), micros(row.rto), field(row.retransmits.map(u128::from)));
    // Writing to a text can't fail.
    let _ = writeln!(text, "{},{rtt},{rto},{retransmits}", row.exchange_id);
}
