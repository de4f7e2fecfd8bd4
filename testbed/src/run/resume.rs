//! Resumes an interrupted run: which results are kept, and what must match.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail};
use model::SampleRow;

use crate::store::cell_row::{CellRow, Verdict};
use crate::store::manifest::{Attempt, Manifest};
use crate::store::order_check::OrderCheck;
use crate::store::run_directory::RunDirectory;
use crate::usage::bail_usage;
use model::Cell;

/// Rows of the cells measured in previous attempts and, if there is a stopping rule, their samples.
pub(super) type PriorResults = (Vec<CellRow>, Vec<SampleRow>);

/// An interrupted run, with the rows of its completely measured cells.
pub(crate) struct PreviousRun {
    directory: RunDirectory,
    manifest: Manifest,
    rows: Vec<CellRow>,
}

impl PreviousRun {
    /// Opens a results directory.
    ///
    /// # Errors
    /// When it is not a results directory, or no cell is missing.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let directory = RunDirectory::open(path)?;
        let manifest = directory.manifest()?;
        let rows: Vec<CellRow> = directory.cells_if_any()?.into_iter().filter(is_complete).collect();
        let previous = Self { directory, manifest, rows };
        if previous.missing().is_empty() {
            bail_usage!("no cell is missing in {}: all {} cells were measured", path.display(), previous.rows.len());
        }
        Ok(previous)
    }

    /// Returns its manifest.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the cells of its plan that are not measured. The stopping rule may skip some of them.
    pub(crate) fn missing(&self) -> Vec<&Cell> {
        let is_done = |cell: &&Cell| {
            self.rows.iter().any(|row| row.cell == cell.id) || self.manifest.skipped_cells.contains(&cell.id)
        };
        self.manifest.plan.iter().filter(|cell| !is_done(cell)).collect()
    }

    /// Checks that an attempt with the manifest `current` can complete the run: its plan and its cells must be
    /// comparable.
    fn check_compatible(&self, current: &Manifest) -> anyhow::Result<()> {
        let previous = &self.manifest;
        for (what, matches, before, now) in [
            ("backend", previous.backend == current.backend, &previous.backend, &current.backend),
            (
                "placement",
                previous.placement == current.placement,
                &format!("{:?}", previous.placement),
                &format!("{:?}", current.placement),
            ),
        ] {
            if !matches {
                bail!(
                    "run {} had another {what}: {before}, now {now}; repeat the whole run with --repeat",
                    previous.run_id
                );
            }
        }
        if previous.plan != current.plan {
            bail!(
                "run {} was planned by another version ({}): resume it with that version, or repeat it with --repeat",
                previous.run_id,
                previous.testbed_version
            );
        }
        Ok(())
    }

    /// Removes the samples of incomplete cells and starts a new attempt. Returns the results directory, the manifest,
    /// which takes everything about this attempt from `current`, and the results that are kept.
    ///
    /// # Errors
    /// When the attempt does not match the run, or the directory cannot be changed.
    pub(super) fn resume(self, current: Manifest) -> anyhow::Result<(RunDirectory, Manifest, PriorResults)> {
        self.check_compatible(&current)?;
        let Self { directory, manifest: mut previous, rows } = self;
        let kept: BTreeSet<&str> = rows.iter().map(|row| row.cell.as_str()).collect();
        let removed: BTreeSet<&str> =
            previous.plan.iter().map(|cell| cell.id.as_str()).filter(|cell| !kept.contains(cell)).collect();
        directory.remove_samples(&removed).context("removing the samples of incomplete cells")?;
        directory.write_cells(&rows)?;
        if previous.testbed_version != current.testbed_version || previous.host != current.host {
            previous.note(Some(&format!(
                "resumed at {} by another version or on another host: {}, {}",
                current.started, current.testbed_version, current.host
            )));
        }
        if !rows.is_empty() && previous.order_check.is_none() {
            let started = &previous.started;
            let note = format!("order check did not run in the attempt started at {started}: it ended early");
            previous.note(Some(&note));
        }
        let mut attempts = std::mem::take(&mut previous.previous_attempts);
        attempts.push(attempt(&previous, &rows));
        let manifest = Manifest {
            scenario: previous.scenario,
            seed: previous.seed,
            plan: previous.plan,
            previous_attempts: attempts,
            notes: previous.notes,
            ..current
        };
        // Only the stopping rule needs them.
        let samples = if manifest.scenario.until.is_some() { directory.samples()? } else { Vec::new() };
        Ok((directory, manifest, (rows, samples)))
    }
}

/// Returns the attempt that ended, from its manifest.
fn attempt(manifest: &Manifest, rows: &[CellRow]) -> Attempt {
    Attempt {
        started: manifest.started.clone(),
        ended: manifest.ended.clone(),
        status: manifest.status,
        failure: manifest.failure.clone(),
        testbed_version: manifest.testbed_version.clone(),
        host: manifest.host.clone(),
        sysctls: manifest.sysctls.clone(),
        backend_info: manifest.backend_info.clone(),
        baseline_rtt_ms: manifest.baseline_rtt_ms,
        order_check: manifest.order_check,
        order_check_skipped: manifest.order_check_skipped,
        kept_cells: rows.iter().map(|row| row.cell.clone()).collect(),
    }
}

/// Returns whether the order check of a previous attempt passed or did not run. A check that did not run is a note of
/// the run.
pub(super) fn orders_are_consistent(attempt: &Attempt) -> bool {
    attempt.order_check.is_none_or(OrderCheck::has_passed)
}

/// Returns whether the cell was completely measured. Its verdict is final then.
fn is_complete(row: &CellRow) -> bool {
    matches!(row.verdict, Verdict::Verified | Verdict::Unverified)
}
