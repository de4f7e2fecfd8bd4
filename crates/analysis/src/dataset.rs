//! The samples of a run, reduced to what statistics need and stored in columns.
//!
//! Names are stored once. Warm-up samples are only counted, failed operations only counted per outcome: a successful
//! operation takes 54 bytes.

mod columns;
mod csv_rows;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::ops::Range;

use model::sample::{Outcome, Phase, Sample};

use crate::cell::CellInfo;
use crate::outcome_counts::OutcomeCounts;
use crate::timings::Timings;
pub(crate) use columns::Columns;
pub use csv_rows::DatasetError;

/// The samples of a run and its cells.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// Cells of the run, in their order.
    pub(crate) cells: Vec<CellInfo>,
    /// Cells with measured samples, listed or not, in the order of their first one.
    pub(crate) sampled: Vec<SampledCell>,
    /// Names of operations, in the order of their first sample.
    pub(crate) operations: Vec<String>,
    /// Successful operations of the measurement windows.
    pub(crate) columns: Columns,
    /// Number of all samples, warm-up and failed ones included.
    pub(crate) len: usize,
    position_of_cell: HashMap<String, usize>,
    position_of_operation: HashMap<String, u16>,
}

/// Measured samples of one cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct SampledCell {
    /// Names in its first sample.
    pub(crate) run_id: String,
    pub(crate) cell: String,
    pub(crate) condition: String,
    pub(crate) value: String,
    pub(crate) repetition: Option<u32>,
    /// Outcomes per operation, by its position in [`Dataset::operations`].
    pub(crate) counts: Vec<OutcomeCounts>,
    /// Shortest round trip of all connections, milliseconds.
    pub(crate) min_rtt_ms: Option<f64>,
    /// Successful operations, in their order: rows of [`Dataset::columns`].
    pub(crate) rows: Vec<Range<usize>>,
}

impl SampledCell {
    fn add_row(&mut self, row: usize) {
        match self.rows.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => self.rows.push(row..row + 1),
        }
    }
}

/// One sample, before its names are replaced by positions.
struct Row<'a> {
    run_id: &'a str,
    cell: &'a str,
    condition: &'a str,
    value: &'a str,
    repetition: Option<u32>,
    operation: &'a str,
    phase: Phase,
    outcome: Outcome,
    timings: Timings,
}

impl Dataset {
    /// Creates a dataset of `cells` without samples.
    #[must_use]
    pub fn new(cells: Vec<CellInfo>) -> Self {
        Dataset { cells, ..Dataset::default() }
    }

    /// Reads a `samples.csv` as a stream.
    ///
    /// # Errors
    /// A column is missing, or a row is incomplete or has an invalid field.
    pub fn read(csv: impl Read, cells: Vec<CellInfo>) -> Result<Self, DatasetError> {
        let mut dataset = Dataset::new(cells);
        csv_rows::read(csv, |row| dataset.add(row))?;
        Ok(dataset)
    }

    /// Adds one sample.
    pub fn push(&mut self, sample: &Sample) {
        self.add(&Row {
            run_id: &sample.run_id,
            cell: &sample.cell,
            condition: &sample.condition,
            value: &sample.value,
            repetition: sample.repetition,
            operation: &sample.operation,
            phase: sample.phase,
            outcome: sample.outcome,
            timings: Timings::from(sample),
        });
    }

    fn add(&mut self, row: &Row) {
        self.len += 1;
        if row.phase == Phase::WarmUp {
            return;
        }
        let operation = self.intern_operation(row.operation);
        let cell = self.intern_cell(row);
        let cell = &mut self.sampled[cell];
        if cell.counts.len() <= usize::from(operation) {
            cell.counts.resize(usize::from(operation) + 1, OutcomeCounts::default());
        }
        cell.counts[usize::from(operation)].count(row.outcome);
        let rtt_ms = row.timings.tcp_min_rtt_ms.filter(|rtt_ms| *rtt_ms > 0.0);
        cell.min_rtt_ms = cell.min_rtt_ms.into_iter().chain(rtt_ms).min_by(f64::total_cmp);
        if row.outcome == Outcome::Ok {
            cell.add_row(self.columns.len());
            self.columns.push(operation, &row.timings);
        }
    }

    fn intern_operation(&mut self, name: &str) -> u16 {
        if let Some(position) = self.position_of_operation.get(name) {
            return *position;
        }
        let position = u16::try_from(self.operations.len()).expect("fewer operations than 65,536");
        self.operations.push(name.to_owned());
        self.position_of_operation.insert(name.to_owned(), position);
        position
    }

    fn intern_cell(&mut self, row: &Row) -> usize {
        if let Some(position) = self.position_of_cell.get(row.cell) {
            return *position;
        }
        self.sampled.push(SampledCell {
            run_id: row.run_id.to_owned(),
            cell: row.cell.to_owned(),
            condition: row.condition.to_owned(),
            value: row.value.to_owned(),
            repetition: row.repetition,
            ..SampledCell::default()
        });
        self.position_of_cell.insert(row.cell.to_owned(), self.sampled.len() - 1);
        self.sampled.len() - 1
    }

    /// Returns the number of measured samples of cells that are not listed.
    pub(crate) fn unlisted_samples(&self) -> u64 {
        let listed: HashSet<&str> = self.cells.iter().map(|info| info.cell.id.as_str()).collect();
        let unlisted = self.sampled.iter().filter(|cell| !listed.contains(cell.cell.as_str()));
        unlisted.flat_map(|cell| &cell.counts).map(OutcomeCounts::total).sum()
    }

    /// Returns the position of a cell in [`Dataset::sampled`], if it has measured samples.
    pub(crate) fn sampled(&self, cell: &str) -> Option<usize> {
        self.position_of_cell.get(cell).copied()
    }
}
