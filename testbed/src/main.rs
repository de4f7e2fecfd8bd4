//! The driver `testbed`: runs an application and its clients on impaired links and reports the results.
//!
//! Data flows one way: `scenario` (plan) → `run` (on a `backend`, with an `emulator`, checked by `verify`) → `store` →
//! `commands` (report).

mod backend;
mod cli;
mod commands;
mod emulator;
mod host_info;
mod log;
mod output;
mod placement;
mod program;
mod run;
mod scenario;
mod store;
mod usage;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    program::run_if_requested(&arguments)
        .or_else(|| backend::netns::try_namespace_if_requested(&arguments))
        .unwrap_or_else(|| commands::main_from(arguments))
}
