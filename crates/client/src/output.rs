//! Everything that this program prints, apart from the menu's prompts: stdout for results, stderr for people.
#![allow(clippy::print_stderr, reason = "this is the output module")]

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// One line of JSON on stdout, at once.
///
/// # Errors
/// When stdout can't be written, most likely because its reader is gone.
pub fn json_line(value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// A line of text on stdout.
///
/// # Errors
/// As [`json_line`].
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// A line for people on stderr.
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// The reason why the program ends, on one line, each cause after its consequence.
pub fn failure(error: &anyhow::Error) {
    eprintln!("shop-client: {error:#}");
}

/// Shows `text` in place of the line shown before; nothing when stderr is no terminal.
pub fn status(text: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{text}");
    }
}

/// Takes the status line away again.
pub fn clear_status() {
    status("");
}
