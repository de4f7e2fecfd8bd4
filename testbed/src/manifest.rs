//! `manifest.json`: everything that somebody needs to judge or repeat a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::Cell;
use crate::run::lab::Audit;
use crate::scenario::Scenario;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// It is under way, or its driver was killed.
    Unfinished,
    /// All cells were measured, whatever their verdicts.
    Complete,
    /// Ctrl-C.
    Interrupted,
    /// The lab broke down.
    Failed,
}

/// Who sets the conditions of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Control {
    /// The driver.
    #[default]
    Testbed,
    /// Somebody at the server's machine.
    ByHand,
}

/// The manifest of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The run's id.
    pub(crate) run_id: String,
    /// How it ended.
    pub(crate) ending: Ending,
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
    /// The command line.
    pub(crate) command_line: Vec<String>,
    /// What was run.
    pub(crate) scenario: Scenario,
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// The resolved plan.
    pub(crate) plan: Vec<Cell>,
    /// Where nodes lived.
    pub(crate) engine: String,
    /// Why that engine.
    pub(crate) why_engine: String,
    /// Versions and images.
    pub(crate) engine_facts: Value,
    /// What imposed conditions.
    pub(crate) emulator: String,
    /// Why that emulator.
    pub(crate) why_emulator: String,
    /// Who set the conditions. What was set by hand is not controlled by the testbed: only the probe speaks for it.
    #[serde(default)]
    pub(crate) condition_control: Control,
    /// Which packets are shaped.
    pub(crate) shaped_direction: String,
    /// Kernel settings of the nodes, names under `net.`.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// The machine.
    pub(crate) host: Value,
    /// Median round trip of the bare link before the first cell, milliseconds.
    #[serde(default)]
    pub(crate) floor_rtt_ms: Option<f64>,
    /// Time from the command to the first cell, seconds.
    #[serde(default)]
    pub(crate) setup_seconds: Option<f64>,
    /// Stock against orders after the last cell.
    #[serde(default)]
    pub(crate) audit: Option<Audit>,
    /// What should be known of the numbers as a whole.
    pub(crate) remarks: Vec<String>,
}

/// The server's link, in one direction: what netem on the server's device does, too.
pub(crate) const SHAPED_DIRECTION: &str =
    "server to clients: SYN-ACKs, acknowledgements and responses; requests take the bare link";

/// What every run of this scenario should say about its numbers.
pub(crate) fn remarks(scenario: &Scenario, server_is_ours: bool) -> Vec<String> {
    let server = &scenario.server;
    let workload = &scenario.workload;
    let closed_loop = format!(
        "closed loop: each of {} × {} shoppers waits for its answer and then about {} (half to one and a half times \
         that) before its next operation",
        scenario.clients, workload.users, workload.think_time
    );
    if !server_is_ours {
        return vec![
            "the shop was started by somebody else and conditions were set by hand: they are not controlled by the \
             testbed, nothing was read back, and only the probe speaks for them"
                .to_owned(),
            "settings under [server] and [network] in the scenario, and kernel settings of the server, were not applied"
                .to_owned(),
            closed_loop,
        ];
    }
    vec![
        format!(
            "passwords are hashed with argon2id of {} KiB and {} iteration(s), cheaper than a real shop's, so that \
             register and log in show the link instead of the hash; server_ms stands beside every latency",
            server.password_memory_kib, server.password_iterations
        ),
        closed_loop,
        format!("each product starts with {} pieces, so stock does not run out", server.catalogue_stock),
    ]
}
