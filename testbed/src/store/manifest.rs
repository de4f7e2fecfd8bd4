//! `manifest.json`: everything that somebody needs to judge or repeat a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::scenario::Scenario;
use crate::store::order_check::OrderCheck;
use model::Cell;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunStatus {
    /// It is under way, or its driver was killed.
    Incomplete,
    /// All cells were measured, whatever their verdicts.
    Completed,
    /// Ctrl-C.
    Interrupted,
    /// The lab broke down.
    Failed,
}

/// Who sets the conditions of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConditionControl {
    /// The driver.
    #[default]
    Automatic,
    /// Somebody at the server's machine.
    Manual,
}

/// Where a run's nodes were said to live, beyond its engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    /// Docker engine of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_docker_host: Option<String>,
    /// Docker engines of the clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) client_docker_host: Vec<String>,
    /// Where clients reach published ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_address: Option<String>,
    /// The first of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) publish_port: Option<u16>,
    /// Host of a shop that somebody else had started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) external_server: Option<String>,
}

/// A part of a run that ended before its time and was gone on with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// When it began, UTC.
    pub(crate) started: String,
    /// When it ended, UTC; unknown when its driver was killed.
    pub(crate) ended: Option<String>,
    /// How it ended.
    pub(crate) status: RunStatus,
    /// The driver's version.
    pub(crate) testbed_version: String,
    /// The machine.
    pub(crate) host: Value,
    /// Why, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// Kernel settings of its nodes.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Versions and images.
    pub(crate) backend_info: Value,
    /// Median round trip of the bare link before its first cell, milliseconds.
    pub(crate) baseline_rtt_ms: Option<f64>,
    /// Stock against orders at its end, if they were checked.
    pub(crate) order_check: Option<OrderCheck>,
    /// Whether the books of some lab could not be checked.
    #[serde(default)]
    pub(crate) order_check_skipped: bool,
    /// Cells that were measured up to its end and were kept.
    pub(crate) kept_cells: Vec<String>,
}

/// The manifest of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The run's id.
    pub(crate) run_id: String,
    /// How it ended.
    pub(crate) status: RunStatus,
    /// Why, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// When it began, UTC.
    pub(crate) started: String,
    /// When it ended, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<String>,
    /// The driver's version.
    pub(crate) testbed_version: String,
    /// Version of the programs in the nodes: the driver's build, perhaps at another optimisation level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) programs_version: Option<String>,
    /// The command line.
    pub(crate) command_line: Vec<String>,
    /// What was run.
    pub(crate) scenario: Scenario,
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// The resolved plan.
    pub(crate) plan: Vec<Cell>,
    /// The cells in the order in which they were to be measured.
    #[serde(default)]
    pub(crate) order: Vec<String>,
    /// Cells that were not measured because their condition was known well enough before.
    #[serde(default)]
    pub(crate) skipped_cells: Vec<String>,
    /// The most cells that were measured beside each other.
    #[serde(default)]
    pub(crate) max_parallel_cells: u32,
    /// What was run before, of a run that was gone on with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) previous_attempts: Vec<Attempt>,
    /// Where nodes lived.
    pub(crate) backend: String,
    /// Why that engine.
    pub(crate) backend_reason: String,
    /// Which engines and hosts were named.
    #[serde(default)]
    pub(crate) placement: Placement,
    /// Versions and images.
    pub(crate) backend_info: Value,
    /// What imposed conditions.
    pub(crate) emulator: String,
    /// Why that emulator.
    pub(crate) emulator_reason: String,
    /// Who set the conditions. What was set by hand is not controlled by the testbed: only the probe speaks for it.
    #[serde(default)]
    pub(crate) condition_control: ConditionControl,
    /// Which packets are shaped.
    pub(crate) shaped_direction: String,
    /// Kernel settings of the nodes, names under `net.`.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Kind of the file system that holds the shop's database, as its node tells; none for a shop elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) database_filesystem: Option<String>,
    /// The machine.
    pub(crate) host: Value,
    /// Median round trip of the bare link before the first cell, milliseconds.
    #[serde(default)]
    pub(crate) baseline_rtt_ms: Option<f64>,
    /// Time from the command to the first cell, seconds.
    #[serde(default)]
    pub(crate) setup_s: Option<f64>,
    /// Time that making the first lab's network and nodes took, seconds.
    #[serde(default)]
    pub(crate) node_startup_s: Option<f64>,
    /// Stock against orders after the last cell, all labs together.
    #[serde(default)]
    pub(crate) order_check: Option<OrderCheck>,
    /// Whether the books of some lab could not be checked.
    #[serde(default)]
    pub(crate) order_check_skipped: bool,
    /// What should be known of the numbers as a whole.
    pub(crate) notes: Vec<String>,
}

impl Manifest {
    /// Puts a remark to the others, unless it stands there.
    pub(crate) fn note(&mut self, note: Option<&str>) {
        self.notes.extend(note.filter(|note| !self.notes.iter().any(|there| there == note)).map(str::to_owned));
    }

    /// The rate that a cell asks for, kbit/s.
    pub(crate) fn rate_kbit(&self, cell: &str) -> Option<f64> {
        let planned = self.plan.iter().find(|planned| planned.id == cell)?;
        planned.condition.rate.map(|rate| rate.bits_per_second() as f64 / 1e3)
    }
}

/// The server's link, in one direction: what netem on the server's device does, too.
pub(crate) const SHAPED_DIRECTION: &str =
    "server to clients: SYN-ACKs, acknowledgements and responses; requests take the bare link";

/// What every run of this scenario should say about its numbers.
pub(crate) fn notes(scenario: &Scenario, server_is_ours: bool) -> Vec<String> {
    let server = &scenario.server;
    let workload = &scenario.workload;
    let load = match workload.arrival_rate {
        None => format!(
            "closed loop: each of {} × {} shoppers waits for its answer and then about {} (half to one and a half times \
             that) before its next operation",
            scenario.clients, workload.users, workload.think_time
        ),
        Some(rate) => format!(
            "open loop: {rate} operations begin ({} arrivals) whether the shop answers or not, by {} × {} shoppers; \
             latencies count from the intended start",
            workload.arrivals.as_str(),
            scenario.clients,
            workload.users
        ),
    };
    if !server_is_ours {
        return vec![
            "the shop was started by somebody else and conditions were set by hand: they are not controlled by the \
             testbed, nothing was read back, and only the probe speaks for them"
                .to_owned(),
            "settings under [server] and [network] in the scenario, and kernel settings of the server, were not applied"
                .to_owned(),
            load,
        ];
    }
    vec![
        format!(
            "passwords are hashed with argon2id of {} KiB and {} iteration(s), cheaper than a real shop's, so that \
             register and log in show the link instead of the hash; server_ms stands beside every latency",
            server.password_memory_kib, server.password_iterations
        ),
        load,
        format!("each product starts with {} pieces, so stock does not run out", server.catalogue_stock),
    ]
}
