//! The command line: flags, and the arguments that each command gets from them.

mod run;

use std::path::PathBuf;

use analysis::Format;
use clap::{Args, Parser, Subcommand};

use crate::output::Verbosity;
use crate::placement::DockerHosts;
pub(crate) use run::{ResolvedRun, RunArgs};

/// Measure how packet loss, delay and rate limits affect the latency of a TCP application.
#[derive(Parser)]
#[command(
    name = "testbed",
    version = protocol::VERSION,
    about,
    max_term_width = 110,
    after_help = "Exit codes: 0 all cells verified, 1 error, 2 usage error, 3 a cell is unverified, failed or \
                  overloaded or the order check did not pass, 130 interrupted"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    verbosity: VerbosityArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Amount of output on stderr. `logs/driver.log` of a run is always complete.
#[derive(Args)]
struct VerbosityArgs {
    /// Print details on stderr: conditions that were set, probes, removed resources
    #[arg(long, short, global = true)]
    verbose: bool,
    /// Print only errors and prompts for manual conditions on stderr
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a scenario and write samples, tables and graphs
    Run(Box<RunArgs>),
    /// Regenerate the tables and graphs of a run from its results directory
    Report(ReportArgs),
    /// Check whether this host can run the testbed, and suggest fixes
    Doctor {
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove containers, services, networks and directories left by killed runs
    Clean(CleanArgs),
    /// Print shell completions
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
}

/// Docker hosts to clean in addition to this host's.
#[derive(Args)]
pub(crate) struct CleanArgs {
    #[command(flatten)]
    pub(crate) docker_hosts: DockerHosts,
}

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// Results directory of the run (results/RUN-ID)
    pub(crate) directory: PathBuf,
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
}

/// Output of results.
#[derive(Args)]
pub(crate) struct ShownArgs {
    /// Directory for graphs; a directory named after the run is created in it
    #[arg(long, value_name = "DIR", default_value = "graphs")]
    pub(crate) graphs: PathBuf,
    /// Format of the table on stdout: table, markdown, csv or json
    #[arg(long, value_name = "FORMAT", default_value_t)]
    pub(crate) format: Format,
}

impl Cli {
    /// Returns how much is printed on stderr.
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.verbosity.quiet, self.verbosity.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
