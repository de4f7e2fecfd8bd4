//! The samples of a run, reduced to the values that statistics need, in columns.
//!
//! Names are stored once. Warm-up samples are only counted, failed operations only counted per outcome: a successful
//! operation takes 54 bytes.

mod columns;
mod csv_rows;
mod row;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::ops::Range;

use model::{Outcome, Phase};

use crate::cell::CellInfo;
use crate::outcome_counts::OutcomeCounts;
pub(crate) use columns::Columns;
pub use csv_rows::DatasetError;
use row::Row;

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

impl Dataset {
    /// Reads a `samples.csv` as a stream.
    ///
    /// # Errors
    /// A column is missing, or a row is incomplete or has an invalid field.
    pub fn read(csv: impl Read, cells: Vec<CellInfo>) -> Result<Self, DatasetError> {
        let mut dataset = Dataset { cells, ..Dataset::default() };
        csv_rows::read(csv, |row| dataset.add(row))?;
        Ok(dataset)
    }

    fn add(&mut self, row: &Row) -> Result<(), DatasetError> {
        self.len += 1;
        if row.phase == Phase::WarmUp {
            return Ok(());
        }
        let operation = self.intern_operation(row.operation)?;
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
        Ok(())
    }

    fn intern_operation(&mut self, name: &str) -> Result<u16, DatasetError> {
        if let Some(position) = self.position_of_operation.get(name) {
            return Ok(*position);
        }
        let position = u16::try_from(self.operations.len()).map_err(|_| DatasetError::TooManyOperations)?;
        self.operations.push(name.to_owned());
        self.position_of_operation.insert(name.to_owned(), position);
        Ok(position)
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

#[cfg(test)]
mod tests {
    use model::sample::{COLUMNS, LABELS, row_columns};

    use super::*;
    use crate::synthetic;

    const ROW: &str = "r,c,loss,1%,1,client-1,0,0,login,measured,5,0,0.1,,,,0.2,0.3,0.3,,,,,,,,,,,,60,90,ok";

    fn header() -> String {
        row_columns().collect::<Vec<_>>().join(",")
    }

    fn read(rows: &str) -> Result<Dataset, DatasetError> {
        Dataset::read(format!("{}\n{rows}\n", header()).as_bytes(), Vec::new())
    }

    #[track_caller]
    fn check_error(rows: &str, expected: &str) {
        let error = read(rows).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn a_missing_value_stays_missing() {
        let dataset = read(ROW).unwrap();
        let timings = dataset.columns.timings(0);
        assert_eq!((timings.latency_ms, timings.connect_ms, timings.server_ms), (0.3, Some(0.1), None));
        assert_eq!((timings.tcp_retransmits, timings.response_bytes), (None, Some(90)));
    }

    #[test]
    fn an_invalid_row_is_an_error_with_its_line() {
        check_error(&format!("{ROW}\n{}", ROW.replace("measured", "later")), "line 3: invalid phase 'later'");
        check_error(&ROW.replace(",ok", ",fine"), "line 2: invalid outcome 'fine'");
        check_error(&ROW.replace(",0.2,", ",NaN,"), "invalid rtt_ms 'NaN'");
        check_error("r,c,loss,1%", "found record with 4 fields");
        let header = header().replace("rtt_ms", "ping_ms");
        let error = Dataset::read(header.as_bytes(), Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with("column 'rtt_ms' is missing"), "{error}");
    }

    #[test]
    fn only_successful_operations_of_the_measurement_window_have_rows() {
        let rows = [ROW.to_owned(), ROW.replace("measured", "warm_up"), ROW.replace(",ok", ",reset")];
        let dataset = read(&rows.join("\n")).unwrap();
        assert_eq!((dataset.len, dataset.columns.len(), dataset.sampled[0].counts[0].total()), (3, 1, 2));
    }

    #[test]
    fn the_shortest_round_trip_of_a_cell_is_that_of_any_operation() {
        let with = |min_rtt_ms: &str, outcome: &str| {
            let mut fields: Vec<&str> = ROW.split(',').collect();
            let position = row_columns().position(|column| column == "tcp_min_rtt_ms").unwrap();
            (fields[position], fields[LABELS.len() + COLUMNS.len() - 1]) = (min_rtt_ms, outcome);
            fields.join(",")
        };
        let rows = [with("50.2", "ok"), with("0", "ok"), with("45.1", "timeout"), with("", "ok")];
        assert_eq!(read(&rows.join("\n")).unwrap().sampled[0].min_rtt_ms, Some(45.1));
    }

    #[test]
    fn samples_of_a_cell_need_not_follow_each_other() {
        let mut run = synthetic::sweep(1, 30);
        let expected = run.analyse(1);
        run.samples.sort_by_key(|row| row.sample.sequence);
        let (interleaved, dataset) = (run.analyse(1), run.dataset());
        assert!(dataset.sampled.iter().all(|cell| cell.rows.len() > 20));
        assert_eq!(interleaved.summary(), expected.summary());
        assert_eq!(interleaved.intervals(), expected.intervals());
    }
}
