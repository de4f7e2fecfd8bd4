//! The command line: literal flags, turned into what each command needs.

mod run;

use std::path::PathBuf;

use analysis::Format;
use clap::{Args, Parser, Subcommand};

use crate::backend::placement::DockerHostArgs;
use crate::output::Verbosity;
pub(crate) use run::{ResolvedRun, RunArgs};

/// TCP applications under bad networks: a shop, its shoppers, and what they feel when the link is bad.
#[derive(Parser)]
#[command(
    name = "testbed",
    version = protocol::VERSION,
    about,
    max_term_width = 110,
    after_help = "Exit codes: 0 all cells measured and proved, 1 failed, 2 wrong usage, 3 some cells not proved or \
                  overloaded, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    verbosity: VerbosityArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How much is printed on stderr; `logs/driver.log` of a run has everything.
#[derive(Args)]
struct VerbosityArgs {
    /// Print details on stderr: conditions set, probes, everything that was removed
    #[arg(long, short, global = true)]
    verbose: bool,
    /// Print only errors, and prompts for manual conditions, on stderr
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a scenario: nodes up, each condition applied and proved, logs and graphs
    Run(Box<RunArgs>),
    /// Make table, summary and graphs of an earlier run again, from its folder alone
    Report(ReportArgs),
    /// Check whether this host can run the testbed, suggest fixes, and name the command that works
    Doctor {
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what killed runs left behind: services, containers, networks, temporary folders
    Clean(CleanArgs),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Docker hosts to clean in addition to this host's.
#[derive(Args)]
pub(crate) struct CleanArgs {
    #[command(flatten)]
    pub(crate) urls: DockerHostArgs,
}

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// The run's folder (results/RUN-ID)
    pub(crate) folder: PathBuf,
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
}

/// How results are shown.
#[derive(Args)]
pub(crate) struct ShownArgs {
    /// Where graphs go, in a folder named after the run
    #[arg(long, value_name = "DIR", default_value = "graphs")]
    pub(crate) graphs: PathBuf,
    /// Form of the table on stdout: table, markdown, csv or json
    #[arg(long, value_name = "FORM", default_value_t)]
    pub(crate) format: Format,
}

impl Cli {
    /// How much is printed on stderr.
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
