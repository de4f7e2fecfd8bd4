//! Statistics of pooled cells: the repetitions of one value of a swept parameter, or the baseline.

use std::collections::BTreeMap;

use crate::breakdown::{Components, LinkParameters};
use crate::cell::CellInfo;
use crate::cell_issue::CellIssue;
use crate::dataset::{Dataset, SampledCell};
use crate::measures::{ALL_OPERATIONS, Measures};
use crate::operation_statistics::OperationStatistics;
use crate::percentile::Sorted;
use crate::pooled_condition::PooledCondition;
use crate::random::Random;

/// Statistics of pooled cells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PooledStatistics {
    /// Common properties of the cells.
    pub(crate) condition: PooledCondition,
    /// The value in the unit of the swept parameter's axis (percent, ms, kbit/s).
    pub(crate) magnitude: f64,
    /// Whether all its cells belong to the baseline.
    pub(crate) is_baseline: bool,
    /// Number of pooled cells.
    pub(crate) cells: usize,
    /// Number of cells with each issue; issues without cells are absent.
    pub(crate) cells_by_issue: BTreeMap<CellIssue, usize>,
    /// Total length of the measurement windows, seconds.
    pub(crate) measured_s: f64,
    /// Latencies of all successful operations, milliseconds.
    pub(crate) latency_ms: Sorted,
    /// All operations.
    pub(crate) all: OperationStatistics,
    /// Statistics per operation, by its name in the protocol.
    pub(crate) by_operation: BTreeMap<String, OperationStatistics>,
}

/// A pooled cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) info: &'a CellInfo,
    /// Its measured samples, and its measures per operation; `None` without measured samples.
    pub(crate) samples: Option<(&'a SampledCell, &'a BTreeMap<&'a str, Measures>)>,
}

impl PooledStatistics {
    /// Computes the statistics of `members`. The same `seed` gives the same confidence intervals.
    pub(crate) fn new(condition: PooledCondition, members: &[Member], dataset: &Dataset, seed: u64) -> Self {
        let statistics = |operation: &str, cells: &[&Measures]| {
            let pooled = Measures::merged(cells);
            let names = [condition.name(), condition.value(), operation];
            let statistics =
                OperationStatistics::new(&pooled, cells, |others| Random::new(seed, &[&names, others].concat()));
            (statistics, pooled)
        };
        let sampled: Vec<&BTreeMap<&str, Measures>> =
            members.iter().filter_map(|member| member.samples).map(|(_, measures)| measures).collect();
        let of_cells: Vec<Measures> =
            sampled.iter().map(|cell| Measures::merged(&cell.values().collect::<Vec<_>>())).collect();
        let (mut all, pooled) = statistics(ALL_OPERATIONS, &of_cells.iter().collect::<Vec<_>>());
        let of_operation = |operation: &String| {
            let cells: Vec<&Measures> = sampled.iter().filter_map(|cell| cell.get(operation.as_str())).collect();
            (!cells.is_empty()).then(|| statistics(operation, &cells).0)
        };
        let mut by_operation: Vec<Option<OperationStatistics>> = dataset.operations.iter().map(of_operation).collect();
        add_to_breakdowns(members, dataset, &mut all, &mut by_operation);
        let by_operation = dataset.operations.iter().cloned().zip(by_operation);
        PooledStatistics {
            magnitude: members.first().map_or(0.0, |member| member.info.cell.magnitude),
            is_baseline: members.iter().all(|member| member.info.is_baseline()),
            cells: members.len(),
            cells_by_issue: cells_by_issue(members),
            measured_s: members.iter().map(|member| member.info.measured_s).sum(),
            latency_ms: pooled.into_latency_ms(),
            all,
            by_operation: by_operation.filter_map(|(name, statistics)| Some((name, statistics?))).collect(),
            condition,
        }
    }

    /// Returns whether no cell has an issue.
    #[must_use]
    pub(crate) fn is_reliable(&self) -> bool {
        self.cells_by_issue.is_empty()
    }

    /// Describes the issues of the cells: `unverified`, `1 of 3 overloaded`.
    #[must_use]
    pub(crate) fn issues(&self) -> Vec<String> {
        let describe = |(issue, count): (&CellIssue, &usize)| match *count {
            all if all == self.cells => issue.label().to_owned(),
            some => format!("{some} of {} {}", self.cells, issue.label()),
        };
        self.cells_by_issue.iter().map(describe).collect()
    }

    /// Returns the number of cells with `issue`.
    #[must_use]
    pub(crate) fn cells_with(&self, issue: CellIssue) -> usize {
        self.cells_by_issue.get(&issue).copied().unwrap_or(0)
    }

    /// Returns the statistics of `operation`, or of all operations for [`ALL_OPERATIONS`].
    #[must_use]
    pub(crate) fn operation(&self, operation: &str) -> Option<&OperationStatistics> {
        if operation == ALL_OPERATIONS { Some(&self.all) } else { self.by_operation.get(operation) }
    }

    /// Returns the statistics of [`ALL_OPERATIONS`], then of each operation, with their names.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&str, &OperationStatistics)> {
        let by_operation = self.by_operation.iter().map(|(name, statistics)| (name.as_str(), statistics));
        std::iter::once((ALL_OPERATIONS, &self.all)).chain(by_operation)
    }
}

fn cells_by_issue(members: &[Member]) -> BTreeMap<CellIssue, usize> {
    let mut counts = BTreeMap::new();
    for issue in members.iter().flat_map(|member| CellIssue::of(member.info)) {
        *counts.entry(issue).or_default() += 1;
    }
    counts
}

/// Adds the successful operations of all cells to the breakdown of all operations and to that of their own.
fn add_to_breakdowns(
    members: &[Member],
    dataset: &Dataset,
    all: &mut OperationStatistics,
    by_operation: &mut [Option<OperationStatistics>],
) {
    for (info, samples) in members.iter().filter_map(|member| Some((member.info, member.samples?.0))) {
        let link = LinkParameters::new(info.rate_kbit(), samples.min_rtt_ms);
        for row in samples.rows.iter().cloned().flatten() {
            let timings = dataset.columns.timings(row);
            let components = Components::of(&timings, link);
            let own = &mut by_operation[usize::from(dataset.columns.operation(row))];
            for statistics in own.iter_mut().chain([&mut *all]) {
                statistics.breakdown.add(timings.latency_ms, &components);
            }
        }
    }
}
