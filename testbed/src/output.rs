//! The only place that prints: results on stdout, everything else on stderr.
use std::io::Write;

/// A line for the user about what goes on. A terminal that is gone is no reason to stop, and none to panic.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A result. A closed pipe (`testbed report … | head`) is no error.
pub(crate) fn result(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// An error, with what led to it.
pub(crate) fn failure(error: &anyhow::Error) {
    say(&format!("testbed: {error:#}"));
}
