//! The scenario: settings of a run, from a TOML file or a built-in scenario, overridden by flags.

mod combination;
mod load;
pub(crate) mod plan;
pub(crate) mod stopping_rule;
mod workload;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use model::{Condition, Delay, Loss, Rate};
use serde::{Deserialize, Serialize};
use server::config::HashCost;

pub(crate) use combination::Combination;
pub(crate) use load::{ArrivalRate, Arrivals, UntilPrecise};
use model::HumanDuration;
pub(crate) use workload::{Connection, Workload};

/// Built-in scenarios: name and TOML text.
pub(crate) const BUILT_IN: [(&str, &str); 1] = [("default", include_str!("../scenarios/default.toml"))];

/// Settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Name, recorded in the manifest.
    pub(crate) name: String,
    /// Number of client nodes.
    pub(crate) clients: u32,
    /// Measurement window of each cell (one condition × one repetition).
    pub(crate) duration: HumanDuration,
    /// Warm-up before the measurement window.
    #[serde(default)]
    pub(crate) warm_up: HumanDuration,
    /// Repetitions of each condition; with `until` the maximum.
    #[serde(default = "one")]
    pub(crate) repetitions: u32,
    /// Stopping rule: ends the repetitions of a condition early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<UntilPrecise>,
    /// Seed of plan, workload and shaper drops; random and recorded if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// Conditions of the cells.
    pub(crate) sweep: Sweep,
    /// Behaviour of the virtual users.
    pub(crate) workload: Workload,
    /// Settings of the shop.
    pub(crate) server: ServerSettings,
    /// Settings of the nodes' TCP.
    pub(crate) network: NetworkSettings,
}

const fn one() -> u32 {
    1
}

/// Maximum of repetitions with `until` if no number is given.
const MAX_REPETITIONS_UNTIL_PRECISE: u32 = 30;

/// Swept values: each is a condition with this one impairment; and combined conditions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sweep {
    /// Fraction of packets lost.
    pub(crate) loss: Vec<Loss>,
    /// Delay added to each packet.
    pub(crate) delay: Vec<Delay>,
    /// Rate limits.
    pub(crate) rate: Vec<Rate>,
    /// Conditions with several impairments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) combined: Vec<Condition>,
}

/// Settings of the shop that affect results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerSettings {
    /// Memory of argon2id, KiB.
    pub(crate) password_memory_kib: u32,
    /// Iterations of argon2id.
    pub(crate) password_iterations: u32,
    /// Units of each product at the start.
    pub(crate) catalogue_stock: u32,
    /// Durability of SQLite: `full` or `normal`.
    pub(crate) durability: String,
    /// Location of the database.
    #[serde(default)]
    pub(crate) storage: Storage,
}

/// Location of the shop's database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Storage {
    /// On a tmpfs: no commit waits for a disk.
    #[default]
    Memory,
    /// On the file system of the server's node.
    Disk,
}

/// Settings of the nodes' TCP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkSettings {
    /// Congestion control of the server's connections, set explicitly because defaults differ between hosts. The
    /// clients' is not set: a host may forbid it to containers and users, and requests are small.
    pub(crate) congestion_control: String,
    /// Segmentation offload on the server's interface. With `off`, the emulator handles every wire packet separately.
    #[serde(default)]
    pub(crate) offloads: Offloads,
}

/// Segmentation offload: whether nodes send GSO packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Offloads {
    /// The kernel's default: one packet may hold several TCP segments.
    #[default]
    On,
    /// One TCP segment per packet.
    Off,
}

/// Values of command-line flags; `None` keeps the scenario's value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) clients: Option<u32>,
    pub(crate) duration: Option<HumanDuration>,
    pub(crate) repetitions: Option<u32>,
    pub(crate) seed: Option<u64>,
    pub(crate) loss: Option<Vec<Loss>>,
    pub(crate) delay: Option<Vec<Delay>>,
    pub(crate) rate: Option<Vec<Rate>>,
    pub(crate) combined: Option<Vec<Combination>>,
    pub(crate) offloads: Option<Offloads>,
    pub(crate) storage: Option<Storage>,
    pub(crate) connection: Option<Connection>,
    pub(crate) users: Option<u32>,
    pub(crate) think_time: Option<HumanDuration>,
    pub(crate) warm_up: Option<HumanDuration>,
    pub(crate) arrival_rate: Option<ArrivalRate>,
    pub(crate) arrivals: Option<Arrivals>,
    pub(crate) until: Option<UntilPrecise>,
}

impl Scenario {
    /// Loads the built-in scenario of this name; otherwise the file at this path.
    ///
    /// # Errors
    /// When neither exists, or the file is not a valid scenario.
    pub(crate) fn load(name_or_file: &str) -> anyhow::Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_file) {
            return toml::from_str(text).with_context(|| format!("built-in scenario '{name_or_file}'"));
        }
        if !Path::new(name_or_file).exists() {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            bail!("scenario '{name_or_file}': no such file or built-in scenario (built-in: {})", names.join(", "));
        }
        let text =
            std::fs::read_to_string(name_or_file).with_context(|| format!("reading scenario '{name_or_file}'"))?;
        toml::from_str(&text).with_context(|| format!("scenario '{name_or_file}'"))
    }

    /// Returns the scenario with these overrides. Any condition replaces the whole sweep: a user who requests
    /// `--delay 20ms` does not want the scenario's other cells.
    pub(crate) fn with(mut self, overrides: Overrides) -> Self {
        let Overrides { clients, duration, repetitions, seed, loss, delay, rate, combined, .. } = overrides;
        if loss.is_some() || delay.is_some() || rate.is_some() || combined.is_some() {
            let combined = combined.unwrap_or_default();
            self.sweep = Sweep {
                loss: loss.unwrap_or_default(),
                delay: delay.unwrap_or_default(),
                rate: rate.unwrap_or_default(),
                combined: combined.into_iter().map(|Combination(condition)| condition).collect(),
            };
        }
        self.clients = clients.unwrap_or(self.clients);
        self.duration = duration.unwrap_or(self.duration);
        // A stopping rule without a number of repetitions means as many as necessary.
        let default_repetitions =
            if overrides.until.is_some() { MAX_REPETITIONS_UNTIL_PRECISE } else { self.repetitions };
        self.repetitions = repetitions.unwrap_or(default_repetitions);
        self.until = overrides.until.or(self.until);
        self.warm_up = overrides.warm_up.unwrap_or(self.warm_up);
        self.seed = seed.or(self.seed);
        self.workload.connection = overrides.connection.unwrap_or(self.workload.connection);
        self.workload.users = overrides.users.unwrap_or(self.workload.users);
        self.workload.think_time = overrides.think_time.unwrap_or(self.workload.think_time);
        self.workload.arrival_rate = overrides.arrival_rate.or(self.workload.arrival_rate);
        self.workload.arrivals = overrides.arrivals.unwrap_or(self.workload.arrivals);
        self.server.storage = overrides.storage.unwrap_or(self.server.storage);
        self.network.offloads = overrides.offloads.unwrap_or(self.network.offloads);
        self
    }

    /// Returns the time that clients work in a cell: warm-up and measurement window.
    pub(crate) fn whole_duration(&self) -> Duration {
        self.warm_up.as_duration() + self.duration.as_duration()
    }

    /// Checks that the scenario can be run.
    ///
    /// # Errors
    /// When a value is invalid; the error names it.
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
        for (what, value, max) in [
            ("clients", self.clients, 1_000),
            ("repetitions", self.repetitions, 1_000),
            ("users", self.workload.users, 100_000),
            ("page_size", self.workload.page_size, 100),
        ] {
            if !(1..=max).contains(&value) {
                bail!("invalid {what} '{value}': expected 1 to {max}");
            }
        }
        if self.duration.as_duration().as_secs_f64() < 1.0 {
            bail!("invalid duration '{}': must be at least 1s", self.duration);
        }
        for (what, timeout) in
            [("request_timeout", self.workload.request_timeout), ("connect_timeout", self.workload.connect_timeout)]
        {
            if timeout.as_duration().is_zero() {
                bail!("invalid {what} '{timeout}': must be greater than 0");
            }
        }
        if let Some(rate) = self.workload.arrival_rate {
            rate.check(self.clients)?;
        }
        let ServerSettings { password_memory_kib, password_iterations, .. } = self.server;
        HashCost::new(password_memory_kib, password_iterations, 1).with_context(|| {
            format!(
                "invalid password_memory_kib '{password_memory_kib}' or password_iterations '{password_iterations}'"
            )
        })?;
        if !matches!(self.server.durability.as_str(), "full" | "normal") {
            bail!("invalid durability '{}': expected full or normal", self.server.durability);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn one_overridden_condition_replaces_the_whole_sweep() {
        let overrides =
            Overrides { delay: Some(vec!["20ms".parse().unwrap()]), clients: Some(2), ..Overrides::default() };
        let scenario = Scenario::load("default").unwrap().with(overrides);
        assert!(scenario.sweep.loss.is_empty() && scenario.sweep.rate.is_empty());
        assert_eq!((scenario.sweep.delay.len(), scenario.clients), (1, 2));
    }

    #[test]
    fn an_invalid_value_is_refused_by_name() {
        let scenario = Scenario::load("default").unwrap();
        for (change, expected) in [
            (Overrides { clients: Some(0), ..Overrides::default() }, "invalid clients '0'"),
            (Overrides { repetitions: Some(0), ..Overrides::default() }, "invalid repetitions '0'"),
            (Overrides { duration: Some("10ms".parse().unwrap()), ..Overrides::default() }, "invalid duration '10ms'"),
            (Overrides { loss: Some(vec![]), ..Overrides::default() }, "sweep is empty"),
            (Overrides { loss: Some(vec!["100%".parse().unwrap()]), ..Overrides::default() }, "100%"),
        ] {
            let error = scenario.clone().with(change).validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = Scenario::load("no-such").unwrap_err().to_string();
        assert!(error.contains("no-such") && error.contains("default"), "{error}");
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let text = BUILT_IN[0].1.replace("clients = 8", "clients = 8\nclient = 9");
        let error = toml::from_str::<Scenario>(&text).unwrap_err().to_string();
        assert!(error.contains("client"), "{error}");
    }
}
