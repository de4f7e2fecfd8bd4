//! The command line, and its conversion to settings of the library.

mod menu;
mod probe;
mod workload;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::NAME;

/// Client for the shop: interactive, or a load generator that logs every operation
#[derive(Parser)]
#[command(name = NAME, version = protocol::VERSION, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shop interactively; show latency and RTT after each operation
    Menu(menu::Args),
    /// Run virtual users and write one CSV row per operation
    Workload(Box<workload::Args>),
    /// Measure the link by echoes or TCP handshakes, without the shop; print one line of JSON
    Probe(probe::Args),
}

/// Runs the program with `args`, which start with its name.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    program_main::run(NAME, Cli::try_parse_from(args), |cli| {
        match cli.command {
            Command::Menu(args) => menu::run(args),
            Command::Workload(args) => workload::run(*args),
            Command::Probe(args) => probe::run(args),
        }?;
        Ok(ExitCode::SUCCESS)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
