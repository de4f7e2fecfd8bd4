//! All that the program prints; logs are apart, in `logging.rs`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one place that speaks to the terminal")]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

/// One line of JSON on stdout, at once.
pub(super) fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    let line = serde_json::to_string(value)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("stdout cannot be written to")
}

/// The password that was invented for the administrator, on stderr.
pub(super) fn invented_password(username: &str, password: &str) {
    eprintln!(
        "shop-server: made the administrator '{username}' with the password {password}\n\
         shop-server: it is shown this once and kept nowhere: note it, or change it with change_password"
    );
}

/// An error, with its causes in one line.
pub(super) fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("shop-server: {error:#}");
    ExitCode::FAILURE
}

/// Help, version, or what is wrong with the command line.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    // When not even that can be written, the exit code still says it.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Whether stderr is a terminal.
pub(super) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}
