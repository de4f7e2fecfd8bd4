//! The `shop-server` program.

mod logging;
mod options;
mod ready;
mod scrape;
mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::FromArgMatches;

use crate::{NAME, consistency};
pub use options::{CatalogueName, LogFormat, ServeOptions};
use options::{CheckOptions, Command, Options};

/// Runs the program; the first argument is its name. Exit codes: 0 success, 1 error, 2 usage error.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    program_main::run(NAME, parse(args), |options| match options.command {
        None => serve::serve(&options.serve.settings),
        Some(Command::Serve(options)) => serve::serve(&options.settings),
        Some(Command::Check(options)) => check(&options),
        Some(Command::Ready(options)) => ready::wait(&options).map(|()| ExitCode::SUCCESS),
        Some(Command::Metrics(options)) => scrape::print(options.address).map(|()| ExitCode::SUCCESS),
    })
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Options, clap::Error> {
    Options::from_arg_matches(&options::command().try_get_matches_from(args)?)
}

fn check(options: &CheckOptions) -> anyhow::Result<ExitCode> {
    let report = consistency::check(&options.database)?;
    program_main::json_line(&report).context("stdout cannot be written to")?;
    Ok(if report.consistent { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
