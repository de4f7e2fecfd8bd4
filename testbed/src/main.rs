//! The driver `testbed`: runs a shop and its shoppers under bad networks and draws what they felt.
//!
//! Data flows one way: `scenario` → `plan` → `run` (on an `engine`, through an `emulator`) → `results` → `report`.

mod cell_row;
mod clean;
mod cli;
mod doctor;
mod duration;
mod emulator;
mod engine;
mod host;
mod jobs;
mod log;
mod manifest;
mod output;
mod plan;
mod probe;
mod program;
mod report;
mod results;
mod run;
mod run_id;
mod scenario;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    program::run_if_asked(&arguments)
        .or_else(|| engine::netns::try_lab_if_asked(&arguments))
        .unwrap_or_else(|| cli::main_from(arguments))
}
