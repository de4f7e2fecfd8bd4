//! The command line: literal flags, turned into what each command needs.

mod choice;
mod clean;
mod interrupt;
mod place;
mod run;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use testbed_analysis::Format;

use crate::output::{self, Verbosity, failure};
use crate::report::{ReportRequest, report};
use crate::results::RunFolder;
use crate::usage::is_usage;
use crate::{doctor, log};
use place::EngineUrls;
use run::RunArgs;

/// Exit codes beside 0 (all cells measured and proved) and 1 (failed).
const WRONG_USAGE: u8 = 2;
const SOME_NOT_PROVED: u8 = 3;
const INTERRUPTED: u8 = 130;

/// TCP applications under bad networks: a shop, its shoppers, and what they feel when the link is bad.
#[derive(Parser)]
#[command(
    name = "testbed",
    version = shop_protocol::VERSION,
    about,
    max_term_width = 110,
    after_help = "Exit codes: 0 all cells measured and proved, 1 failed, 2 wrong usage, 3 some cells not proved or \
                  overloaded, 130 interrupted."
)]
struct Cli {
    #[command(flatten)]
    verbosity: VerbosityArgs,
    #[command(subcommand)]
    command: Command,
}

/// How much is printed on stderr; `logs/driver.log` of a run has everything.
#[derive(Args)]
struct VerbosityArgs {
    /// Print details on stderr: conditions set, probes, everything that was removed
    #[arg(long, short, global = true)]
    verbose: bool,
    /// Print only errors, and prompts for manual conditions, on stderr
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

impl VerbosityArgs {
    fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario: nodes up, each condition applied and proved, logs and graphs
    Run(Box<RunArgs>),
    /// Make table, summary and graphs of an earlier run again, from its folder alone
    Report(ReportArgs),
    /// Check whether this host can run the testbed, suggest fixes, and name the command that works
    Doctor {
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what killed runs left behind: services, containers, networks, temporary folders
    Clean(CleanArgs),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What to look at besides this host and its own engine.
#[derive(Args)]
struct CleanArgs {
    /// Also clean the engine that a run's server was on
    #[arg(long, value_name = "URL")]
    server_engine: Option<String>,
    /// Also clean the engines that a run's clients were on
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    client_engine: Vec<String>,
}

#[derive(Args)]
struct ReportArgs {
    /// The run's folder (results/RUN-ID)
    folder: PathBuf,
    #[command(flatten)]
    shown: ShownArgs,
}

/// How results are shown.
#[derive(Args)]
struct ShownArgs {
    /// Where graphs go, in a folder named after the run
    #[arg(long, value_name = "DIR", default_value = "graphs")]
    graphs: PathBuf,
    /// Form of the table on stdout: table, markdown, csv or json
    #[arg(long, value_name = "FORM", default_value_t)]
    format: Format,
}

/// Everything the driver does; `arguments[0]` is its name.
pub(crate) fn main_from(arguments: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // When even the terminal is gone there is nobody left to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let verbosity = cli.verbosity.verbosity();
    output::set_verbosity(verbosity);
    match log::start(verbosity).and_then(|()| dispatch(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            failure(&error);
            if is_usage(&error) { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run::command(&args),
        Command::Report(args) => {
            let request = ReportRequest { graphs: args.shown.graphs, format: args.shown.format };
            report(&RunFolder::open(&args.folder)?, &request).map(|()| ExitCode::SUCCESS)
        }
        Command::Doctor { json } => {
            let healthy = runtime()?.block_on(doctor::examine(json))?;
            Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Clean(CleanArgs { server_engine, client_engine }) => {
            clean::when_asked(&EngineUrls { server_engine, client_engine })
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "testbed", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A runtime on the calling thread: no other thread is started, so namespaces can still be entered after it.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the async runtime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
