//! The shop's programs inside the driver's own binary.
//!
//! `testbed program shop-server …` is shop-server, and so is the driver's binary under that name (`argv[0]`). So one `cargo run` builds everything there is to run, and driver,
//! server, client and emulator of a namespace run can never be of different versions.

use std::ffi::{CString, OsString};
use std::path::Path;
use std::process::ExitCode;

use nix::sys::prctl::set_name;

/// A program that runs in nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The shop.
    ShopServer,
    /// The shopper, and the probe.
    ShopClient,
    /// The link emulator.
    Shaper,
    /// What runs programs in nodes on other machines.
    Agent,
}

/// The first argument that turns the driver into one of the programs.
const PROGRAM_ARGUMENT: &str = "program";

impl Program {
    /// The name of the binary.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Program::ShopServer => "shop-server",
            Program::ShopClient => "shop-client",
            Program::Shaper => "shaper",
            Program::Agent => "testbed-agent",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Program::ShopServer, Program::ShopClient, Program::Shaper, Program::Agent]
            .into_iter()
            .find(|program| program.name() == name)
    }

    fn main_from(self, arguments: Vec<OsString>) -> ExitCode {
        match self {
            Program::ShopServer => server::cli::main_from(arguments),
            Program::ShopClient => client::cli::main_from(arguments),
            Program::Shaper => shaper::cli::main_from(arguments),
            Program::Agent => agent::cli::main_from(arguments),
        }
    }
}

/// Runs the program that the arguments ask for; `None` when they ask for the driver itself.
pub(crate) fn run_if_asked(arguments: &[OsString]) -> Option<ExitCode> {
    let (program, arguments) = asked_for(arguments)?;
    // The kernel names a process after the file that was executed: the driver's own, or `exe`.
    if let Ok(name) = CString::new(program.name()) {
        // It is for `ps` and `top` alone: a kernel that refuses leaves the old name, and nothing depends on it.
        let _ = set_name(&name);
    }
    Some(program.main_from(arguments.to_vec()))
}

/// The program and its arguments, its name first: `shop-server …`, or `testbed program shop-server …`.
fn asked_for(arguments: &[OsString]) -> Option<(Program, &[OsString])> {
    let named = |path: &OsString| Program::named(Path::new(path).file_name()?.to_str()?);
    if let Some(program) = arguments.first().and_then(named) {
        return Some((program, arguments));
    }
    let [_, keyword, rest @ ..] = arguments else { return None };
    let program = named(rest.first()?)?;
    (keyword == PROGRAM_ARGUMENT).then_some((program, rest))
}
