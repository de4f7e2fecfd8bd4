//! The only place that prints: results on stdout, everything else on stderr.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this module is where printing is meant to happen")]

use std::io::Write;

/// A line for the user about what goes on.
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// A result. A closed pipe (`testbed report … | head`) is no error.
pub(crate) fn result(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// An error, with what led to it.
pub(crate) fn failure(error: &anyhow::Error) {
    eprintln!("testbed: {error:#}");
}
