//! Going on with a run that did not get to its end: what is kept of it, and what has to fit.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail};
use shop_client::sample::Sample;

use super::audit::Audit;
use crate::cell_row::{CellRow, Verdict};
use crate::manifest::{Manifest, Part};
use crate::plan::Cell;
use crate::results::RunFolder;
use crate::usage::bail_usage;

/// Cells that were measured before: their rows and, where precision is asked for, their samples.
pub(super) type Measured = (Vec<CellRow>, Vec<Sample>);

/// An earlier run, with what was measured whole.
pub(crate) struct Earlier {
    folder: RunFolder,
    manifest: Manifest,
    rows: Vec<CellRow>,
}

impl Earlier {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// When it is none, or nothing is missing in it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let folder = RunFolder::open(path)?;
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
            self.rows.iter().any(|row| row.cell == cell.id) || self.manifest.passed_over.contains(&cell.id)
        };
        self.manifest.plan.iter().filter(|cell| !is_there(cell)).collect()
    }

    /// Whether a run with this manifest can be the rest of it: else its cells would not be comparable, or not be found.
    fn check_fits(&self, now: &Manifest) -> anyhow::Result<()> {
        let earlier = &self.manifest;
        for (what, fits, before, here) in [
            ("engine", earlier.engine == now.engine, &earlier.engine, &now.engine),
            ("place", earlier.place == now.place, &format!("{:?}", earlier.place), &format!("{:?}", now.place)),
        ] {
            if !fits {
                bail!(
                    "run {} had another {what}: {before}, now {here}; `--from` repeats it as a whole",
                    earlier.run_id
                );
            }
        }
        if earlier.plan != now.plan {
            bail!(
                "run {} was planned by a build that plans otherwise ({}): go on with that one, or repeat it with `--from`",
                earlier.run_id,
                earlier.testbed_version
            );
        }
        Ok(())
    }

    /// Its folder, without the samples of cells that are to be measured again; its manifest, with what `now` says of this
    /// part of it; and what stays.
    ///
    /// # Errors
    /// When what is to come would not fit it, or its folder can't be changed.
    pub(super) fn go_on(self, now: Manifest) -> anyhow::Result<(RunFolder, Manifest, Measured)> {
        self.check_fits(&now)?;
        let Self { folder, manifest: mut earlier, rows } = self;
        let kept: BTreeSet<&str> = rows.iter().map(|row| row.cell.as_str()).collect();
        let left_out: BTreeSet<&str> =
            earlier.plan.iter().map(|cell| cell.id.as_str()).filter(|cell| !kept.contains(cell)).collect();
        folder.leave_out_samples(&left_out).context("taking out the samples of cells that are measured again")?;
        folder.write_cells(&rows)?;
        if earlier.testbed_version != now.testbed_version || earlier.host != now.host {
            earlier.remark(Some(&format!(
                "from {} on it was gone on with by another build or on another host: {}, {}",
                now.started, now.testbed_version, now.host
            )));
        }
        if !rows.is_empty() && earlier.audit.is_none() {
            let started = &earlier.started;
            let why = format!("the books of the part that began at {started} were not checked: it ended too soon");
            earlier.remark(Some(&why));
        }
        let mut parts = std::mem::take(&mut earlier.earlier_parts);
        parts.push(part(&earlier, &rows));
        let manifest = Manifest {
            scenario: earlier.scenario,
            seed: earlier.seed,
            plan: earlier.plan,
            earlier_parts: parts,
            remarks: earlier.remarks,
            ..now
        };
        // Only how exactly each condition is known is judged by them.
        let samples = if manifest.scenario.until.is_some() { folder.samples()? } else { Vec::new() };
        Ok((folder, manifest, (rows, samples)))
    }
}

/// What is kept of the manifest of the part that ended.
fn part(manifest: &Manifest, rows: &[CellRow]) -> Part {
    Part {
        started: manifest.started.clone(),
        ended: manifest.ended.clone(),
        ending: manifest.ending,
        failure: manifest.failure.clone(),
        testbed_version: manifest.testbed_version.clone(),
        host: manifest.host.clone(),
        sysctls: manifest.sysctls.clone(),
        engine_facts: manifest.engine_facts.clone(),
        floor_rtt_ms: manifest.floor_rtt_ms,
        audit: manifest.audit,
        books_unchecked: manifest.books_unchecked,
        kept_cells: rows.iter().map(|row| row.cell.clone()).collect(),
    }
}

/// Whether nothing speaks against the books of a part; that they were not checked is a remark of the run.
pub(super) fn books_are_fine(part: &Part) -> bool {
    part.audit.is_none_or(Audit::is_good)
}

/// Whether the cell was measured to its end; what was found of it then stands.
fn is_whole(row: &CellRow) -> bool {
    matches!(row.verdict, Verdict::Proved | Verdict::NotProved)
}
