//! `testbed report`: summary, pictures and table, made from the run's folder alone.

use std::fs;
use std::path::{Path, PathBuf};

use analysis::graph::{Graph, RunTitle};
use analysis::{
    CellInfo, Format, breakdown_rows, condition_table, condition_table_within, draw_all, interval_rows, summarise,
};
use anyhow::Context;
use console::Term;

use crate::output;
use crate::output::{result, say};
use crate::store::cell_row::CellRow;
use crate::store::manifest::Manifest;
use crate::store::run_directory::RunDirectory;

/// What to make.
pub(super) struct ReportRequest {
    /// Where pictures go, in a folder named after the run.
    pub(super) graphs: PathBuf,
    /// How the table is printed.
    pub(super) format: Format,
}

/// Writes `summary.csv`, `intervals.csv`, `breakdown.csv` and the pictures, prints the table. Intervals are drawn from the
/// run's seed, so that a report made again says the same.
pub(super) fn report(folder: &RunDirectory, request: &ReportRequest) -> anyhow::Result<()> {
    let manifest: Manifest = folder.manifest()?;
    let samples = folder.samples()?;
    let info = |row: &CellRow| row.info(manifest.rate_kbit(&row.cell), &manifest.scenario);
    let cells: Vec<CellInfo> = folder.cells()?.iter().map(info).collect();
    folder.write_summary(&summarise(&samples))?;
    folder.write_intervals(&interval_rows(&samples, &cells, manifest.seed))?;
    folder.write_breakdown(&breakdown_rows(&samples, &cells))?;
    let title = RunTitle {
        run_id: manifest.run_id.clone(),
        line: format!(
            "{} clients, engine {}, emulator {}, {} per cell",
            manifest.scenario.clients, manifest.backend, manifest.emulator, manifest.scenario.duration
        ),
    };
    let pictures = draw_all(&samples, &cells, &title, manifest.seed).context("drawing the pictures")?;
    let target = request.graphs.join(&manifest.run_id);
    save(&pictures, &target)?;
    match output::width(&Term::stdout()).filter(|_| request.format == Format::Table) {
        Some(width) => {
            let table = condition_table_within(&samples, &cells, manifest.seed, width);
            result(&output::wrap(&table, width));
        }
        None => result(&condition_table(&samples, &cells, request.format, manifest.seed)),
    }
    say(&format!("graphs: {} ({} pictures, PNG and SVG)", target.display(), pictures.len()));
    Ok(())
}

fn save(pictures: &[Graph], folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    for picture in pictures {
        for (status, content) in [("png", picture.png.as_slice()), ("svg", picture.svg.as_bytes())] {
            let path = folder.join(format!("{}.{status}", picture.name));
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}
