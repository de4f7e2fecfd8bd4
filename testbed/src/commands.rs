//! Implements each command with the other modules.

mod check;
mod clean;
mod doctor;
mod dry_run;
mod interrupt;
mod report;
mod run;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::backend::runtime;
use crate::cli::{CleanArgs, Cli, Command};
use crate::log;
use crate::output::{self, failure};
use crate::store::run_directory::RunDirectory;
use crate::usage::is_usage;
use report::{ReportRequest, report};

/// Exit codes in addition to 0 (all cells verified) and 1 (error).
const USAGE_ERROR: u8 = 2;
const NOT_ALL_VERIFIED: u8 = 3;
const INTERRUPTED: u8 = 130;

/// Runs the driver; `arguments[0]` is its name.
pub(crate) fn main_from(arguments: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return program_main::usage(&error),
    };
    let verbosity = cli.verbosity();
    output::set_verbosity(verbosity);
    match log::start(verbosity).and_then(|()| dispatch(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            failure(&error);
            if is_usage(&error) { ExitCode::from(USAGE_ERROR) } else { ExitCode::FAILURE }
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run::command(&args),
        Command::Report(args) => {
            let request = ReportRequest { graphs: args.shown.graphs, format: args.shown.format };
            report(&RunDirectory::open(&args.directory)?, &request).map(|()| ExitCode::SUCCESS)
        }
        Command::Doctor { json } => {
            let is_ready = runtime()?.block_on(doctor::examine(json))?;
            Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Clean(CleanArgs { docker_hosts }) => clean::command(&docker_hosts),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "testbed", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}
