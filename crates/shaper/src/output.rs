//! The only place that prints.
#![allow(clippy::print_stderr, reason = "this is the commands' output module")]

use std::io::{self, Write as _};

use serde::Serialize;

/// One line of JSON on standard output, there for a reader at once.
pub(crate) fn line(value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// One line on standard error for a problem that does not end the program.
pub(crate) fn warning(text: &str) {
    eprintln!("shaper: {text}");
}

/// One line on standard error, with all that led to it.
pub(crate) fn problem(error: &anyhow::Error) {
    eprintln!("shaper: {error:#}");
}
