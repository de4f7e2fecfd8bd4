//! The command line: an agent or the hub.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::socket::Heartbeat;
use crate::token::Token;
use crate::{NAME, agent, hub};

/// Runs programs in nodes on other hosts for the testbed's driver.
#[derive(Debug, Parser)]
#[command(name = NAME, version = protocol::VERSION, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run in a node: connect to the hub and do what the driver asks, until SIGTERM or SIGINT.
    Serve(ServeArgs),
    /// Run on the driver's host: pass on requests from stdin to agents and their events to stdout, until stdin closes.
    Hub(HubArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The hub's name or address, and port.
    #[arg(long, value_name = "HOST:PORT", env = "TESTBED_HUB")]
    hub: String,
    /// The number that the driver knows this agent by.
    #[arg(long, value_name = "N", env = "TESTBED_AGENT_ID")]
    id: u32,
    /// The host that this agent runs on.
    #[arg(long, value_name = "NAME", env = "TESTBED_AGENT_HOST")]
    host: String,
    /// Where programs are started and may leave files. EVERYTHING in it is removed when the driver says so, and when
    /// the connection to the hub is lost.
    #[arg(long, value_name = "DIR", env = "TESTBED_AGENT_WORK_DIR")]
    work_dir: PathBuf,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct HubArgs {
    /// Where agents connect; with port 0 the kernel chooses one. The first line on stdout tells it.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct CommonArgs {
    /// The secret that the hub and its agents share. Better given by the variable: everybody sees a command line.
    #[arg(long, value_name = "TEXT", env = "TESTBED_TOKEN", hide_env_values = true)]
    token: Token,
    /// Interval between two heartbeats of the hub (milliseconds); give the hub and its agents the same. After five
    /// intervals without one an agent kills its programs and connects again.
    #[arg(long, value_name = "MS", env = "TESTBED_HEARTBEAT_MS", default_value_t = Heartbeat::DEFAULT_MS)]
    heartbeat_ms: NonZeroU32,
}

/// Everything the program does; `args` starts with the program's name.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    program_main::run(NAME, Cli::try_parse_from(args), |cli| run(cli.command).map(|()| ExitCode::SUCCESS))
}

fn run(command: Command) -> anyhow::Result<()> {
    // One thread, which is this one: programs are tied to the life of the thread that starts them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let done = match command {
        Command::Serve(ServeArgs { hub, id, host, work_dir, common: CommonArgs { token, heartbeat_ms } }) => {
            let heartbeat = Heartbeat::every_ms(heartbeat_ms);
            runtime.block_on(agent::run(agent::Options { hub, agent_id: id, host, work_dir, token, heartbeat }))
        }
        Command::Hub(HubArgs { listen, common: CommonArgs { token, heartbeat_ms } }) => {
            runtime.block_on(hub::run(listen, token, Heartbeat::every_ms(heartbeat_ms)))
        }
    };
    // Threads that still look up a name or read stdin must not hold up the end.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
