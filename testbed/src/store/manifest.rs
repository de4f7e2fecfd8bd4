//! `manifest.json`: everything needed to evaluate or repeat a run.

use std::collections::BTreeMap;

use anyhow::Context;
use model::settings::value_name;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::placement::Placement;
use crate::scenario::Scenario;
use crate::store::order_check::OrderCheck;
use model::Cell;

/// Status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunStatus {
    /// The run is still running, or its driver was killed.
    Incomplete,
    /// All cells are measured, with any verdict.
    Completed,
    /// Interrupted by Ctrl-C.
    Interrupted,
    /// An environment failed.
    Failed,
}

/// Control of the conditions of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConditionControl {
    /// By the driver.
    #[default]
    Automatic,
    /// By an operator at the server's host.
    Manual,
}

/// An attempt that ended early, of a resumed run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// Its start, UTC.
    pub(crate) started: String,
    /// Its end, UTC; unknown if its driver was killed.
    pub(crate) ended: Option<String>,
    /// Its status.
    pub(crate) status: RunStatus,
    /// The driver's version.
    pub(crate) testbed_version: String,
    /// The driver's host.
    pub(crate) host: Value,
    /// Error of a failed attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// Kernel settings of its nodes.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Versions and images.
    pub(crate) backend_info: Value,
    /// Baseline RTT before its first cell, milliseconds.
    pub(crate) baseline_rtt_ms: Option<f64>,
    /// Order check at its end, if it ran.
    pub(crate) order_check: Option<OrderCheck>,
    /// Whether the order check could not run in an environment.
    #[serde(default)]
    pub(crate) order_check_skipped: bool,
    /// Cells measured up to its end whose results are kept.
    pub(crate) kept_cells: Vec<String>,
}

/// The manifest of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The run's id.
    pub(crate) run_id: String,
    /// Its status.
    pub(crate) status: RunStatus,
    /// Error of a failed run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// Its start, UTC.
    pub(crate) started: String,
    /// Its end, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<String>,
    /// The driver's version.
    pub(crate) testbed_version: String,
    /// Version of the programs in the nodes: of the driver's build, possibly with another optimisation level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) programs_version: Option<String>,
    /// The command line.
    pub(crate) command_line: Vec<String>,
    /// Scenario.
    pub(crate) scenario: Scenario,
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// Plan: all cells.
    pub(crate) plan: Vec<Cell>,
    /// Ids of the cells in the order of their measurement.
    #[serde(default)]
    pub(crate) order: Vec<String>,
    /// Cells skipped by the stopping rule.
    #[serde(default)]
    pub(crate) skipped_cells: Vec<String>,
    /// Maximum number of cells measured in parallel.
    #[serde(default)]
    pub(crate) max_parallel_cells: u32,
    /// Previous attempts of a resumed run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) previous_attempts: Vec<Attempt>,
    /// Backend.
    pub(crate) backend: String,
    /// Reason for the selection of the backend.
    pub(crate) backend_reason: String,
    /// Placement, as requested.
    #[serde(default)]
    pub(crate) placement: Placement,
    /// Versions and images.
    pub(crate) backend_info: Value,
    /// Emulator.
    pub(crate) emulator: String,
    /// Reason for the selection of the emulator.
    pub(crate) emulator_reason: String,
    /// Control of the conditions. Manually set conditions are verified by the probe only.
    #[serde(default)]
    pub(crate) condition_control: ConditionControl,
    /// Shaped packets.
    pub(crate) shaped_direction: String,
    /// Kernel settings of the nodes, by their names under `net.`.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Type of the file system with the shop's database; unknown for an external server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) database_filesystem: Option<String>,
    /// The driver's host.
    pub(crate) host: Value,
    /// Baseline RTT before the first cell, milliseconds.
    #[serde(default)]
    pub(crate) baseline_rtt_ms: Option<f64>,
    /// Time from the command to the first cell, seconds.
    #[serde(default)]
    pub(crate) setup_s: Option<f64>,
    /// Time to create network and nodes of the first environment, seconds.
    #[serde(default)]
    pub(crate) node_startup_s: Option<f64>,
    /// Order check after the last cell, sum over all environments.
    #[serde(default)]
    pub(crate) order_check: Option<OrderCheck>,
    /// Whether the order check could not run in an environment.
    #[serde(default)]
    pub(crate) order_check_skipped: bool,
    /// Notes about the results as a whole.
    pub(crate) notes: Vec<String>,
}

impl Manifest {
    /// Parses a manifest.
    ///
    /// # Errors
    /// It is invalid. If another version wrote it, the error names that version.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let written_by = |manifest: Value| manifest.get("testbed_version")?.as_str().map(str::to_owned);
        serde_json::from_str(text).with_context(|| match serde_json::from_str(text).ok().and_then(written_by) {
            Some(version) if version != protocol::VERSION => format!(
                "written by testbed {version}, which has other settings than this version ({}): use that version",
                protocol::VERSION
            ),
            _ => "expected the manifest.json of a run".to_owned(),
        })
    }

    /// Adds a note, if it is not present yet.
    pub(crate) fn note(&mut self, note: Option<&str>) {
        self.notes.extend(note.filter(|note| !self.notes.iter().any(|present| present == note)).map(str::to_owned));
    }

    /// Returns a cell of the plan.
    ///
    /// # Errors
    /// The plan does not contain it.
    pub(crate) fn planned(&self, cell: &str) -> anyhow::Result<&Cell> {
        let planned = self.plan.iter().find(|planned| planned.id == cell);
        planned.with_context(|| format!("cells.csv: cell {cell} is not in the plan of manifest.json"))
    }
}

/// Shaped direction of the server's link, the same for all emulators.
pub(crate) const SHAPED_DIRECTION: &str = "server to clients only: SYN-ACKs, ACKs, responses; requests are not shaped";

/// Returns the notes that apply to every run of this scenario.
pub(crate) fn notes(scenario: &Scenario, control: ConditionControl) -> Vec<String> {
    let shop = &scenario.shop;
    let workload = &scenario.workload;
    let load = match workload.arrival_rate {
        None => format!(
            "closed loop: each of {} × {} virtual users waits for its response, then for a think time of about {} (0.5 \
             to 1.5 times that) before its next operation",
            scenario.clients, workload.users, workload.think_time
        ),
        Some(rate) => format!(
            "open loop: {rate} operations start ({} arrivals) regardless of response times, by {} × {} virtual users; \
             latency counts from the intended start",
            value_name(&workload.arrivals),
            scenario.clients,
            workload.users
        ),
    };
    if control == ConditionControl::Manual {
        return vec![
            "external server, conditions set manually: verified by the probe only, without readback or counters"
                .to_owned(),
            "not applied: settings under [shop] and [server] of the scenario, kernel settings of the server".to_owned(),
            load,
        ];
    }
    vec![
        format!(
            "passwords are hashed with argon2id, {} KiB and {} iteration(s), cheaper than in production: otherwise the \
             latency of register and login would show the hash instead of the link; server_ms contains the server time",
            shop.password_memory_kib, shop.password_iterations
        ),
        load,
        format!("each product starts with {} units, so stock does not run out", shop.catalogue_stock),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_another_version_is_rejected_by_that_versions_name() {
        let error = |text: &str| format!("{:#}", Manifest::parse(text).unwrap_err());
        let other = error(r#"{"testbed_version": "0.0.1 (build 0)"}"#);
        assert!(other.contains("written by testbed 0.0.1 (build 0)") && other.contains("use that version"), "{other}");
        let this = error(&serde_json::json!({ "testbed_version": protocol::VERSION }).to_string());
        assert!(this.contains("expected the manifest.json") && this.contains("missing field"), "{this}");
        assert!(error("name = ").contains("expected the manifest.json of a run"));
    }
}
