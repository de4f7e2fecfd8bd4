//! Start, output and exit codes of a program, the same for all programs of the workspace.
//!
//! Results go to stdout as JSON lines, everything else to stderr. Left out: logging and progress, which differ between
//! programs.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use serde::Serialize;

/// Runs a program with its parsed command line, or prints why it could not be parsed, and returns the exit code.
///
/// Exit codes: that of `execute`, 1 if `execute` fails, 2 for a usage error (also from `execute`), 0 for help and version.
pub fn run<C>(
    name: &str,
    command_line: clap::error::Result<C>,
    execute: impl FnOnce(C) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    match command_line {
        Ok(command_line) => execute(command_line).unwrap_or_else(|error| match error.downcast_ref() {
            Some(error) => usage(error),
            None => {
                warning(name, format_args!("{error:#}"));
                ExitCode::FAILURE
            }
        }),
        Err(error) => usage(&error),
    }
}

/// Returns an error about flags that conflict, which [`run`] reports as a usage error.
#[must_use]
pub fn conflict(text: impl Display) -> anyhow::Error {
    clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, format!("{text}\n")).into()
}

/// Prints help, the version or a usage error, and returns its exit code.
pub fn usage(error: &clap::Error) -> ExitCode {
    // A closed terminal is ignored: the exit code still reports the error.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Prints one line of JSON on stdout and flushes it, so that a reader gets it at once.
///
/// # Errors
/// Stdout cannot be written, most likely because its reader has ended.
pub fn json_line(value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// Prints one line on stderr. A closed stderr is ignored: it must not end the program.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints one line on stderr, after the program's name.
pub fn warning(name: &str, text: impl Display) {
    note(format_args!("{name}: {text}"));
}
