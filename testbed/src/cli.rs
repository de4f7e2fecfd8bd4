//! The command line: literal flags, turned into what each command needs.

mod choice;
mod clean;
mod interrupt;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use shaper::{Delay, Loss, Rate};
use testbed_analysis::Format;

use crate::duration::Span;
use crate::emulator::EmulatorChoice;
use crate::output::{failure, result};
use crate::report::{ReportRequest, report};
use crate::results::RunFolder;
use crate::run::{RunEnd, RunRequest, run};
use crate::run_id::{RunLock, new_run_id};
use crate::scenario::{Combination, Connection, Offloads, Overrides, Scenario};
use crate::{doctor, plan};
use choice::{EngineUrls, PlaceArgs, choose_engine};

/// Exit codes beside 0 (all cells measured and proved) and 1 (failed).
const SOME_NOT_PROVED: u8 = 3;
const INTERRUPTED: u8 = 130;

/// TCP applications under bad networks: a shop, its shoppers, and what they feel when the link is bad.
#[derive(Parser)]
#[command(
    name = "testbed",
    version = shop_protocol::VERSION,
    about,
    max_term_width = 110,
    after_help = "Exit codes: 0 all cells measured and proved, 1 failed, 2 wrong usage, 3 some cells not proved, \
                  130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario: nodes up, each condition applied and proved, logs and graphs
    Run(Box<RunArgs>),
    /// Make table, summary and graphs of an earlier run again, from its folder alone
    Report(ReportArgs),
    /// Say what works on this machine, and what to do about what does not
    Doctor,
    /// Remove what killed runs left behind: services, containers, networks, temporary folders
    Clean(CleanArgs),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
#[command(args_override_self = true)]
struct RunArgs {
    /// Client nodes
    #[arg(long, value_name = "N")]
    clients: Option<u32>,
    /// A built-in scenario's name, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "original")]
    scenario: String,
    /// Losses to sweep, percent ('0,1,2%'); naming any condition replaces the scenario's whole sweep
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    loss: Option<Vec<Loss>>,
    /// Delays to sweep ('0,50ms,100ms')
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    delay: Option<Vec<Delay>>,
    /// Rates to sweep ('1Mbit,500kbit,100kbit')
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    rate: Option<Vec<Rate>>,
    /// Several at once ('delay=50ms,loss=1%,rate=1Mbit'); may be given more than once
    #[arg(long, value_name = "CONDITION", action = clap::ArgAction::Append)]
    combined: Option<Vec<Combination>>,
    /// Measured time of each cell ('30s')
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
    /// How often each condition is measured
    #[arg(long, value_name = "N")]
    repetitions: Option<u32>,
    /// Virtual shoppers in each client
    #[arg(long, value_name = "N")]
    users: Option<u32>,
    /// Mean pause of a shopper between two operations ('100ms')
    #[arg(long, value_name = "TIME")]
    think_time: Option<Span>,
    /// A connection for each request, or one that is kept
    #[arg(long, value_enum)]
    connection: Option<Connection>,
    /// What imposes conditions
    #[arg(long, value_enum, default_value = "auto")]
    emulator: EmulatorChoice,
    /// Segmentation offload of the server's device; off, the emulator drops single packets and no bundles of them
    #[arg(long, value_enum)]
    offloads: Option<Offloads>,
    /// The same seed gives the same plan, workload decisions and shaper drops; made up and recorded when not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where run folders go
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,
    /// Print the plan and stop
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    shown: ShownArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What to look at besides this host and its own engine.
#[derive(Args)]
struct CleanArgs {
    /// Also clean the engine that a run's server was on
    #[arg(long, value_name = "URL")]
    server_engine: Option<String>,
    /// Also clean the engines that a run's clients were on
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    client_engine: Vec<String>,
}

#[derive(Args)]
struct ReportArgs {
    /// The run's folder (results/RUN-ID)
    folder: PathBuf,
    #[command(flatten)]
    shown: ShownArgs,
}

/// How results are shown.
#[derive(Args)]
struct ShownArgs {
    /// Where graphs go, in a folder named after the run
    #[arg(long, value_name = "DIR", default_value = "graphs")]
    graphs: PathBuf,
    /// Form of the table on stdout: table, markdown, csv or json
    #[arg(long, value_name = "FORM", default_value_t)]
    format: Format,
}

impl RunArgs {
    fn scenario(&self) -> anyhow::Result<Scenario> {
        let overrides = Overrides {
            clients: self.clients,
            duration: self.duration,
            repetitions: self.repetitions,
            seed: self.seed,
            loss: self.loss.clone(),
            delay: self.delay.clone(),
            rate: self.rate.clone(),
            combined: self.combined.clone(),
            offloads: self.offloads,
            connection: self.connection,
            users: self.users,
            think_time: self.think_time,
        };
        Scenario::load(&self.scenario)?.with(overrides).validate()
    }
}

/// Everything the driver does; `arguments[0]` is its name.
pub(crate) fn main_from(arguments: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // When even the terminal is gone there is nobody left to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => {
            failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run_command(&args),
        Command::Report(args) => {
            let request = ReportRequest { graphs: args.shown.graphs, format: args.shown.format };
            report(&RunFolder::open(&args.folder)?, &request).map(|()| ExitCode::SUCCESS)
        }
        Command::Doctor => {
            let healthy = runtime()?.block_on(doctor::examine());
            Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Clean(CleanArgs { server_engine, client_engine }) => {
            clean::when_asked(&EngineUrls { server_engine, client_engine })
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "testbed", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_command(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let scenario = args.scenario()?;
    let seed = scenario.seed.map_or_else(getrandom::u64, Ok).context("no randomness for a seed; give --seed")?;
    if args.dry_run {
        print_plan(&scenario, seed);
        return Ok(ExitCode::SUCCESS);
    }
    refuse_by_hand_with_emulator(args)?;
    clean::before_a_run(&args.place.urls)?;
    let run_id = new_run_id()?;
    let lock = RunLock::take(&run_id)?;
    lock.note_engines(&args.place.urls.all())?;
    // One thread only until here: namespaces can be entered by a whole process only while it has one.
    let chosen = choose_engine(&args.place, lock.folder())?;
    let request = RunRequest {
        scenario,
        seed,
        run_id,
        temporary: lock.folder().to_owned(),
        results: args.out.clone(),
        graphs: args.shown.graphs.clone(),
        format: args.shown.format,
        emulator: args.emulator,
        why_engine: chosen.why,
        began,
    };
    // The lock is held, and its folder kept, until the run is over.
    let end = chosen.runtime.block_on(async {
        let stop = interrupt::listen()?;
        run(chosen.engine, request, stop).await
    });
    // A read of stdin that nobody answers must not keep the program.
    chosen.runtime.shutdown_background();
    Ok(match end? {
        RunEnd::Proved => ExitCode::SUCCESS,
        RunEnd::Doubtful => ExitCode::from(SOME_NOT_PROVED),
        RunEnd::Interrupted => ExitCode::from(INTERRUPTED),
    })
}

/// Conditions that are set by hand have no emulator of ours.
fn refuse_by_hand_with_emulator(args: &RunArgs) -> anyhow::Result<()> {
    if args.place.server.is_some() && args.emulator != EmulatorChoice::Auto {
        anyhow::bail!("--server: the link of somebody else's shop is set by hand; leave --emulator away");
    }
    Ok(())
}

fn print_plan(scenario: &Scenario, seed: u64) {
    let cells = plan::cells(scenario, seed);
    let time = scenario.duration.as_duration() * u32::try_from(cells.len()).unwrap_or(u32::MAX);
    let lines = cells.iter().map(|cell| format!("{:<18} {}", cell.id, cell.condition));
    result(&lines.collect::<Vec<_>>().join("\n"));
    result(&format!("{} cells of {}, {} s in all, seed {seed}", cells.len(), scenario.duration, time.as_secs()));
}

/// A runtime on the calling thread: no other thread is started, so namespaces can still be entered after it.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the async runtime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_are_read_with_their_units() {
        let cli = Cli::try_parse_from(["testbed", "run", "--loss", "0,1,2%", "--delay", "0,50ms", "--rate", "1Mbit"]);
        let Ok(Cli { command: Command::Run(args) }) = cli else { panic!("not a run") };
        let scenario = args.scenario().unwrap();
        assert_eq!((scenario.sweep.loss.len(), scenario.sweep.delay.len(), scenario.sweep.rate.len()), (3, 2, 1));
        let error = Cli::try_parse_from(["testbed", "run", "--rate", "1Mps"]).err().unwrap().to_string();
        assert!(error.contains("1Mps") && error.contains("kbit"), "{error}");
    }
}
