//! The scenario: settings of a run, from a TOML file or a built-in scenario, overridden by flags.

pub(crate) mod plan;
#[cfg(test)]
mod settings_page;
pub(crate) mod stopping_rule;
mod sweep;
mod until;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use model::HumanDuration;
use model::settings::{Flags, Server, Shop, Workload};
use model::units::{Count, MinDuration};
use serde::{Deserialize, Serialize};

use crate::usage::usage;
pub(crate) use sweep::Sweep;
pub(crate) use until::UntilPrecise;

/// Built-in scenarios: name and TOML text. The first one is the default, and the base of all others.
pub(crate) const BUILT_IN: [(&str, &str); 1] = [("default", include_str!("../scenarios/default.toml"))];

/// Maximum of repetitions with `until` if no number is given.
const MAX_REPETITIONS_UNTIL_PRECISE: u32 = 30;

/// Settings of a run. Each field is a key of scenario files and a flag of `testbed run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
#[group(id = "settings")]
#[command(next_help_heading = "Scenario")]
pub(crate) struct Scenario {
    /// Name, recorded in the manifest
    #[arg(skip)]
    pub(crate) name: String,
    /// Number of client nodes
    #[arg(long, value_name = Count::<1, 1_000>::range())]
    pub(crate) clients: Count<1, 1_000>,
    /// Measurement window of each cell ('30s'), at least 1s
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: MinDuration<1_000_000>,
    /// Warm-up before the measurement window, excluded from statistics ('2s')
    #[arg(long, value_name = "TIME")]
    pub(crate) warm_up: HumanDuration,
    /// Repetitions of each condition, in shuffled order; with --until the maximum [default: 1, with --until 30]
    #[arg(long, value_name = Count::<1, 1_000>::range())]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) repetitions: Option<Count<1, 1_000>>,
    /// Stop repeating a condition once the 95 % confidence interval of its median latency is within ±N % ('ci=5%',
    /// 'ci=10%@p95')
    #[arg(long, value_name = "PRECISION")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<UntilPrecise>,
    /// Seed of plan, workload and shaper drops [default: random, recorded in the manifest]
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// Conditions of the cells
    #[command(flatten)]
    pub(crate) sweep: Sweep,
    /// Behaviour of the virtual users
    #[command(flatten)]
    pub(crate) workload: Workload,
    /// Settings of the shop
    #[command(flatten)]
    pub(crate) shop: Shop,
    /// Settings of the server's node
    #[command(flatten)]
    pub(crate) server: Server,
}

impl Scenario {
    /// Loads the built-in scenario of this name; otherwise the file at this path. Settings that the file omits are those
    /// of the default scenario; a file with a `[sweep]` replaces the whole sweep.
    ///
    /// # Errors
    /// Neither exists, or the file is not a valid scenario.
    pub(crate) fn load(name_or_file: &str) -> anyhow::Result<Self> {
        let what = || format!("scenario '{name_or_file}'");
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_file) {
            return Self::parse(name, text).with_context(what);
        }
        let path = Path::new(name_or_file);
        if !path.exists() {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            bail!("scenario '{name_or_file}': no such file or built-in scenario (built-in: {})", names.join(", "));
        }
        let text = std::fs::read_to_string(path).with_context(what)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&stem, &text).with_context(what)
    }

    /// Parses a scenario; `name` is its name if the text has none.
    fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let mut settings: toml::Table = BUILT_IN[0].1.parse().context("the default scenario")?;
        settings.insert("name".to_owned(), name.into());
        for (key, value) in text.parse::<toml::Table>()? {
            match (settings.get_mut(&key), value) {
                (Some(toml::Value::Table(group)), toml::Value::Table(given)) if key != Sweep::KEY => {
                    group.extend(given)
                }
                (_, value) => drop(settings.insert(key, value)),
            }
        }
        // Names the setting of an invalid value.
        Ok(serde_path_to_error::deserialize(settings)?)
    }

    /// Returns the scenario with the settings that are given as flags. Any condition replaces the whole sweep: a user who
    /// requests `--delay 20ms` does not want the scenario's other cells.
    ///
    /// # Errors
    /// A usage error that names flags that do not fit the scenario.
    pub(crate) fn with(mut self, flags: &Flags<Self>) -> anyhow::Result<Self> {
        if flags.has(Sweep::KEY) {
            self.sweep = Sweep::default();
        }
        flags.apply(&mut self).map_err(|error| usage(anyhow!(error)))?;
        self.workload.check_flags(|flag| flags.has(flag)).map_err(|error| usage(anyhow!(error)))?;
        Ok(self)
    }

    /// Returns the number of repetitions of each condition; with a stopping rule their maximum. A stopping rule without a
    /// number of repetitions means as many as necessary.
    pub(crate) fn repetitions(&self) -> u32 {
        match (self.repetitions, self.until) {
            (Some(number), _) => number.get(),
            (None, Some(_)) => MAX_REPETITIONS_UNTIL_PRECISE,
            (None, None) => 1,
        }
    }

    /// Returns the time that clients work in a cell: warm-up and measurement window.
    pub(crate) fn whole_duration(&self) -> Duration {
        self.warm_up.as_duration() + self.duration.as_duration()
    }

    /// Checks constraints beyond the types of the settings: the sweep has conditions, and each is consistent.
    ///
    /// # Errors
    /// A value is invalid.
    pub(crate) fn validate(self) -> anyhow::Result<Self> {
        let Sweep { loss, delay, rate, combined } = &self.sweep;
        if loss.is_empty() && delay.is_empty() && rate.is_empty() && combined.is_empty() {
            bail!("the sweep is empty: give at least one value of loss, delay or rate (--delay 0ms for a baseline)");
        }
        for condition in combined {
            condition.validate().with_context(|| format!("invalid combined condition '{condition}'"))?;
        }
        if loss.iter().chain(combined.iter().map(|condition| &condition.loss)).any(|loss| loss.fraction() >= 1.0) {
            bail!("invalid loss 100%: must be below 100%");
        }
        self.workload.check(self.clients.get()).map_err(anyhow::Error::msg)?;
        Ok(self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        settings: Flags<Scenario>,
    }

    /// The default scenario with these flags.
    pub(crate) fn default_with(flags: &[&str]) -> Scenario {
        let arguments = Arguments::parse_from(["test"].iter().chain(flags));
        Scenario::load("default").unwrap().with(&arguments.settings).unwrap()
    }

    #[test]
    fn the_built_in_scenarios_are_valid_and_the_default_one_sweeps_three_parameters() {
        for (name, _) in BUILT_IN {
            Scenario::load(name).unwrap().validate().unwrap();
        }
        let scenario = Scenario::load("default").unwrap();
        let texts = |values: Vec<String>| values.join(",");
        assert_eq!(texts(scenario.sweep.loss.iter().map(ToString::to_string).collect()), "0%,1%,2%");
        assert_eq!(texts(scenario.sweep.delay.iter().map(ToString::to_string).collect()), "0,50ms,100ms");
        assert_eq!(texts(scenario.sweep.rate.iter().map(ToString::to_string).collect()), "1Mbit,500kbit,100kbit");
    }

    #[test]
    fn one_condition_given_as_a_flag_replaces_the_whole_sweep() {
        let scenario = default_with(&["--delay=20ms", "--clients=2"]);
        assert!(scenario.sweep.loss.is_empty() && scenario.sweep.rate.is_empty());
        assert_eq!((scenario.sweep.delay.len(), scenario.clients.get()), (1, 2));
    }

    #[test]
    fn an_invalid_value_is_refused_by_name() {
        for (text, expected) in [
            ("clients = 0", "clients: invalid number '0': expected 1 to 1000"),
            ("repetitions = 0", "repetitions: invalid number '0'"),
            ("duration = '10ms'", "duration: invalid duration '10ms': must be at least 1s"),
            ("[workload]\nusers = -1", "workload.users: invalid number '-1'"),
            ("[workload]\narrival_rate = '0/s'", "workload.arrival_rate: invalid arrival rate '0/s'"),
            ("[shop]\npassword_memory_kib = 7", "shop.password_memory_kib: invalid number '7'"),
            ("[shop]\ndurability = 'none'", "shop.durability"),
            ("client = 9", "unknown field `client`"),
            ("[server]\nspeed = 9", "unknown field `speed`"),
            ("clients =", "line 1"),
        ] {
            let error = format!("{:#}", Scenario::parse("x", text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
        for (text, expected) in [("[sweep]", "sweep is empty"), ("[sweep]\nloss = ['100%']", "100%")] {
            let error = Scenario::parse("x", text).unwrap().validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = Scenario::load("no-such").unwrap_err().to_string();
        assert!(error.contains("no-such") && error.contains("default"), "{error}");
    }

    #[test]
    fn omitted_settings_are_those_of_the_default_scenario_and_a_sweep_is_replaced_as_a_whole() {
        let scenario =
            Scenario::parse("own", "until = 'ci=5%'\n[sweep]\ndelay = ['1ms']\n[workload]\nusers = 3").unwrap();
        let default = default_with(&[]);
        assert_eq!((scenario.name.as_str(), scenario.workload.users.get()), ("own", 3));
        assert_eq!((scenario.sweep.loss.len(), scenario.sweep.delay.len()), (0, 1));
        assert_eq!((scenario.shop, scenario.workload.think_time), (default.shop, default.workload.think_time));
        assert_eq!((scenario.repetitions, Scenario::parse("one", "").unwrap().repetitions()), (None, 1));
    }

    #[test]
    fn without_a_number_of_repetitions_a_stopping_rule_allows_thirty() {
        let repetitions = |text: &str| Scenario::parse("x", text).unwrap().repetitions();
        assert_eq!((repetitions("until = 'ci=5%'"), repetitions("until = 'ci=5%'\nrepetitions = 4")), (30, 4));
        assert_eq!((default_with(&["--until=ci=5%"]).repetitions(), default_with(&[]).repetitions()), (30, 1));
    }
}
