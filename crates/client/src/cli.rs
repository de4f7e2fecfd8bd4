//! The command line: what can be asked for, and turning it into what the library takes.

mod duration;
mod menu;
mod probe;
mod shop;
mod workload;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{idle, output};

/// A virtual user for the shop: manually, or many at once with every operation logged.
#[derive(Parser)]
#[command(name = "shop-client", version = protocol::VERSION, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shop manually, with latency and round-trip time shown after each operation.
    Menu(menu::Args),
    /// Let virtual users go through the shop and write a CSV row for each operation they try.
    Workload(Box<workload::Args>),
    /// Measure the link with echo or handshakes, without the shop. Prints one line of JSON.
    Probe(probe::Args),
    /// Wait for SIGTERM or SIGINT; keeps a client's container up.
    Idle,
}

/// Everything the program does; `args` starts with the program's name.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to report to when even the terminal is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match cli.command {
        Command::Menu(args) => menu::run(args),
        Command::Workload(args) => workload::run(*args),
        Command::Probe(args) => probe::run(args),
        Command::Idle => idle::wait_for_the_end(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::failure(&error);
            ExitCode::FAILURE
        }
    }
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
