//! The only place that prints, apart from the hub's stream of events.
#![allow(clippy::print_stderr, reason = "this is the output module")]

use std::fmt;
use std::io::{self, Write as _};

use serde::Serialize;

/// One line of JSON on stdout, there for a reader at once.
pub(crate) fn json_line(value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// A line for people on stderr.
pub(crate) fn note(text: impl fmt::Display) {
    eprintln!("testbed-agent: {text}");
}

/// The reason why the program ends, on one line, each cause after its consequence.
pub(crate) fn failure(error: &anyhow::Error) {
    note(format_args!("{error:#}"));
}
