//! Everything that this program prints, apart from the menu's prompts: stdout for results, stderr for people.
#![allow(clippy::print_stderr, reason = "this is the output module")]

use std::io::{self, IsTerminal, Write};

/// A line of text on stdout.
///
/// # Errors
/// When stdout cannot be written, most likely because its reader has ended.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
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
