//! The scenario: what a run is to do, from a TOML file or a built-in one, with the command line's flags on top.

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

/// The built-in scenarios by name.
pub(crate) const BUILT_IN: [(&str, &str); 1] = [("default", include_str!("../scenarios/default.toml"))];

/// What a run is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What to call it.
    pub(crate) name: String,
    /// How many client nodes.
    pub(crate) clients: u32,
    /// How long the clients work in each cell.
    pub(crate) duration: HumanDuration,
    /// How long they work before that without being measured.
    #[serde(default)]
    pub(crate) warm_up: HumanDuration,
    /// How often each condition is measured; with `until` at most.
    #[serde(default = "one")]
    pub(crate) repetitions: u32,
    /// When a condition is known well enough and is not repeated any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<UntilPrecise>,
    /// Seed of everything random; made up and recorded when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// What is varied, one at a time.
    pub(crate) sweep: Sweep,
    /// What the shoppers do.
    pub(crate) workload: Workload,
    /// How the shop is set up.
    pub(crate) server: ServerSettings,
    /// How the nodes' TCP is set up.
    pub(crate) network: NetworkSettings,
}

const fn one() -> u32 {
    1
}

/// How often conditions are repeated at most when precision is asked for and no number of repetitions.
const REPETITIONS_UNTIL_PRECISE: u32 = 30;

/// The values of each condition, measured one at a time with the others left alone; and combinations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sweep {
    /// Share of packets lost.
    pub(crate) loss: Vec<Loss>,
    /// Time added to each packet.
    pub(crate) delay: Vec<Delay>,
    /// Bits per second.
    pub(crate) rate: Vec<Rate>,
    /// Several at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) combined: Vec<Condition>,
}

/// Settings of the shop that influence the numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerSettings {
    /// argon2id's memory, KiB.
    pub(crate) password_memory_kib: u32,
    /// argon2id's iterations.
    pub(crate) password_iterations: u32,
    /// Pieces of each product at the start.
    pub(crate) catalogue_stock: u32,
    /// SQLite's durability: `full` or `normal`.
    pub(crate) durability: String,
    /// Where the database is kept.
    #[serde(default)]
    pub(crate) storage: Storage,
}

/// Where the shop keeps its database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Storage {
    /// On a tmpfs, so that no commit waits for a disk.
    #[default]
    Memory,
    /// On the file system of the server's node.
    Disk,
}

/// Settings of the nodes' TCP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkSettings {
    /// Congestion control of the server's connections, so that hosts with different defaults measure the same thing.
    /// (A host may keep containers and users from changing the clients'; what they send is small.)
    pub(crate) congestion_control: String,
    /// Whether the server's device takes segments in bundles (segmentation offload). Off, every packet that the
    /// emulator sees is one that is on the wire.
    #[serde(default)]
    pub(crate) offloads: Offloads,
}

/// Whether nodes send segments in bundles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Offloads {
    /// As the kernel does by itself.
    #[default]
    On,
    /// One segment a packet.
    Off,
}

/// What the command line says over the scenario; `None` leaves the scenario's value.
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
    /// The built-in scenario of this name, else the file at this path.
    pub(crate) fn load(name_or_file: &str) -> anyhow::Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_file) {
            return toml::from_str(text).with_context(|| format!("built-in scenario '{name_or_file}'"));
        }
        if !Path::new(name_or_file).exists() {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            bail!("scenario '{name_or_file}': no such file, and no built-in scenario (there is {})", names.join(", "));
        }
        let text =
            std::fs::read_to_string(name_or_file).with_context(|| format!("reading scenario '{name_or_file}'"))?;
        toml::from_str(&text).with_context(|| format!("scenario '{name_or_file}'"))
    }

    /// The scenario with the command line's wishes. Naming any condition replaces the whole sweep: who asks
    /// for `--delay 20ms` does not want the scenario's other cells.
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
        // Who asks for precision and for no number of repetitions wants as many as it takes.
        let without_number = if overrides.until.is_some() { REPETITIONS_UNTIL_PRECISE } else { self.repetitions };
        self.repetitions = repetitions.unwrap_or(without_number);
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

    /// How long clients work in a cell, warm-up and measured time together.
    pub(crate) fn whole_duration(&self) -> Duration {
        self.warm_up.as_duration() + self.duration.as_duration()
    }

    /// Refuses what can't be run.
    pub(crate) fn validate(self) -> anyhow::Result<Self> {
        let Sweep { loss, delay, rate, combined } = &self.sweep;
        if loss.is_empty() && delay.is_empty() && rate.is_empty() && combined.is_empty() {
            bail!("the sweep is empty: give at least one value of loss, delay or rate (a baseline is --delay 0ms)");
        }
        for condition in combined {
            condition.validate().with_context(|| format!("the combination '{condition}'"))?;
        }
        if loss.iter().chain(combined.iter().map(|condition| &condition.loss)).any(|loss| loss.fraction() >= 1.0) {
            bail!("a loss of 100% leaves nothing to measure: choose one below");
        }
        for (what, value, most) in [
            ("clients", self.clients, 1_000),
            ("repetitions", self.repetitions, 1_000),
            ("users", self.workload.users, 100_000),
            ("page_size", self.workload.page_size, 100),
        ] {
            if !(1..=most).contains(&value) {
                bail!("{what} is {value}: expected 1 to {most}");
            }
        }
        if self.duration.as_duration().as_secs_f64() < 1.0 {
            bail!("duration is {}: expected at least 1s", self.duration);
        }
        for (what, span) in
            [("request_timeout", self.workload.request_timeout), ("connect_timeout", self.workload.connect_timeout)]
        {
            if span.as_duration().is_zero() {
                bail!("{what} is {span}: expected more than nothing");
            }
        }
        if let Some(rate) = self.workload.arrival_rate {
            rate.check(self.clients)?;
        }
        let ServerSettings { password_memory_kib, password_iterations, .. } = self.server;
        HashCost::new(password_memory_kib, password_iterations, 1).with_context(|| {
            format!("password_memory_kib is {password_memory_kib}, password_iterations is {password_iterations}")
        })?;
        if !matches!(self.server.durability.as_str(), "full" | "normal") {
            bail!("durability is '{}': expected full or normal", self.server.durability);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_scenarios_are_valid_and_the_first_is_the_original_sweep() {
        for (name, _) in BUILT_IN {
            Scenario::load(name).unwrap().validate().unwrap();
        }
        let original = Scenario::load("default").unwrap();
        let texts = |values: Vec<String>| values.join(",");
        assert_eq!(texts(original.sweep.loss.iter().map(ToString::to_string).collect()), "0%,1%,2%");
        assert_eq!(texts(original.sweep.delay.iter().map(ToString::to_string).collect()), "0,50ms,100ms");
        assert_eq!(texts(original.sweep.rate.iter().map(ToString::to_string).collect()), "1Mbit,500kbit,100kbit");
    }

    #[test]
    fn naming_one_condition_replaces_the_whole_sweep() {
        let overrides =
            Overrides { delay: Some(vec!["20ms".parse().unwrap()]), clients: Some(2), ..Overrides::default() };
        let scenario = Scenario::load("default").unwrap().with(overrides);
        assert!(scenario.sweep.loss.is_empty() && scenario.sweep.rate.is_empty());
        assert_eq!((scenario.sweep.delay.len(), scenario.clients), (1, 2));
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_name() {
        let original = Scenario::load("default").unwrap();
        for (change, expected) in [
            (Overrides { clients: Some(0), ..Overrides::default() }, "clients is 0"),
            (Overrides { repetitions: Some(0), ..Overrides::default() }, "repetitions is 0"),
            (Overrides { duration: Some("10ms".parse().unwrap()), ..Overrides::default() }, "duration is 10ms"),
            (Overrides { loss: Some(vec![]), ..Overrides::default() }, "sweep is empty"),
            (Overrides { loss: Some(vec!["100%".parse().unwrap()]), ..Overrides::default() }, "100%"),
        ] {
            let error = original.clone().with(change).validate().unwrap_err().to_string();
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
