//! `testbed run --dry-run`: the plan, as text or JSON.

use analysis::Format;
use serde::Serialize;

use crate::cli::ResolvedRun;
use crate::output::result;
use crate::run::PreviousRun;
use crate::scenario::Scenario;
use crate::scenario::plan;
use crate::usage::bail_usage;
use model::Cell;

/// Plan of a run with the same flags and this seed.
#[derive(Serialize)]
struct DryRun<'a> {
    scenario: &'a Scenario,
    seed: u64,
    /// The cells in their order; of a resumed run, the missing ones.
    cells: Vec<&'a Cell>,
    /// Time that clients work in each cell, seconds: warm-up and measurement window.
    cell_s: f64,
    /// Time that clients work in all cells if these run sequentially, seconds; `until` may end the run earlier.
    longest_s: f64,
}

/// Checks that a plan can be printed in this format.
pub(super) fn check_format(format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table | Format::Json => Ok(()),
        other => bail_usage!("--format {other}: with --dry-run expected table or json"),
    }
}

/// Prints the plan.
///
/// # Errors
/// The plan cannot be written as JSON.
pub(super) fn print(resolved: &ResolvedRun, previous: Option<&PreviousRun>, format: Format) -> anyhow::Result<()> {
    let (scenario, seed) = (&resolved.scenario, resolved.seed);
    let all = plan::cells(scenario, seed);
    let is_missing = |cell: &&Cell| previous.is_none_or(|previous| previous.missing().iter().any(|c| c.id == cell.id));
    let cells: Vec<&Cell> = plan::order(&all, seed).into_iter().map(|index| &all[index]).filter(is_missing).collect();
    let cell_s = scenario.whole_duration().as_secs_f64();
    let longest_s = cell_s * cells.len() as f64;
    if format == Format::Json {
        result(&serde_json::to_string_pretty(&DryRun { scenario, seed, cells, cell_s, longest_s })?);
        return Ok(());
    }
    let lines = cells.iter().map(|cell| format!("{:<18} {}", cell.id, cell.condition));
    result(&lines.collect::<Vec<_>>().join("\n"));
    let at_most = if scenario.until.is_some() { "at most " } else { "" };
    result(&format!(
        "{at_most}{} cells of {}, {at_most}{longest_s:.0} s if run sequentially, seed {seed}",
        cells.len(),
        scenario.duration
    ));
    Ok(())
}
