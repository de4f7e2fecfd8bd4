//! Output of this program, apart from the menu's prompts: results on stdout, status on stderr.
#![allow(clippy::print_stderr, reason = "this is the output module")]

use std::io::{self, IsTerminal, Write};

/// Prints a line on stdout.
///
/// # Errors
/// Stdout cannot be written, most likely because its reader has ended.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Replaces the status line by `text` if stderr is a terminal.
pub fn status(text: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{text}");
    }
}

/// Removes the status line.
pub fn clear_status() {
    status("");
}
