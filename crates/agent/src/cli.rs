//! Command line of agent and hub.

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

/// Run programs in nodes on other hosts for the testbed's driver
#[derive(Debug, Parser)]
#[command(name = NAME, version = protocol::VERSION, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run in a node: connect to the hub and execute the driver's requests until SIGTERM or SIGINT
    Serve(ServeArgs),
    /// Run on the driver's host: relay requests from stdin to agents and their events to stdout until stdin closes
    Hub(HubArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Connect to this hub (hub:7700)
    #[arg(long, value_name = "HOST:PORT", env = "TESTBED_HUB")]
    hub: String,
    /// Number by which the driver identifies this agent
    #[arg(long, value_name = "N", env = "TESTBED_AGENT_ID")]
    id: u32,
    /// Report this name as the host of this agent
    #[arg(long, value_name = "NAME", env = "TESTBED_AGENT_HOST")]
    host: String,
    /// Run programs in this directory. ITS WHOLE CONTENT is removed when the driver requests it and when the connection
    /// to the hub ends
    #[arg(long, value_name = "DIR", env = "TESTBED_AGENT_WORK_DIR")]
    work_dir: PathBuf,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct HubArgs {
    /// Accept agents at this address; port 0 selects a free port, printed as the first line on stdout
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct CommonArgs {
    /// Secret that hub and agents share. Prefer the environment variable: all users of a host can see a command line
    #[arg(long, value_name = "TEXT", env = "TESTBED_TOKEN", hide_env_values = true)]
    token: Token,
    /// Interval of the hub's heartbeats (milliseconds), the same for hub and agents. After five intervals without one
    /// an agent kills its programs and reconnects
    #[arg(long, value_name = "MS", env = "TESTBED_HEARTBEAT_MS", default_value_t = Heartbeat::DEFAULT_MS)]
    heartbeat_ms: NonZeroU32,
}

/// Runs the program; `args` starts with its name.
///
/// Exit codes: 0 success, 1 error, 2 usage error.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    program_main::run(NAME, Cli::try_parse_from(args), |cli| run(cli.command).map(|()| ExitCode::SUCCESS))
}

fn run(command: Command) -> anyhow::Result<()> {
    // One thread, the first of the process: programs are killed with the thread that started them.
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
    // Does not wait for threads that resolve a name or read stdin.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_definition_is_valid() {
        Cli::command().debug_assert();
    }
}
