//! Samples pooled over the repetitions of each value of a condition, and the pooled baseline.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::breakdown::LinkParameters;
use crate::cell::{CellInfo, Verdict};
use crate::cell_issue::CellIssue;
use crate::condition_label;
use crate::confidence_interval::Estimate;
use crate::metric::Metric;
use crate::operation_samples::OperationSamples;
use crate::random::Random;
use crate::sample::{Phase, Sample};
use crate::statistic::Statistic;
use crate::summary::ALL_OPERATIONS;

/// The samples of all repetitions of one value of one condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PooledSamples {
    /// The swept parameter; `baseline` for the pooled baseline.
    pub(crate) condition: String,
    /// The parameter's value with its unit; empty for the pooled baseline.
    pub(crate) value: String,
    /// The value in the unit of the condition's axis (percent, ms, kbit/s).
    pub(crate) magnitude: f64,
    /// Whether all its cells belong to the baseline.
    pub(crate) baseline: bool,
    /// Number of pooled cells.
    pub(crate) cells: usize,
    /// Number of cells with each issue; issues without cells are absent.
    pub(crate) cells_by_issue: BTreeMap<CellIssue, usize>,
    /// Total length of the measurement windows, seconds.
    pub(crate) measured_s: f64,
    /// All operations.
    pub(crate) all: OperationSamples,
    /// Samples per operation, by its name in the protocol.
    pub(crate) by_operation: BTreeMap<String, OperationSamples>,
}

type CellSamples<'a> = (&'a CellInfo, Vec<&'a Sample>);

impl PooledSamples {
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

    /// Returns a statistic of `operation` ([`ALL_OPERATIONS`] for all) with its confidence interval over the
    /// repetitions; `None` without samples of the operation. The same `seed` gives the same interval in every table and
    /// graph.
    #[must_use]
    pub(crate) fn estimate(
        &self,
        operation: &str,
        metric: Metric,
        statistic: Statistic,
        seed: u64,
    ) -> Option<Estimate> {
        let mut random = self.random(seed, operation, &[metric.as_str(), statistic.as_str()]);
        self.group(operation).map(|group| group.estimate(metric, statistic, &mut random))
    }

    /// Returns the percentage of failed operations, like [`PooledSamples::estimate`].
    #[must_use]
    pub(crate) fn error_percent(&self, operation: &str, seed: u64) -> Option<Estimate> {
        let mut random = self.random(seed, operation, &["errors"]);
        self.group(operation).map(|group| group.error_percent(&mut random))
    }

    /// Returns the samples of `operation`, or of all operations for [`ALL_OPERATIONS`].
    #[must_use]
    pub(crate) fn group(&self, operation: &str) -> Option<&OperationSamples> {
        if operation == ALL_OPERATIONS { Some(&self.all) } else { self.by_operation.get(operation) }
    }

    /// Returns the names of all groups: [`ALL_OPERATIONS`], then each operation.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &str> {
        std::iter::once(ALL_OPERATIONS).chain(self.by_operation.keys().map(String::as_str))
    }

    fn random(&self, seed: u64, operation: &str, names: &[&str]) -> Random {
        Random::new(seed, &[&[self.condition.as_str(), &self.value, operation], names].concat())
    }

    fn new(name: (&str, &str), cells: &[CellSamples]) -> Self {
        let count = |issue: CellIssue| cells.iter().filter(|(cell, _)| issue.applies_to(cell)).count();
        let operations: BTreeSet<&str> =
            cells.iter().flat_map(|(_, samples)| samples).map(|sample| sample.operation.as_str()).collect();
        PooledSamples {
            condition: name.0.to_owned(),
            value: name.1.to_owned(),
            magnitude: cells.first().map_or(0.0, |(cell, _)| cell.magnitude),
            baseline: cells.iter().all(|(cell, _)| cell.baseline),
            cells: cells.len(),
            cells_by_issue: CellIssue::ALL
                .map(|issue| (issue, count(issue)))
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .collect(),
            measured_s: cells.iter().map(|(cell, _)| cell.measured_s).sum(),
            all: group(cells, |_| true),
            by_operation: operations
                .into_iter()
                .map(|operation| (operation.to_owned(), group(cells, |sample| sample.operation == operation)))
                .collect(),
        }
    }
}

fn group(cells: &[CellSamples], is_included: impl Fn(&Sample) -> bool) -> OperationSamples {
    let cells: Vec<_> = cells
        .iter()
        .map(|(cell, samples)| {
            let included = samples.iter().copied().filter(|sample| is_included(sample)).collect();
            (LinkParameters::of(samples, cell.rate_kbit), included)
        })
        .collect();
    OperationSamples::new(&cells)
}

/// Pooled samples of one condition's values, from mild to severe.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SweepSamples {
    /// The swept parameter.
    pub(crate) condition: String,
    /// Pooled samples of each value.
    pub(crate) values: Vec<PooledSamples>,
}

/// A run's samples, pooled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunSamples {
    /// The pooled baseline cells; `None` if the run has none.
    pub(crate) baseline: Option<PooledSamples>,
    /// The conditions of the sweep.
    pub(crate) conditions: Vec<SweepSamples>,
    /// Number of samples of unlisted cells. They are ignored; tables and graphs must report them.
    pub(crate) unlisted_samples: usize,
}

impl RunSamples {
    /// Pools `samples` by the conditions of `cells`. Warm-up samples are ignored. Cells without samples give empty
    /// pooled samples.
    #[must_use]
    pub(crate) fn new(samples: &[Sample], cells: &[CellInfo]) -> Self {
        let mut by_cell: HashMap<&str, Vec<&Sample>> = HashMap::new();
        for sample in samples.iter().filter(|sample| sample.phase == Phase::Measured) {
            by_cell.entry(&sample.cell).or_default().push(sample);
        }
        let pool = |name: (&str, &str), cells: &[&CellInfo]| {
            let samples = |cell: &CellInfo| by_cell.get(cell.cell.as_str()).cloned().unwrap_or_default();
            let cells: Vec<CellSamples> = cells.iter().map(|&cell| (cell, samples(cell))).collect();
            PooledSamples::new(name, &cells)
        };
        let baseline = baseline_cells(cells);
        let listed: HashSet<&str> = cells.iter().map(|cell| cell.cell.as_str()).collect();
        let unlisted = by_cell.iter().filter(|(cell, _)| !listed.contains(*cell));
        RunSamples {
            baseline: (!baseline.is_empty()).then(|| pool((condition_label::BASELINE, ""), &baseline)),
            conditions: conditions(cells, pool),
            unlisted_samples: unlisted.map(|(_, samples)| samples.len()).sum(),
        }
    }

    /// Returns the pooled baseline, then each condition's values from mild to severe.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PooledSamples> {
        self.baseline.iter().chain(self.conditions.iter().flat_map(|condition| &condition.values))
    }

    /// Returns the values of a sweep, after the pooled baseline if the sweep has no baseline value.
    #[must_use]
    pub(crate) fn with_baseline<'a>(&'a self, sweep: &'a SweepSamples) -> Vec<&'a PooledSamples> {
        let has_own = sweep.values.iter().any(|pooled| pooled.baseline);
        let baseline = self.baseline.iter().filter(|_| !has_own);
        baseline.chain(&sweep.values).collect()
    }
}

/// Returns the baseline cells without issues; if there are none, the verified ones; otherwise all (the pooled samples
/// then report the issues).
fn baseline_cells(cells: &[CellInfo]) -> Vec<&CellInfo> {
    let tier = |is_included: fn(&CellInfo) -> bool| -> Vec<&CellInfo> {
        cells.iter().filter(|cell| cell.baseline && is_included(cell)).collect()
    };
    let tiers = [tier(CellInfo::is_reliable), tier(|cell| cell.verdict == Verdict::Verified), tier(|_| true)];
    tiers.into_iter().find(|tier| !tier.is_empty()).unwrap_or_default()
}

fn conditions(cells: &[CellInfo], pool: impl Fn((&str, &str), &[&CellInfo]) -> PooledSamples) -> Vec<SweepSamples> {
    let mut values: BTreeMap<(&str, &str), Vec<&CellInfo>> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| !cell.condition.is_empty()) {
        values.entry((&cell.condition, &cell.value)).or_default().push(cell);
    }
    let mut by_condition: BTreeMap<(usize, &str), Vec<PooledSamples>> = BTreeMap::new();
    for (name, cells) in &values {
        by_condition.entry((condition_label::rank(name.0), name.0)).or_default().push(pool(*name, cells));
    }
    by_condition
        .into_iter()
        .map(|((_, name), mut values)| {
            let severity = |pooled: &PooledSamples| condition_label::severity(name, pooled.magnitude);
            values.sort_by(|a, b| severity(a).total_cmp(&severity(b)));
            SweepSamples { condition: name.to_owned(), values }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Outcome;
    use crate::summary::tests::sample;

    fn cell(condition: &str, value: &str, repetition: u32, magnitude: f64) -> CellInfo {
        CellInfo {
            cell: format!("{condition}-{value}-r{repetition}"),
            condition: condition.to_owned(),
            value: value.to_owned(),
            repetition,
            baseline: magnitude == 0.0,
            magnitude,
            verdict: if repetition == 1 { Verdict::Verified } else { Verdict::Unverified },
            measured_s: 30.0,
            overloaded: false,
            stalled: false,
            rate_kbit: None,
        }
    }

    fn cells() -> Vec<CellInfo> {
        vec![
            cell("rate", "100kbit", 1, 100.0),
            cell("rate", "1Mbit", 1, 1000.0),
            cell("delay", "100ms", 1, 100.0),
            cell("delay", "0", 1, 0.0),
            cell("delay", "50ms", 1, 50.0),
            cell("delay", "50ms", 2, 50.0),
            cell("loss", "0%", 1, 0.0),
        ]
    }

    #[test]
    fn values_are_sorted_from_mild_to_severe() {
        let run = RunSamples::new(&[], &cells());
        let order: Vec<Vec<&str>> =
            run.conditions.iter().map(|c| c.values.iter().map(|p| p.value.as_str()).collect()).collect();
        assert_eq!(order, [vec!["0%"], vec!["0", "50ms", "100ms"], vec!["1Mbit", "100kbit"]]);
    }

    #[test]
    fn repetitions_are_pooled_and_issues_kept() {
        let samples = [
            sample("delay-50ms-r1", "login", Outcome::Ok, 1.0),
            sample("delay-50ms-r2", "login", Outcome::Ok, 2.0),
            sample("loss-0%-r1", "login", Outcome::Ok, 3.0),
            sample("delay-0-r1", "login", Outcome::Reset, 4.0),
            sample("unlisted", "login", Outcome::Ok, 5.0),
        ];
        let run = RunSamples::new(&samples, &cells());
        let pooled = &run.conditions[1].values[1];
        assert_eq!(
            (pooled.all.pooled.latency_ms.values(), pooled.issues()),
            ([1.0, 2.0].as_slice(), vec!["1 of 2 unverified".to_owned()])
        );
        let baseline = run.baseline.as_ref().unwrap();
        assert_eq!(
            (baseline.cells, baseline.all.pooled.counts.total(), baseline.all.pooled.latency_ms.values()),
            (2, 2, [3.0].as_slice())
        );
        assert_eq!(run.unlisted_samples, 1);
    }

    #[test]
    fn overload_is_a_separate_issue_and_excludes_a_cell_from_the_baseline_if_another_remains() {
        let mut cells = cells();
        for cell in cells.iter_mut().filter(|cell| cell.value == "50ms" || cell.value == "0%") {
            cell.overloaded = true;
            cell.verdict = if cell.value == "0%" { Verdict::Verified } else { Verdict::Failed };
        }
        let run = RunSamples::new(&[], &cells);
        assert_eq!(run.conditions[1].values[1].issues(), ["failed", "overloaded"]);
        assert_eq!(run.conditions[0].values[0].issues(), ["overloaded"]);
        let baseline =
            |cells: &[CellInfo]| RunSamples::new(&[], cells).baseline.map(|pooled| (pooled.cells, pooled.issues()));
        assert_eq!(baseline(&cells), Some((1, Vec::new())));
        cells.retain(|cell| cell.value != "0");
        assert_eq!(baseline(&cells), Some((1, vec!["overloaded".to_owned()])));
    }

    #[test]
    fn warm_up_samples_are_not_pooled() {
        let warm_up = |cell: &str| Sample { phase: Phase::WarmUp, ..sample(cell, "login", Outcome::Ok, 9.0) };
        let samples = [warm_up("loss-0%-r1"), warm_up("unlisted"), sample("loss-0%-r1", "login", Outcome::Ok, 3.0)];
        let run = RunSamples::new(&samples, &cells());
        let pooled = &run.conditions[0].values[0];
        assert_eq!((pooled.all.pooled.latency_ms.values(), run.unlisted_samples), ([3.0].as_slice(), 0));
        assert_eq!(pooled.all.breakdown.all.map(|mean| mean.n), Some(1));
    }

    #[test]
    fn a_condition_without_a_baseline_value_gets_the_pooled_baseline() {
        let run = RunSamples::new(&[], &cells());
        let shown = |index: usize| -> Vec<&str> {
            run.with_baseline(&run.conditions[index]).iter().map(|pooled| pooled.condition.as_str()).collect()
        };
        assert_eq!(shown(2), ["baseline", "rate", "rate"]);
        assert_eq!(shown(1), ["delay", "delay", "delay"]);
    }
}
