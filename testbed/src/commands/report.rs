//! `testbed report`: summary, graphs and table of a run, from its results directory alone.

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

/// Output of a report.
pub(super) struct ReportRequest {
    /// Directory for graphs; a directory named after the run is created in it.
    pub(super) graphs: PathBuf,
    /// Format of the table.
    pub(super) format: Format,
}

/// Writes `summary.csv`, `intervals.csv`, `breakdown.csv` and the graphs, and prints the table. The bootstrap of the
/// confidence intervals uses the run's seed, so a regenerated report is identical.
///
/// # Errors
/// When a file of the run cannot be read, or an output cannot be written.
pub(super) fn report(directory: &RunDirectory, request: &ReportRequest) -> anyhow::Result<()> {
    let manifest: Manifest = directory.manifest()?;
    let samples = directory.samples()?;
    let info = |row: &CellRow| row.info(manifest.rate_kbit(&row.cell), &manifest.scenario);
    let cells: Vec<CellInfo> = directory.cells()?.iter().map(info).collect();
    directory.write_summary(&summarise(&samples))?;
    directory.write_intervals(&interval_rows(&samples, &cells, manifest.seed))?;
    directory.write_breakdown(&breakdown_rows(&samples, &cells))?;
    let title = RunTitle {
        run_id: manifest.run_id.clone(),
        line: format!(
            "{} clients, backend {}, emulator {}, {} per cell",
            manifest.scenario.clients, manifest.backend, manifest.emulator, manifest.scenario.duration
        ),
    };
    let graphs = draw_all(&samples, &cells, &title, manifest.seed).context("drawing the graphs")?;
    let target = request.graphs.join(&manifest.run_id);
    save(&graphs, &target)?;
    match output::width(&Term::stdout()).filter(|_| request.format == Format::Table) {
        Some(width) => {
            let table = condition_table_within(&samples, &cells, manifest.seed, width);
            result(&output::wrap(&table, width));
        }
        None => result(&condition_table(&samples, &cells, request.format, manifest.seed)),
    }
    say(&format!("graphs: {} ({} graphs, PNG and SVG)", target.display(), graphs.len()));
    Ok(())
}

fn save(graphs: &[Graph], directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    for graph in graphs {
        for (extension, content) in [("png", graph.png.as_slice()), ("svg", graph.svg.as_bytes())] {
            let path = directory.join(format!("{}.{extension}", graph.name));
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}
