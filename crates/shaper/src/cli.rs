//! Command line: parses the arguments and calls the module that executes the command.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::control_protocol::Request;
use crate::daemon;
use crate::daemon::Lifetime;
use crate::{NAME, control_client};
use model::{Condition, Delay, Loss, QueueLimit, Rate};
use program_main::json_line;

/// Emulate a link for the IPv4 packets that this network namespace sends by one device.
///
/// The shaper receives each packet from its own TUN device and sends it, delays it or drops it as the condition
/// requires. Incoming packets are not shaped: to shape both directions, run one shaper at each end.
#[derive(Debug, Parser)]
#[command(name = NAME, version = protocol::VERSION, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shape packets until SIGTERM, SIGINT or SIGHUP, then restore the routing; print one line of JSON when ready
    Run(RunArgs),
    /// Replace the condition (omitted settings are cleared) and print the status
    Set(SetArgs),
    /// Remove the condition, keep running, print the status
    Clear,
    /// Print the running shaper's status as JSON, read back from the link and the kernel
    Show,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Device whose outgoing packets are shaped
    #[arg(long, default_value = "eth0")]
    device: String,
    #[command(flatten)]
    condition: ConditionArgs,
    #[command(flatten)]
    seed: SeedArgs,
    /// Limit the memory for packets in the link (MiB); packets above it count as 'dropped_memory'
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    memory_limit_mib: u32,
    /// Exit when stdin closes
    #[arg(long)]
    exit_on_stdin_eof: bool,
}

#[derive(Debug, Args)]
struct SetArgs {
    #[command(flatten)]
    condition: ConditionArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

#[derive(Debug, Args)]
struct ConditionArgs {
    /// Delay each packet by this time (50ms)
    #[arg(long, default_value_t)]
    delay: Delay,
    /// Vary the delay uniformly by up to this time (5ms for ±5 ms); packets keep their order
    #[arg(long, default_value_t)]
    jitter: Delay,
    /// Drop this percentage of the packets (1%)
    #[arg(long, default_value_t)]
    loss: Loss,
    /// Limit the rate (1Mbit per second); counts bytes from the IP header on
    #[arg(long)]
    rate: Option<Rate>,
    /// Limit the number of packets in the link [default: derived from the condition, at least 1000]
    #[arg(long)]
    queue_limit: Option<QueueLimit>,
}

#[derive(Debug, Args)]
struct SeedArgs {
    /// Seed of loss and jitter: the same seed drops the same packets [default: random, printed by 'show']
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the program; `args` starts with the program's name.
///
/// Exit codes: 0 success, 1 error, 2 usage error.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    program_main::run(NAME, parse(args), |command| execute(command).map(|()| ExitCode::SUCCESS))
}

/// A checked command line.
enum Resolved {
    Run { device: String, condition: Condition, seed: Option<u64>, memory_limit: u64, lifetime: Lifetime },
    Send(Request),
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Resolved, clap::Error> {
    Ok(match Cli::try_parse_from(args)?.command {
        Command::Run(run) => Resolved::Run {
            device: run.device,
            condition: run.condition.resolve()?,
            seed: run.seed.seed,
            memory_limit: u64::from(run.memory_limit_mib) << 20,
            lifetime: if run.exit_on_stdin_eof { Lifetime::UntilStdinEof } else { Lifetime::UntilSignal },
        },
        Command::Set(set) => Resolved::Send(Request::Set { condition: set.condition.resolve()?, seed: set.seed.seed }),
        Command::Clear => Resolved::Send(Request::Set { condition: Condition::BASELINE, seed: None }),
        Command::Show => Resolved::Send(Request::Show),
    })
}

impl ConditionArgs {
    fn resolve(self) -> Result<Condition, clap::Error> {
        let Self { delay, jitter, loss, rate, queue_limit } = self;
        Condition { delay, jitter, loss, rate, queue_limit }
            .validate()
            .map_err(|error| Cli::command().error(ErrorKind::ValueValidation, error))
    }
}

fn execute(command: Resolved) -> Result<()> {
    match command {
        Resolved::Run { device, condition, seed, memory_limit, lifetime } => {
            let seed = seed.map_or_else(daemon::random_seed, Ok)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("cannot start the runtime")?.block_on(daemon::run(daemon::Options {
                device,
                condition,
                seed,
                memory_limit,
                lifetime,
            }))
        }
        Resolved::Send(request) => Ok(json_line(&control_client::send_request(&request)?)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Resolved, String> {
        parse(line.split(' ').map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_set_command_contains_the_whole_condition() {
        let set = parsed("shaper set --delay 50ms --loss 1% --rate 1Mbit --seed 3");
        let Ok(Resolved::Send(Request::Set { condition, seed })) = set else { panic!("not a set") };
        assert_eq!((condition.to_string().as_str(), seed), ("delay 50ms, loss 1%, rate 1Mbit", Some(3)));
        let Ok(Resolved::Send(Request::Set { condition, .. })) = parsed("shaper set") else { panic!("not a set") };
        assert!(condition.is_baseline());
    }

    #[test]
    fn invalid_conditions_are_rejected_with_the_accepted_form() {
        for (line, expected) in [
            ("shaper set --rate 1Mps", "invalid rate '1Mps': expected a number with bit, kbit, Mbit or Gbit"),
            ("shaper set --delay 5ms --jitter 6ms", "invalid jitter '6ms': must not exceed the delay '5ms'"),
            ("shaper run --loss 101%", "invalid loss '101%': expected a percentage from 0 to 100"),
        ] {
            let error = parsed(line).err().unwrap_or_default();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
