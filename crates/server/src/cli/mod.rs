//! The `shop-server` program: settings in, shop served, exit code out.

mod logging;
mod options;
mod output;
mod ready;
mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use options::{Command, Options, VerifyOptions};

/// Everything the program does; `args[0]` is its name. Exit codes: 0 done, 1 failed, 2 wrong usage.
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
        Some(Command::Verify(verify)) => run_verify(&verify),
        Some(Command::Ready(ready)) => ready::wait(&ready).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| output::failure(&error))
}

fn run_verify(options: &VerifyOptions) -> anyhow::Result<ExitCode> {
    let audit = crate::audit(&options.database)?;
    output::json_line(&audit)?;
    Ok(if audit.consistent { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
