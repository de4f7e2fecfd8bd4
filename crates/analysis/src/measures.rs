//! Outcomes of all operations of a set of samples, durations of the successful ones.

use std::collections::BTreeMap;

use crate::dataset::{Dataset, SampledCell};
use crate::metric::Metric;
use crate::outcome_counts::OutcomeCounts;
use crate::percentile::Sorted;

/// Name of all operations together, instead of the name of one.
pub(crate) const ALL_OPERATIONS: &str = "all";

/// Outcomes and durations of a set of samples.
///
/// Durations are those of `ok` samples only: a refused connection is quick and a timeout has its configured length, so
/// including them would measure settings instead of the network. Errors are in `counts`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Measures {
    /// Outcomes of all operations.
    pub(crate) counts: OutcomeCounts,
    /// Durations of `ok` samples that have them, milliseconds, by [`Metric`].
    durations: [Sorted; Metric::ALL.len()],
}

impl Measures {
    /// Returns the durations of a metric, milliseconds.
    pub(crate) fn of(&self, metric: Metric) -> &Sorted {
        &self.durations[metric as usize]
    }

    /// Removes the durations that only the summary of a cell needs, to save memory.
    pub(crate) fn keep_estimated(&mut self) {
        self.durations[Metric::ESTIMATED.len()..].fill(Sorted::default());
    }

    /// Returns the latencies of `ok` samples, milliseconds.
    pub(crate) fn into_latency_ms(self) -> Sorted {
        let [latency_ms, ..] = self.durations;
        latency_ms
    }

    /// Joins sets of samples.
    pub(crate) fn merged(sets: &[&Measures]) -> Self {
        Measures {
            counts: sets.iter().fold(OutcomeCounts::default(), |sum, set| sum.plus(&set.counts)),
            durations: std::array::from_fn(|index| Sorted::merged(sets.iter().map(|set| &set.durations[index]))),
        }
    }
}

/// Returns the measures of each operation of a cell, by its name.
pub(crate) fn measures_of_cell<'a>(dataset: &'a Dataset, cell: &SampledCell) -> BTreeMap<&'a str, Measures> {
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); cell.counts.len()];
    for row in cell.rows.iter().cloned().flatten() {
        rows[usize::from(dataset.columns.operation(row))].push(row as u32);
    }
    let sorted = |rows: &[u32], metric| Sorted::from(dataset.columns.durations(metric).select(rows));
    let operations = dataset.operations.iter().zip(&cell.counts).zip(&rows);
    operations
        .filter(|((_, counts), _)| counts.total() > 0)
        .map(|((name, counts), rows)| {
            let durations = std::array::from_fn(|index| sorted(rows, Metric::ALL[index]));
            (name.as_str(), Measures { counts: *counts, durations })
        })
        .collect()
}
