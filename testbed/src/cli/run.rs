//! `testbed run`: its flags, and the run that they, a scenario or an earlier run ask for.

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

/// Flags that say what is run: they don't go with `--resume`, which says all of it.
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
    /// Client nodes
    #[arg(long, value_name = "N")]
    clients: Option<u32>,
    /// A built-in scenario's name, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "default")]
    pub(crate) scenario: String,
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
    duration: Option<HumanDuration>,
    /// Time before that in which clients work and nothing is measured ('2s')
    #[arg(long, value_name = "TIME")]
    warm_up: Option<HumanDuration>,
    /// How often each condition is measured, in shuffled order; with --until at most
    #[arg(long, value_name = "N")]
    repetitions: Option<u32>,
    /// Repeat a condition until the 95 % interval of its median latency is within so many percent of it ('ci=5%'), or of
    /// another statistic ('ci=5%@p95', p99, mean)
    #[arg(long, value_name = "PRECISION")]
    until: Option<UntilPrecise>,
    /// Virtual shoppers in each client
    #[arg(long, value_name = "N")]
    users: Option<u32>,
    /// Mean pause of a shopper between two operations ('100ms')
    #[arg(long, value_name = "TIME")]
    think_time: Option<HumanDuration>,
    /// Operations that all clients together begin by a timetable, whether the shop answers or not ('200/s'; open loop)
    #[arg(long, value_name = "RATE", conflicts_with = "think_time")]
    arrival_rate: Option<ArrivalRate>,
    /// How these are spread over time
    #[arg(long, value_enum)]
    arrivals: Option<Arrivals>,
    /// A connection for each request, or one that is kept
    #[arg(long, value_enum)]
    connection: Option<Connection>,
    /// What imposes conditions [default: auto, or that of the run that is repeated]
    #[arg(long, value_enum)]
    pub(crate) emulator: Option<EmulatorChoice>,
    /// Segmentation offload of the server's device; off, the emulator drops single packets and no bundles of them
    #[arg(long, value_enum)]
    offloads: Option<Offloads>,
    /// Where the shop keeps its database: in memory (tmpfs), or on the disk of the server's node [default: memory]
    #[arg(long, value_enum)]
    storage: Option<Storage>,
    /// The same seed gives the same plan, workload decisions and shaper drops; made up and recorded when not given
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Cells that may be measured beside each other, each in a network of its own, while the host stays quiet: a number,
    /// or auto
    #[arg(long, value_name = "N|auto", default_value = "1")]
    pub(crate) jobs: Jobs,
    /// Go on with a run that did not get to its end: measure what is missing in its folder
    #[arg(long, value_name = "DIR", conflicts_with_all = SCENARIO_FLAGS)]
    pub(crate) resume: Option<PathBuf>,
    /// Repeat a run: scenario, seed, engine and emulator from its manifest.json; other flags change them
    #[arg(long, value_name = "FILE", conflicts_with = "scenario")]
    pub(crate) repeat: Option<PathBuf>,
    /// Where run folders go
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub(crate) results: PathBuf,
    /// Check everything that needs no environment, print the plan and stop (--format table or json)
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
    #[command(flatten)]
    pub(crate) placement: PlacementArgs,
}

/// What is to be run, wherever that was said.
pub(crate) struct ResolvedRun {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) emulator: EmulatorChoice,
    pub(crate) placement: PlacementArgs,
}

impl RunArgs {
    /// The command line's part of the scenario.
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

    /// What the flags ask for, over what `earlier` did, if that is repeated or gone on with.
    pub(crate) fn resolve(&self, earlier: Option<&Manifest>) -> anyhow::Result<ResolvedRun> {
        let base = match earlier {
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
        let seed = scenario.seed.map_or_else(getrandom::u64, Ok).context("no randomness for a seed; give --seed")?;
        let placement =
            earlier.map_or_else(|| self.placement.clone(), |manifest| self.placement.clone().or_that_of(manifest));
        let same_emulator = earlier.and_then(|manifest| EmulatorChoice::named(&manifest.emulator));
        let emulator = self.emulator.or(same_emulator).unwrap_or(EmulatorChoice::Auto);
        Ok(ResolvedRun { scenario, seed, emulator, placement })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    fn run_args(words: &[&str]) -> Result<super::RunArgs, String> {
        match Cli::try_parse_from([&["testbed", "run"], words].concat()) {
            Ok(Cli { command: Command::Run(args), .. }) => Ok(*args),
            Ok(_) => panic!("not a run"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn values_are_read_with_their_units() {
        let args = run_args(&["--loss", "0,1,2%", "--delay", "0,50ms", "--rate", "1Mbit"]).unwrap();
        let scenario = args.resolve(None).unwrap().scenario;
        assert_eq!((scenario.sweep.loss.len(), scenario.sweep.delay.len(), scenario.sweep.rate.len()), (3, 2, 1));
        let error = run_args(&["--rate", "1Mps"]).err().unwrap();
        assert!(error.contains("1Mps") && error.contains("kbit"), "{error}");
    }

    #[test]
    fn an_open_loop_and_precision_are_part_of_the_scenario() {
        let words = ["--arrival-rate", "200/s", "--arrivals", "constant", "--warm-up", "2s", "--until", "ci=5%"];
        let scenario = run_args(&words).unwrap().resolve(None).unwrap().scenario;
        assert_eq!(scenario.workload.arrival_rate.unwrap().per_second(), 200.0);
        assert_eq!((scenario.warm_up.to_string().as_str(), scenario.repetitions), ("2s", 30));
        let both = run_args(&["--arrival-rate", "200/s", "--think-time", "1s"]).err().unwrap();
        assert!(both.contains("--think-time"), "{both}");
    }

    #[test]
    fn what_is_run_can_not_be_changed_when_it_is_gone_on_with() {
        assert!(run_args(&["--resume", "results/x", "--jobs", "2", "--format", "json"]).is_ok());
        for flag in
            [["--clients", "2"], ["--delay", "1ms"], ["--seed", "1"], ["--results", "x"], ["--scenario", "default"]]
        {
            let error = run_args(&[&["--resume", "results/x"][..], &flag].concat()).err().unwrap();
            assert!(error.contains("cannot be used with"), "{error}");
        }
    }
}
