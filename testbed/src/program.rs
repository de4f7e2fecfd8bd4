//! The shop's programs inside the driver's own binary.
//!
//! `testbed program shop-server …` is shop-server. So one `cargo run` builds everything there is to run, and driver,
//! server, client and emulator of a namespace run can never be of different versions.

use std::ffi::OsString;
use std::process::ExitCode;

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
pub(crate) const PROGRAM_ARGUMENT: &str = "program";

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
            Program::ShopServer => shop_server::cli::main_from(arguments),
            Program::ShopClient => shop_client::cli::main_from(arguments),
            Program::Shaper => shaper::cli::main_from(arguments),
            Program::Agent => testbed_agent::cli::main_from(arguments),
        }
    }
}

/// Runs the program that the arguments ask for; `None` when they ask for the driver itself.
pub(crate) fn run_if_asked(arguments: &[OsString]) -> Option<ExitCode> {
    let [_, keyword, name, ..] = arguments else { return None };
    if keyword != PROGRAM_ARGUMENT {
        return None;
    }
    let program = Program::named(name.to_str()?)?;
    Some(program.main_from(arguments[2..].to_vec()))
}
