//! The command line: what was typed, and which module does it.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::control_protocol::Request;
use crate::daemon;
use crate::daemon::Lifetime;
use crate::{control_client, output};
use model::{Condition, Delay, Loss, QueueLimit, Rate};

/// Emulates a link for the IPv4 packets that this network namespace sends by one device.
///
/// The shaper passes each packet through a TUN device of its own and lets it out when the condition says. Packets that
/// come in are not shaped: for both ways run one at each end.
#[derive(Debug, Parser)]
#[command(name = "shaper", version = protocol::VERSION, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shape until SIGTERM or SIGINT, then restore everything; prints one line of JSON when ready
    Run(RunArgs),
    /// Replace the condition (omitted settings are cleared) and print the status
    Set(SetArgs),
    /// Remove the condition, keep running, print the status
    Clear,
    /// Print the status as JSON, read back from the link and the kernel
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
    /// Limit the memory for packets in the link (MiB); packets beyond it count as 'dropped_memory'
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
    /// Time added to each packet, such as 50ms
    #[arg(long, default_value_t)]
    delay: Delay,
    /// Uniform spread around the delay, such as 5ms for ±5 ms; packets keep their order
    #[arg(long, default_value_t)]
    jitter: Delay,
    /// Share of packets lost, such as 1%
    #[arg(long, default_value_t)]
    loss: Loss,
    /// Bits per second, such as 1Mbit, counted from the IP header on
    #[arg(long)]
    rate: Option<Rate>,
    /// Packets that may be in the link at once [default: sized from the condition, at least 1000]
    #[arg(long)]
    queue_limit: Option<QueueLimit>,
}

#[derive(Debug, Args)]
struct SeedArgs {
    /// What loss and jitter follow from: the same seed loses the same packets [default: random, see 'show']
    #[arg(long)]
    seed: Option<u64>,
}

/// Everything that the binary does; `args` starts with the program's name.
///
/// Exit codes: 0 done, 1 failed, 2 the command line was wrong.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    let command = match parse(args) {
        Ok(command) => command,
        Err(error) => return refuse(&error),
    };
    match execute(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::problem(&error);
            ExitCode::FAILURE
        }
    }
}

/// A command line after checking.
enum Resolved {
    Run { device: String, condition: Condition, seed: Option<u64>, memory_limit: u64, lifetime: Lifetime },
    Ask(Request),
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
        Command::Set(set) => Resolved::Ask(Request::Set { condition: set.condition.resolve()?, seed: set.seed.seed }),
        Command::Clear => Resolved::Ask(Request::Set { condition: Condition::BASELINE, seed: None }),
        Command::Show => Resolved::Ask(Request::Show),
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

fn refuse(error: &clap::Error) -> ExitCode {
    // Help and version come here too, with code 0; a closed pipe is no reason to fail.
    let _closed = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
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
        Resolved::Ask(request) => Ok(output::line(&control_client::ask(&request)?)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Resolved, String> {
        parse(line.split(' ').map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_set_names_the_whole_condition() {
        let set = parsed("shaper set --delay 50ms --loss 1% --rate 1Mbit --seed 3");
        let Ok(Resolved::Ask(Request::Set { condition, seed })) = set else { panic!("not a set") };
        assert_eq!((condition.to_string().as_str(), seed), ("delay 50ms, loss 1%, rate 1Mbit", Some(3)));
        let Ok(Resolved::Ask(Request::Set { condition, .. })) = parsed("shaper set") else { panic!("not a set") };
        assert!(condition.is_baseline());
    }

    #[test]
    fn bad_conditions_are_refused_with_the_accepted_form() {
        for (line, expected) in [
            ("shaper set --rate 1Mps", "rate '1Mps': a number and one of bit, kbit, Mbit, Gbit"),
            ("shaper set --delay 5ms --jitter 6ms", "jitter '6ms' is above delay '5ms'"),
            ("shaper run --loss 101%", "loss '101%': a percentage from 0 to 100"),
        ] {
            let error = parsed(line).err().unwrap_or_default();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
