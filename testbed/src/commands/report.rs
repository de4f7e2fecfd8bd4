//! `testbed report`: summary, graphs and table of a run, from its results directory alone.

use std::fs;
use std::path::{Path, PathBuf};

use analysis::{Analysis, CellInfo, Format, Graph, RunTitle};
use anyhow::Context;
use console::Term;

use crate::output;
use crate::output::{print_status, result};
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
/// A file of the run cannot be read, or an output cannot be written.
pub(super) fn report(directory: &RunDirectory, request: &ReportRequest) -> anyhow::Result<()> {
    let manifest = directory.manifest()?;
    let cells: Vec<CellInfo> =
        directory.cells()?.iter().map(|row| cell_info(row, &manifest)).collect::<Result<_, _>>()?;
    let analysis = Analysis::new(directory.dataset(cells)?, manifest.seed);
    directory.write_summary(analysis.summary())?;
    directory.write_intervals(&analysis.intervals())?;
    directory.write_breakdown(&analysis.breakdown())?;
    let graphs = analysis.graphs(&title(&manifest)).context("drawing the graphs")?;
    let target = request.graphs.join(&manifest.run_id);
    save(&graphs, &target)?;
    print_table(&analysis, request.format);
    print_status(&format!("graphs: {} ({} graphs, PNG and SVG)", target.display(), graphs.len()));
    Ok(())
}

fn cell_info(row: &CellRow, manifest: &Manifest) -> anyhow::Result<CellInfo> {
    Ok(row.info(manifest.planned(&row.cell)?.clone(), &manifest.scenario))
}

fn title(manifest: &Manifest) -> RunTitle {
    let Manifest { run_id, scenario, backend, emulator, .. } = manifest;
    let line =
        format!("{} clients, backend {backend}, emulator {emulator}, {} per cell", scenario.clients, scenario.duration);
    RunTitle { run_id: run_id.clone(), line }
}

fn print_table(analysis: &Analysis, format: Format) {
    match output::width(&Term::stdout()).filter(|_| format == Format::Table) {
        Some(width) => result(&output::wrap(&analysis.table(format, Some(width)), width)),
        None => result(&analysis.table(format, None)),
    }
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
