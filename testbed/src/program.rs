//! Programs of the nodes in the driver's own binary.
//!
//! `testbed program shop-server …` runs shop-server, and so does the driver's binary under that name (`argv[0]`). One
//! `cargo run` therefore builds all programs, and driver, server, client and emulator of a run in namespaces cannot
//! differ in version.

use std::ffi::{CString, OsString};
use std::path::Path;
use std::process::ExitCode;

use nix::sys::prctl::set_name;
use strum::{EnumString, IntoStaticStr};

/// A program that runs in nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, EnumString)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Program {
    /// The shop.
    ShopServer,
    /// The client: load generator and probe.
    ShopClient,
    /// The link emulator.
    Shaper,
    /// The agent: runs programs in nodes on other hosts.
    #[strum(serialize = "testbed-agent")]
    Agent,
}

/// First argument that makes the driver run one of the programs.
const PROGRAM_ARGUMENT: &str = "program";

impl Program {
    /// Returns the name of the binary.
    pub(crate) fn name(self) -> &'static str {
        self.into()
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

/// Runs the program that the arguments request; `None` if they request the driver itself.
pub(crate) fn run_if_requested(arguments: &[OsString]) -> Option<ExitCode> {
    let (program, arguments) = requested_program(arguments)?;
    // The kernel names a process after the file that was executed: the driver's own, or `exe`.
    if let Ok(name) = CString::new(program.name()) {
        // Only for `ps` and `top`: if the kernel refuses, the old name stays and nothing depends on it.
        let _ = set_name(&name);
    }
    Some(program.main_from(arguments.to_vec()))
}

/// Returns the program and its arguments, starting with its name: `shop-server …`, or `testbed program shop-server …`.
fn requested_program(arguments: &[OsString]) -> Option<(Program, &[OsString])> {
    let named = |path: &OsString| -> Option<Program> { Path::new(path).file_name()?.to_str()?.parse().ok() };
    if let Some(program) = arguments.first().and_then(named) {
        return Some((program, arguments));
    }
    let [_, keyword, rest @ ..] = arguments else { return None };
    let program = named(rest.first()?)?;
    (keyword == PROGRAM_ARGUMENT).then_some((program, rest))
}
