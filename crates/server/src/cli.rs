//! The `shop-server` program: settings in, shop served, exit code out.

mod logging;
mod options;
mod output;
mod ready;
mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use options::{CheckOptions, Command, Options};

/// Everything the program does; `args[0]` is its name. Exit codes: 0 success, 1 error, 2 usage error.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => return output::usage(&error),
    };
    let done = match options.command {
        None => serve::serve(options.serve),
        Some(Command::Serve(serve)) => serve::serve(*serve),
        Some(Command::Check(verify)) => run_check(&verify),
        Some(Command::Ready(ready)) => ready::wait(&ready).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| output::failure(&error))
}

fn run_check(options: &CheckOptions) -> anyhow::Result<ExitCode> {
    let report = crate::check(&options.database)?;
    output::json_line(&report)?;
    Ok(if report.consistent { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
