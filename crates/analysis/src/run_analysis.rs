//! Results of a run, computed once for all tables and graphs.

use std::collections::BTreeMap;

use crate::breakdown_rows::{BreakdownRow, breakdown_rows};
use crate::dataset::{Dataset, SampledCell};
use crate::format::Format;
use crate::graph::{Graph, GraphError, RunTitle, draw_all};
use crate::interval_rows::{IntervalRow, interval_rows};
use crate::measures::{Measures, measures_of_cell};
use crate::run_statistics::RunStatistics;
use crate::summary::{SummaryRow, rows_of_cell};
use crate::table::{ConditionRow, ConditionTable};

/// Statistics of a run.
#[derive(Debug, Clone)]
pub struct Analysis {
    summary: Vec<SummaryRow>,
    run: RunStatistics,
}

impl Analysis {
    /// Analyses a run. The same `seed` gives the same confidence intervals. Warm-up samples are ignored.
    #[must_use]
    pub fn new(dataset: Dataset, seed: u64) -> Self {
        let mut summary = Vec::new();
        let analyse_cell = |cell: &SampledCell| -> BTreeMap<&str, Measures> {
            let mut measures = measures_of_cell(&dataset, cell);
            summary.extend(rows_of_cell(cell, &measures));
            measures.values_mut().for_each(Measures::keep_estimated);
            measures
        };
        let measures: Vec<_> = dataset.sampled.iter().map(analyse_cell).collect();
        let run = RunStatistics::new(&dataset, &measures, seed);
        Analysis { summary, run }
    }

    #[cfg(test)]
    pub(crate) fn run(&self) -> &RunStatistics {
        &self.run
    }

    /// Returns the rows of `summary.csv`: for each cell one for all operations, then one per operation by name. Cells come
    /// in the order of their first sample; a cell without measured samples has no row.
    #[must_use]
    pub fn summary(&self) -> &[SummaryRow] {
        &self.summary
    }

    /// Returns the rows of `intervals.csv`: of the pooled baseline, then of each condition's values from mild to severe.
    #[must_use]
    pub fn intervals(&self) -> Vec<IntervalRow> {
        interval_rows(&self.run)
    }

    /// Returns the rows of `breakdown.csv`, in the same order. Subsets without operations have no row.
    #[must_use]
    pub fn breakdown(&self) -> Vec<BreakdownRow> {
        breakdown_rows(&self.run)
    }

    /// Returns the rows of the table, in the same order.
    #[must_use]
    pub fn conditions(&self) -> Vec<ConditionRow> {
        ConditionTable::new(&self.run).into_rows()
    }

    /// Returns the table of conditions, with a final newline. The human-readable formats round numbers and contain notes;
    /// CSV and JSON have full precision and no notes.
    ///
    /// With `width`, the number of columns of the terminal, [`Format::Table`] omits columns that do not fit, those of the
    /// RTT first and those of the latency last; a note lists them. Notes may be wider.
    #[must_use]
    pub fn table(&self, format: Format, width: Option<usize>) -> String {
        ConditionTable::new(&self.run).to_text(format, width)
    }

    /// Draws all graphs: for each condition with samples five graphs of the measurements and two latency breakdowns, and
    /// for the run one overview of each kind.
    ///
    /// Graphs with a single plot are 960×600 pixels, the overview is 1500×900, latency breakdowns are 1200 pixels wide and
    /// as high as their panels.
    ///
    /// # Errors
    /// [`GraphError::NoSamples`] if no listed cell has a sample; the other variants if drawing or encoding fails.
    pub fn graphs(&self, title: &RunTitle) -> Result<Vec<Graph>, GraphError> {
        draw_all(&self.run, title)
    }
}
