//! `testbed report`: summary, pictures and table, made from the run's folder alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use console::Term;
use testbed_analysis::graph::{Picture, RunTitle};
use testbed_analysis::{
    CellInfo, Format, breakdown_rows, condition_table, condition_table_within, draw_all, interval_rows, summarise,
};

use crate::cell_row::CellRow;
use crate::manifest::Manifest;
use crate::output::{self, result, say};
use crate::results::RunFolder;

/// What to make.
pub(crate) struct ReportRequest {
    /// Where pictures go, in a folder named after the run.
    pub(crate) graphs: PathBuf,
    /// How the table is printed.
    pub(crate) format: Format,
}

/// Writes `summary.csv`, `intervals.csv`, `breakdown.csv` and the pictures, prints the table. Intervals are drawn from the
/// run's seed, so that a report made again says the same.
pub(crate) fn report(folder: &RunFolder, request: &ReportRequest) -> anyhow::Result<()> {
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
            manifest.scenario.clients, manifest.engine, manifest.emulator, manifest.scenario.duration
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

fn save(pictures: &[Picture], folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    for picture in pictures {
        for (ending, content) in [("png", picture.png.as_slice()), ("svg", picture.svg.as_bytes())] {
            let path = folder.join(format!("{}.{ending}", picture.name));
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}
