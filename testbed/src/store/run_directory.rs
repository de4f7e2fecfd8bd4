//! The results directory of a run: `manifest.json`, `samples.csv`, `cells.csv`, `logs/`, and the files generated from
//! them: `summary.csv`, `intervals.csv`, `breakdown.csv`. It contains everything needed to regenerate a report.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use analysis::{BreakdownRow, CellInfo, Dataset, IntervalRow, SummaryRow};
use anyhow::{Context, bail};
use model::sample::{Labels, Sample, SampleRow, row_columns};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::cell_row::CellRow;
use crate::store::manifest::Manifest;
use crate::store::server_metrics::MetricRow;
use crate::usage::bail_usage;

/// The valid rows of one client's CSV.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ParsedSamples {
    /// Rows before the first invalid one.
    pub(crate) samples: Vec<Sample>,
    /// Reason for which the following rows are omitted.
    pub(crate) problem: Option<String>,
}

impl ParsedSamples {
    /// Parses one client's CSV, up to the first row that is incomplete.
    pub(crate) fn read(csv: &[u8]) -> Self {
        let mut parsed = Self::default();
        for row in csv::Reader::from_reader(csv).deserialize::<Sample>() {
            let number = parsed.samples.len() + 1;
            match row {
                Ok(sample) => parsed.samples.push(sample),
                Err(error) => parsed.problem = Some(format!("row {number} is incomplete: {error}")),
            }
            if parsed.problem.is_some() {
                break;
            }
        }
        parsed
    }
}

/// The results directory of one run.
#[derive(Debug, Clone)]
pub(crate) struct RunDirectory(PathBuf);

impl RunDirectory {
    /// Creates the directory `base/run_id`.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub(crate) fn create(base: &Path, run_id: &str) -> anyhow::Result<Self> {
        let path = base.join(run_id);
        fs::create_dir_all(path.join("logs")).with_context(|| format!("creating {}", path.display()))?;
        let directory = Self(path);
        directory.write("samples.csv", header().as_bytes())?;
        Ok(directory)
    }

    /// Opens the directory of an existing run.
    ///
    /// # Errors
    /// The directory has no manifest.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if !path.join("manifest.json").is_file() {
            bail_usage!(
                "'{}' is not a results directory: manifest.json is missing (expected results/<run-id>)",
                path.display()
            );
        }
        Ok(Self(path.to_owned()))
    }

    /// Returns its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the directory of the logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// Replaces a file atomically: a reader never gets an incomplete one.
    fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let path = self.0.join(name);
        let draft = self.0.join(format!("{name}.draft"));
        let what = || format!("writing {}", path.display());
        fs::write(&draft, content).with_context(what)?;
        fs::rename(&draft, &path).with_context(what)
    }

    /// Replaces `manifest.json`.
    pub(crate) fn write_manifest(&self, manifest: &Manifest) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(manifest).context("writing the manifest as JSON")?;
        self.write("manifest.json", format!("{text}\n").as_bytes())
    }

    /// Reads `manifest.json`.
    ///
    /// # Errors
    /// It cannot be read, or another version wrote it.
    pub(crate) fn manifest(&self) -> anyhow::Result<Manifest> {
        let path = self.0.join("manifest.json");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Manifest::parse(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Appends the samples of a cell to `samples.csv`.
    pub(crate) fn append_samples(&self, labels: &Labels, samples: &[Sample]) -> anyhow::Result<()> {
        let path = self.0.join("samples.csv");
        let what = || format!("writing {}", path.display());
        let mut file = File::options().append(true).open(&path).with_context(what)?;
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        for sample in samples {
            writer.serialize((labels, sample)).with_context(what)?;
        }
        file.write_all(&writer.into_inner().with_context(what)?).with_context(what)
    }

    /// Reads `samples.csv`.
    pub(crate) fn samples(&self) -> anyhow::Result<Vec<SampleRow>> {
        let path = self.0.join("samples.csv");
        let what = || format!("reading {}", path.display());
        let mut reader = csv::Reader::from_path(&path).with_context(what)?;
        let rows = reader.records().map(|row| row?.deserialize(None));
        rows.collect::<Result<_, _>>().with_context(what)
    }

    /// Reads `samples.csv` for the analysis of `cells`.
    pub(crate) fn dataset(&self, cells: Vec<CellInfo>) -> anyhow::Result<Dataset> {
        let path = self.0.join("samples.csv");
        let what = || format!("reading {}", path.display());
        Dataset::read(File::open(&path).with_context(what)?, cells).with_context(what)
    }

    /// Removes the samples of these cells. The last row may be incomplete, left by a killed driver.
    ///
    /// # Errors
    /// The file has other columns than this version writes, or another row is incomplete. It is then unchanged.
    pub(crate) fn remove_samples(&self, cells: &BTreeSet<&str>) -> anyhow::Result<()> {
        let path = self.0.join("samples.csv");
        let what = || format!("reading {}", path.display());
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(&path).with_context(what)?;
        if !reader.headers().with_context(what)?.iter().eq(row_columns()) {
            bail!(
                "{} was written by another version (its columns differ): resume it with that version",
                path.display()
            );
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(row_columns()).with_context(what)?;
        let cell_column = row_columns().position(|column| column == "cell").context("samples have a column cell")?;
        let mut rows = reader.records().peekable();
        while let Some(row) = rows.next() {
            let row = row.with_context(what)?;
            let is_kept = row.get(cell_column).is_some_and(|cell| !cells.contains(cell));
            // An incomplete last row is of no complete cell.
            if is_kept && (row.len() == row_columns().count() || rows.peek().is_some()) {
                writer.write_record(&row).with_context(what)?;
            }
        }
        self.write("samples.csv", &writer.into_inner().with_context(what)?)
    }

    /// Replaces `cells.csv`.
    pub(crate) fn write_cells(&self, cells: &[CellRow]) -> anyhow::Result<()> {
        self.write_csv("cells.csv", cells)
    }

    /// Reads `cells.csv`.
    pub(crate) fn cells(&self) -> anyhow::Result<Vec<CellRow>> {
        self.read_csv("cells.csv")
    }

    /// Reads `cells.csv`. Returns no rows if it does not exist: no cell had ended before the run did.
    pub(crate) fn cells_if_any(&self) -> anyhow::Result<Vec<CellRow>> {
        if self.0.join("cells.csv").exists() { self.cells() } else { Ok(Vec::new()) }
    }

    /// Replaces `metrics/<cell>.csv`.
    pub(crate) fn write_metrics(&self, cell: &str, rows: &[MetricRow]) -> anyhow::Result<()> {
        let directory = self.0.join("metrics");
        fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        self.write_csv(&format!("metrics/{cell}.csv"), rows)
    }

    /// Replaces `summary.csv`.
    pub(crate) fn write_summary(&self, rows: &[SummaryRow]) -> anyhow::Result<()> {
        self.write_csv("summary.csv", rows)
    }

    /// Replaces `intervals.csv`.
    pub(crate) fn write_intervals(&self, rows: &[IntervalRow]) -> anyhow::Result<()> {
        self.write_csv("intervals.csv", rows)
    }

    /// Replaces `breakdown.csv`.
    pub(crate) fn write_breakdown(&self, rows: &[BreakdownRow]) -> anyhow::Result<()> {
        self.write_csv("breakdown.csv", rows)
    }

    fn write_csv(&self, name: &str, rows: &[impl Serialize]) -> anyhow::Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in rows {
            writer.serialize(row).with_context(|| format!("writing {name}"))?;
        }
        let content = writer.into_inner().with_context(|| format!("writing {name}"))?;
        self.write(name, &content)
    }

    fn read_csv<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Vec<T>> {
        let path = self.0.join(name);
        let what = || format!("reading {}", path.display());
        let mut reader = csv::Reader::from_path(&path).with_context(what)?;
        reader.deserialize().collect::<Result<_, _>>().with_context(what)
    }
}

/// Returns the header of `samples.csv`.
fn header() -> String {
    format!("{}\n", row_columns().collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use model::SweptParameter;
    use model::sample::COLUMNS;

    use super::*;
    use crate::scenario::tests::default_with;

    const SAMPLE: &str = "client-1,0,0,login,measured,5,0.0,0.1,,,,0.2,0.3,0.3,,,,,,,,,,,,60,90,ok";

    fn directory(base: &tempfile::TempDir) -> RunDirectory {
        RunDirectory::create(base.path(), "r1").unwrap()
    }

    /// A client's CSV with these rows.
    fn csv(rows: &[&str]) -> Vec<u8> {
        format!("{}\n{}\n", COLUMNS.join(","), rows.join("\n")).into_bytes()
    }

    fn labels(cell: &str) -> Labels {
        let (run_id, cell, value) = ("r".to_owned(), cell.to_owned(), "1%".to_owned());
        Labels { run_id, cell, condition: SweptParameter::Loss, value, repetition: 2 }
    }

    #[test]
    fn samples_of_several_clients_are_appended_with_their_cell_and_read_unchanged() {
        let base = tempfile::tempdir().unwrap();
        let directory = directory(&base);
        for cell in ["c", "d"] {
            let parsed = ParsedSamples::read(&csv(&[SAMPLE, SAMPLE]));
            assert_eq!((parsed.samples.len(), &parsed.problem), (2, &None));
            directory.append_samples(&labels(cell), &parsed.samples).unwrap();
        }
        let text = fs::read_to_string(directory.path().join("samples.csv")).unwrap();
        assert_eq!(text.lines().nth(1), Some(format!("r,c,loss,1%,2,{SAMPLE}").as_str()));
        let rows = directory.samples().unwrap();
        assert_eq!((rows.len(), &rows[3].labels), (4, &labels("d")));
        assert_eq!((rows[3].sample.server_ms, rows[3].sample.latency_ms), (None, 0.3));
    }

    #[test]
    fn an_incomplete_row_is_reported_and_the_rows_before_it_are_kept() {
        let parsed = ParsedSamples::read(&csv(&[SAMPLE, "client-1,0"]));
        assert_eq!(parsed.samples.len(), 1);
        assert!(parsed.problem.unwrap().starts_with("row 2 is incomplete"));
    }

    #[test]
    fn samples_of_incomplete_cells_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let directory = directory(&base);
        for cell in ["c", "d"] {
            directory.append_samples(&labels(cell), &ParsedSamples::read(&csv(&[SAMPLE])).samples).unwrap();
        }
        // A killed driver may leave an incomplete row.
        let path = directory.path().join("samples.csv");
        let complete = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{complete}r,c,loss")).unwrap();
        directory.remove_samples(&["d"].into()).unwrap();
        let kept = directory.samples().unwrap();
        assert_eq!((kept.len(), kept[0].labels.cell.as_str()), (1, "c"));

        fs::write(&path, format!("{complete}r,c,loss\n{complete}")).unwrap();
        assert!(directory.remove_samples(&["d"].into()).is_err(), "an incomplete row is accepted only at the end");
        fs::write(&path, complete.replace("connect_ms", "connecting_ms")).unwrap();
        let error = directory.remove_samples(&["d"].into()).unwrap_err().to_string();
        assert!(error.contains("another version"), "{error}");
        assert!(fs::read_to_string(&path).unwrap().contains("connecting_ms"), "it is not changed");
    }

    #[test]
    fn cells_are_read_as_written() {
        let base = tempfile::tempdir().unwrap();
        let directory = directory(&base);
        let plan = crate::scenario::plan::cells(&default_with(&[]), u64::MAX);
        let mut rows: Vec<CellRow> = plan.iter().map(|cell| CellRow::new(cell, 0.06)).collect();
        rows[1].problems = "loss: requested 1%, \"none\" measured,\nsecond line".to_owned();
        rows[2].link_dropped = Some(7);
        directory.write_cells(&rows).unwrap();
        assert_eq!(directory.cells().unwrap(), rows);
    }

    #[test]
    fn a_directory_without_a_manifest_is_rejected() {
        let base = tempfile::tempdir().unwrap();
        let error = RunDirectory::open(base.path()).unwrap_err().to_string();
        assert!(error.contains("manifest.json"), "{error}");
    }
}
