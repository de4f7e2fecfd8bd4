//! Going on with a run that did not get to its end: what is kept of it, and what has to fit.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail};
use model::sample::Sample;

use crate::store::cell_row::{CellRow, Verdict};
use crate::store::manifest::{Attempt, Manifest};
use crate::store::order_check::OrderCheck;
use crate::store::run_directory::RunDirectory;
use crate::usage::bail_usage;
use model::Cell;

/// Cells that were measured before: their rows and, where precision is asked for, their samples.
pub(super) type Measured = (Vec<CellRow>, Vec<Sample>);

/// An earlier run, with what was measured whole.
pub(crate) struct PreviousRun {
    folder: RunDirectory,
    manifest: Manifest,
    rows: Vec<CellRow>,
}

impl PreviousRun {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// When it is none, or nothing is missing in it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let folder = RunDirectory::open(path)?;
        let manifest: Manifest = folder.manifest()?;
        let rows: Vec<CellRow> = folder.cells_if_any()?.into_iter().filter(is_whole).collect();
        let earlier = Self { folder, manifest, rows };
        if earlier.missing().is_empty() {
            bail_usage!("nothing is missing in {}: all {} cells were measured", path.display(), earlier.rows.len());
        }
        Ok(earlier)
    }

    /// What it says of itself.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The cells of its plan that are to be measured, as far as can be said before.
    pub(crate) fn missing(&self) -> Vec<&Cell> {
        let is_there = |cell: &&Cell| {
            self.rows.iter().any(|row| row.cell == cell.id) || self.manifest.skipped_cells.contains(&cell.id)
        };
        self.manifest.plan.iter().filter(|cell| !is_there(cell)).collect()
    }

    /// Whether a run with this manifest can be the rest of it: else its cells would not be comparable, or not be found.
    fn check_fits(&self, now: &Manifest) -> anyhow::Result<()> {
        let earlier = &self.manifest;
        for (what, fits, before, here) in [
            ("backend", earlier.backend == now.backend, &earlier.backend, &now.backend),
            (
                "placement",
                earlier.placement == now.placement,
                &format!("{:?}", earlier.placement),
                &format!("{:?}", now.placement),
            ),
        ] {
            if !fits {
                bail!(
                    "run {} had another {what}: {before}, now {here}; `--repeat` repeats it as a whole",
                    earlier.run_id
                );
            }
        }
        if earlier.plan != now.plan {
            bail!(
                "run {} was planned by a build that plans otherwise ({}): go on with that one, or repeat it with `--repeat`",
                earlier.run_id,
                earlier.testbed_version
            );
        }
        Ok(())
    }

    /// Its folder, without the samples of cells that are to be measured again; its manifest, with what `now` says of
    /// this part of it; and what stays.
    ///
    /// # Errors
    /// When what is to come would not fit it, or its folder can't be changed.
    pub(super) fn resume(self, now: Manifest) -> anyhow::Result<(RunDirectory, Manifest, Measured)> {
        self.check_fits(&now)?;
        let Self { folder, manifest: mut earlier, rows } = self;
        let kept: BTreeSet<&str> = rows.iter().map(|row| row.cell.as_str()).collect();
        let left_out: BTreeSet<&str> =
            earlier.plan.iter().map(|cell| cell.id.as_str()).filter(|cell| !kept.contains(cell)).collect();
        folder.leave_out_samples(&left_out).context("taking out the samples of cells that are measured again")?;
        folder.write_cells(&rows)?;
        if earlier.testbed_version != now.testbed_version || earlier.host != now.host {
            earlier.note(Some(&format!(
                "from {} on it was gone on with by another build or on another host: {}, {}",
                now.started, now.testbed_version, now.host
            )));
        }
        if !rows.is_empty() && earlier.order_check.is_none() {
            let started = &earlier.started;
            let why = format!("the books of the part that began at {started} were not checked: it ended too soon");
            earlier.note(Some(&why));
        }
        let mut parts = std::mem::take(&mut earlier.previous_attempts);
        parts.push(part(&earlier, &rows));
        let manifest = Manifest {
            scenario: earlier.scenario,
            seed: earlier.seed,
            plan: earlier.plan,
            previous_attempts: parts,
            notes: earlier.notes,
            ..now
        };
        // Only how exactly each condition is known is judged by them.
        let samples = if manifest.scenario.until.is_some() { folder.samples()? } else { Vec::new() };
        Ok((folder, manifest, (rows, samples)))
    }
}

/// What is kept of the manifest of the part that ended.
fn part(manifest: &Manifest, rows: &[CellRow]) -> Attempt {
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

/// Whether nothing speaks against the books of a part; that they were not checked is a remark of the run.
pub(super) fn orders_are_consistent(part: &Attempt) -> bool {
    part.order_check.is_none_or(OrderCheck::has_passed)
}

/// Whether the cell was measured to its end; what was found of it then stands.
fn is_whole(row: &CellRow) -> bool {
    matches!(row.verdict, Verdict::Verified | Verdict::Unverified)
}
