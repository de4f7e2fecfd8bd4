//! `testbed run`: its flags, and the run that results from them, a scenario and a previous run.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use model::settings::Flags;

use crate::cli::ShownArgs;
use crate::emulator::EmulatorChoice;
use crate::placement::Placement;
use crate::run::jobs::Jobs;
use crate::scenario::Scenario;
use crate::store::manifest::Manifest;
use crate::usage::usage;

/// Other flags whose values the manifest of a resumed run determines.
const NOT_WITH_RESUME: [&str; 5] = ["scenario", "backend", "emulator", "results", "repeat"];

#[derive(Args)]
#[command(args_override_self = true)]
pub(crate) struct RunArgs {
    /// Name of a built-in scenario, or path of a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "default")]
    pub(crate) scenario: String,
    #[command(flatten)]
    settings: Flags<Scenario>,
    /// Emulator that imposes the conditions [default: auto, or the emulator of the repeated run]
    #[arg(long, value_enum)]
    pub(crate) emulator: Option<EmulatorChoice>,
    /// Run up to N cells in parallel, each in its own environment, while host CPU load is low ('auto': up to 16)
    #[arg(long, value_name = "N|auto", default_value = "1")]
    pub(crate) jobs: Jobs,
    /// Resume an interrupted run: measure the cells missing in DIR
    #[arg(long, value_name = "DIR", conflicts_with = "settings", conflicts_with_all = NOT_WITH_RESUME)]
    pub(crate) resume: Option<PathBuf>,
    /// Repeat a run from its manifest.json; other flags override it
    #[arg(long, value_name = "FILE", conflicts_with = "scenario")]
    pub(crate) repeat: Option<PathBuf>,
    /// Directory for results; a directory named after the run is created in it
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub(crate) results: PathBuf,
    /// Check everything that needs no environment, print the plan and exit (--format table or json)
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
    #[command(flatten)]
    pub(crate) placement: Placement,
}

/// Settings of a run, from flags, scenario and previous manifest.
pub(crate) struct ResolvedRun {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) emulator: EmulatorChoice,
    pub(crate) placement: Placement,
}

impl RunArgs {
    /// Returns the run that the flags request. With `previous`, the manifest of a repeated or resumed run, its settings
    /// take the place of the scenario's.
    ///
    /// # Errors
    /// A usage error that names the flag or setting.
    pub(crate) fn resolve(&self, previous: Option<&Manifest>) -> anyhow::Result<ResolvedRun> {
        let base = match previous {
            Some(manifest) => Scenario { seed: Some(manifest.seed), ..manifest.scenario.clone() },
            None => Scenario::load(&self.scenario).map_err(usage)?,
        };
        let scenario = base.with(&self.settings)?.validate().map_err(usage)?;
        let seed =
            scenario.seed.map_or_else(getrandom::u64, Ok).context("cannot generate a random seed: give --seed")?;
        let placement = match previous {
            Some(manifest) => self.placement.clone().or_previous(&manifest.placement, &manifest.backend),
            None => self.placement.clone(),
        };
        placement.check_tls(scenario.shop.tls).map_err(|error| usage(anyhow!(error)))?;
        let previous_emulator = previous.and_then(|manifest| EmulatorChoice::named(&manifest.emulator));
        let emulator = self.emulator.or(previous_emulator).unwrap_or(EmulatorChoice::Auto);
        Ok(ResolvedRun { scenario, seed, emulator, placement })
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::{Cli, Command};

    fn run_args(arguments: &[&str]) -> Result<RunArgs, String> {
        match Cli::try_parse_from([&["testbed", "run"], arguments].concat()) {
            Ok(Cli { command: Command::Run(args), .. }) => Ok(*args),
            Ok(_) => panic!("not a run"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn values_are_parsed_with_their_units() {
        let args = run_args(&["--loss", "0,1,2%", "--delay", "0,50ms", "--rate", "1Mbit"]).unwrap();
        let scenario = args.resolve(None).unwrap().scenario;
        assert_eq!((scenario.sweep.loss.len(), scenario.sweep.delay.len(), scenario.sweep.rate.len()), (3, 2, 1));
        let error = run_args(&["--rate", "1Mps"]).err().unwrap();
        assert!(error.contains("1Mps") && error.contains("kbit"), "{error}");
    }

    #[test]
    fn flags_of_the_open_loop_and_the_stopping_rule_change_the_scenario() {
        let arguments = ["--arrival-rate", "200/s", "--arrivals", "constant", "--warm-up", "2s", "--until", "ci=5%"];
        let scenario = run_args(&arguments).unwrap().resolve(None).unwrap().scenario;
        assert_eq!(scenario.workload.arrival_rate.unwrap().per_second(), 200.0);
        assert_eq!((scenario.warm_up.to_string().as_str(), scenario.repetitions()), ("2s", 30));
        let error = run_args(&["--arrival-rate", "200/s", "--think-time", "1s"]).err().unwrap();
        assert!(error.contains("--think-time"), "{error}");
    }

    #[test]
    fn scenario_flags_conflict_with_resume() {
        assert!(run_args(&["--resume", "results/x", "--jobs", "2", "--format", "json"]).is_ok());
        let error = run_args(&["--resume", "results/x", "--delay", "1ms"]).err().unwrap();
        assert!(error.contains("cannot be used with"), "{error}");
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let flag = |id: &str| run.get_arguments().find(|flag| flag.get_id() == id).unwrap();
        let conflicts = run.get_arg_conflicts_with(flag("resume"));
        let conflicts: Vec<&str> = conflicts.iter().map(|flag| flag.get_id().as_str()).collect();
        for declared in Flags::<Scenario>::declared() {
            let id = declared.get_id().as_str();
            assert!(conflicts.contains(&id), "--resume and {id} do not conflict: {conflicts:?}");
        }
    }
}
