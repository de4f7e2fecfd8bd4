//! Output of the commands. Only this module prints.
#![allow(clippy::print_stderr, reason = "this is the commands' output module")]

use std::io::{self, Write as _};

use serde::Serialize;

/// Prints one line of JSON on stdout and flushes it.
pub(crate) fn line(value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// Prints one line on stderr about a problem that does not end the program.
pub(crate) fn warning(text: &str) {
    eprintln!("shaper: {text}");
}

/// Prints one line on stderr with an error and its causes.
pub(crate) fn problem(error: &anyhow::Error) {
    eprintln!("shaper: {error:#}");
}
