//! `testbed run`: its flags, and the run that results from them, a scenario and a previous run.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use model::{Delay, Loss, Rate};

use crate::backend::placement::PlacementArgs;
use crate::cli::ShownArgs;
use crate::emulator::EmulatorChoice;
use crate::run::jobs::Jobs;
use crate::scenario::{
    ArrivalRate, Arrivals, Combination, Connection, Offloads, Overrides, Scenario, Storage, UntilPrecise,
};
use crate::store::manifest::Manifest;
use crate::usage::{bail_usage, usage};
use model::HumanDuration;

/// Flags that conflict with `--resume`: the manifest of the resumed run determines these settings.
const SCENARIO_FLAGS: [&str; 22] = [
    "clients",
    "scenario",
    "loss",
    "delay",
    "rate",
    "combined",
    "duration",
    "warm_up",
    "repetitions",
    "until",
    "users",
    "think_time",
    "arrival_rate",
    "arrivals",
    "connection",
    "offloads",
    "storage",
    "seed",
    "backend",
    "emulator",
    "results",
    "repeat",
];

#[derive(Args)]
#[command(args_override_self = true)]
pub(crate) struct RunArgs {
    /// Number of client nodes
    #[arg(long, value_name = "N")]
    clients: Option<u32>,
    /// Name of a built-in scenario, or path of a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "default")]
    pub(crate) scenario: String,
    /// Losses to sweep ('0,1,2%'); any flag for a condition replaces the scenario's whole sweep
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    loss: Option<Vec<Loss>>,
    /// Delays to sweep ('0,50ms,100ms')
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    delay: Option<Vec<Delay>>,
    /// Rate limits to sweep ('1Mbit,500kbit,100kbit')
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    rate: Option<Vec<Rate>>,
    /// Combined condition ('delay=50ms,loss=1%,rate=1Mbit'); may be repeated
    #[arg(long, value_name = "CONDITION", action = clap::ArgAction::Append)]
    combined: Option<Vec<Combination>>,
    /// Measurement window of each cell ('30s')
    #[arg(long, value_name = "TIME")]
    duration: Option<HumanDuration>,
    /// Warm-up before the measurement window, not measured ('2s')
    #[arg(long, value_name = "TIME")]
    warm_up: Option<HumanDuration>,
    /// Repetitions of each condition, in shuffled order; with --until the maximum
    #[arg(long, value_name = "N")]
    repetitions: Option<u32>,
    /// Stop repeating a condition once the 95 % confidence interval of its median latency is within ±N % ('ci=5%',
    /// 'ci=10%@p95')
    #[arg(long, value_name = "PRECISION")]
    until: Option<UntilPrecise>,
    /// Virtual users per client
    #[arg(long, value_name = "N")]
    users: Option<u32>,
    /// Mean think time of a virtual user between two operations ('100ms')
    #[arg(long, value_name = "TIME")]
    think_time: Option<HumanDuration>,
    /// Open loop: start operations at this total rate, regardless of response times ('200/s')
    #[arg(long, value_name = "RATE", conflicts_with = "think_time")]
    arrival_rate: Option<ArrivalRate>,
    /// Arrival process of the open loop
    #[arg(long, value_enum)]
    arrivals: Option<Arrivals>,
    /// A connection per request, or a persistent connection
    #[arg(long, value_enum)]
    connection: Option<Connection>,
    /// Emulator that imposes the conditions [default: auto, or the emulator of the repeated run]
    #[arg(long, value_enum)]
    pub(crate) emulator: Option<EmulatorChoice>,
    /// Segmentation offload on the server's interface; 'off' makes the emulator handle every wire packet separately
    #[arg(long, value_enum)]
    offloads: Option<Offloads>,
    /// Location of the shop's database: memory (tmpfs), or disk of the server's node [default: memory]
    #[arg(long, value_enum)]
    storage: Option<Storage>,
    /// Seed of plan, workload and shaper drops [default: random, recorded in the manifest]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Run up to N cells in parallel, each in its own environment, while host CPU load is low ('auto': up to 16)
    #[arg(long, value_name = "N|auto", default_value = "1")]
    pub(crate) jobs: Jobs,
    /// Resume an interrupted run: measure the cells missing in DIR
    #[arg(long, value_name = "DIR", conflicts_with_all = SCENARIO_FLAGS)]
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
    pub(crate) placement: PlacementArgs,
}

/// Settings of a run, from flags, scenario and previous manifest.
pub(crate) struct ResolvedRun {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) emulator: EmulatorChoice,
    pub(crate) placement: PlacementArgs,
}

impl RunArgs {
    fn overrides(&self) -> Overrides {
        Overrides {
            clients: self.clients,
            duration: self.duration,
            repetitions: self.repetitions,
            seed: self.seed,
            loss: self.loss.clone(),
            delay: self.delay.clone(),
            rate: self.rate.clone(),
            combined: self.combined.clone(),
            offloads: self.offloads,
            storage: self.storage,
            connection: self.connection,
            users: self.users,
            think_time: self.think_time,
            warm_up: self.warm_up,
            arrival_rate: self.arrival_rate,
            arrivals: self.arrivals,
            until: self.until,
        }
    }

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
        let scenario = base.with(self.overrides()).validate().map_err(usage)?;
        match (self.think_time, self.arrivals, scenario.workload.arrival_rate) {
            (Some(_), _, Some(rate)) => {
                bail_usage!(
                    "--think-time conflicts with the arrival rate {rate}: an open loop has no think time; omit it"
                )
            }
            (_, Some(_), None) => bail_usage!("--arrivals requires --arrival-rate (e.g. 200/s)"),
            _ => {}
        }
        let seed =
            scenario.seed.map_or_else(getrandom::u64, Ok).context("cannot generate a random seed: give --seed")?;
        let placement =
            previous.map_or_else(|| self.placement.clone(), |manifest| self.placement.clone().or_that_of(manifest));
        let previous_emulator = previous.and_then(|manifest| EmulatorChoice::named(&manifest.emulator));
        let emulator = self.emulator.or(previous_emulator).unwrap_or(EmulatorChoice::Auto);
        Ok(ResolvedRun { scenario, seed, emulator, placement })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    fn run_args(arguments: &[&str]) -> Result<super::RunArgs, String> {
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
        assert_eq!((scenario.warm_up.to_string().as_str(), scenario.repetitions), ("2s", 30));
        let error = run_args(&["--arrival-rate", "200/s", "--think-time", "1s"]).err().unwrap();
        assert!(error.contains("--think-time"), "{error}");
    }

    #[test]
    fn scenario_flags_conflict_with_resume() {
        assert!(run_args(&["--resume", "results/x", "--jobs", "2", "--format", "json"]).is_ok());
        for flag in
            [["--clients", "2"], ["--delay", "1ms"], ["--seed", "1"], ["--results", "x"], ["--scenario", "default"]]
        {
            let error = run_args(&[&["--resume", "results/x"][..], &flag].concat()).err().unwrap();
            assert!(error.contains("cannot be used with"), "{error}");
        }
    }
}
