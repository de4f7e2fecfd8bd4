//! Samples pooled over the repetitions of a condition's value, and the baseline they are compared with.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::breakdown::LinkParameters;
use crate::cell::{CellInfo, Verdict};
use crate::condition_label;
use crate::confidence_interval::Estimate;
use crate::doubt::Doubt;
use crate::metric::Metric;
use crate::operation_samples::OperationSamples;
use crate::random::Random;
use crate::sample::{Phase, Sample};
use crate::statistic::Statistic;
use crate::summary::ALL_OPERATIONS;

/// The samples of all repetitions of one value of one condition.
#[derive(Debug, Clone, PartialEq)]
pub struct PooledSamples {
    /// What is varied; `baseline` for the pooled baseline.
    pub condition: String,
    /// What it is set to, with its unit; empty for the pooled baseline.
    pub value: String,
    /// The value in the unit of the condition's axis (percent, ms, kbit/s).
    pub magnitude: f64,
    /// Whether all its cells belong to the baseline.
    pub baseline: bool,
    /// How many cells it has.
    pub cells: usize,
    /// How many of them are in doubt, for each reason that applies to any.
    pub doubtful_cells: BTreeMap<Doubt, usize>,
    /// How long operations were measured in all of them together, seconds.
    pub measured_s: f64,
    /// All operations.
    pub all: OperationSamples,
    /// By operation, as the protocol names them.
    pub by_operation: BTreeMap<String, OperationSamples>,
}

/// A cell and its measured samples.
type CellSamples<'a> = (&'a CellInfo, Vec<&'a Sample>);

impl PooledSamples {
    /// Whether nothing casts doubt on any cell.
    #[must_use]
    pub fn is_reliable(&self) -> bool {
        self.doubts().is_empty()
    }

    /// What casts doubt on its cells, for people: `not verified`, `1 of 3 overloaded`; empty when nothing does.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let tell = |(doubt, count): (&Doubt, &usize)| match *count {
            all if all == self.cells => doubt.words().to_owned(),
            some => format!("{some} of {} {}", self.cells, doubt.words()),
        };
        self.doubtful_cells.iter().map(tell).collect()
    }

    /// How many of its cells are in doubt for this reason.
    #[must_use]
    pub fn doubtful(&self, doubt: Doubt) -> usize {
        self.doubtful_cells.get(&doubt).copied().unwrap_or(0)
    }

    /// A statistic of `operation` ([`ALL_OPERATIONS`] for all) with its interval over the repetitions; `None` when the
    /// operation was not tried here. The same `seed` gives the same interval, in every table and graph.
    #[must_use]
    pub fn estimate(&self, operation: &str, metric: Metric, statistic: Statistic, seed: u64) -> Option<Estimate> {
        let mut random = self.random(seed, operation, &[metric.as_str(), statistic.as_str()]);
        self.group(operation).map(|group| group.estimate(metric, statistic, &mut random))
    }

    /// The share of failed operations, percent, like [`PooledSamples::estimate`].
    #[must_use]
    pub fn error_percent(&self, operation: &str, seed: u64) -> Option<Estimate> {
        let mut random = self.random(seed, operation, &["errors"]);
        self.group(operation).map(|group| group.error_percent(&mut random))
    }

    /// The samples of `operation`, or of all.
    #[must_use]
    pub fn group(&self, operation: &str) -> Option<&OperationSamples> {
        if operation == ALL_OPERATIONS { Some(&self.all) } else { self.by_operation.get(operation) }
    }

    /// The names of all groups: [`ALL_OPERATIONS`], then each operation.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &str> {
        std::iter::once(ALL_OPERATIONS).chain(self.by_operation.keys().map(String::as_str))
    }

    fn random(&self, seed: u64, operation: &str, names: &[&str]) -> Random {
        Random::new(seed, &[&[self.condition.as_str(), &self.value, operation], names].concat())
    }

    fn new(name: (&str, &str), cells: &[CellSamples]) -> Self {
        let count = |doubt: Doubt| cells.iter().filter(|(cell, _)| doubt.applies(cell)).count();
        let operations: BTreeSet<&str> =
            cells.iter().flat_map(|(_, samples)| samples).map(|sample| sample.operation.as_str()).collect();
        PooledSamples {
            condition: name.0.to_owned(),
            value: name.1.to_owned(),
            magnitude: cells.first().map_or(0.0, |(cell, _)| cell.magnitude),
            baseline: cells.iter().all(|(cell, _)| cell.baseline),
            cells: cells.len(),
            doubtful_cells: Doubt::ALL.map(|doubt| (doubt, count(doubt))).into_iter().filter(|(_, n)| *n > 0).collect(),
            measured_s: cells.iter().map(|(cell, _)| cell.measured_s).sum(),
            all: group(cells, |_| true),
            by_operation: operations
                .into_iter()
                .map(|operation| (operation.to_owned(), group(cells, |sample| sample.operation == operation)))
                .collect(),
        }
    }
}

fn group(cells: &[CellSamples], which: impl Fn(&Sample) -> bool) -> OperationSamples {
    let cells: Vec<_> = cells
        .iter()
        .map(|(cell, samples)| {
            let chosen = samples.iter().copied().filter(|sample| which(sample)).collect();
            (LinkParameters::of(samples, cell.rate_kbit), chosen)
        })
        .collect();
    OperationSamples::new(&cells)
}

/// One condition's values, from mild to severe.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepSamples {
    /// What is varied.
    pub condition: String,
    /// One pool a value.
    pub values: Vec<PooledSamples>,
}

/// A run's samples, pooled.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSamples {
    /// The pooled baseline cells; `None` when the run has none.
    pub baseline: Option<PooledSamples>,
    /// The varied conditions.
    pub conditions: Vec<SweepSamples>,
    /// Samples of cells that are not listed. They are not pooled; tables and graphs state their number.
    pub unlisted_samples: usize,
}

impl RunSamples {
    /// RunSamples `samples` by what `cells` say of their cells. Warm-up is left out. A cell without samples makes an
    /// empty pool.
    #[must_use]
    pub fn new(samples: &[Sample], cells: &[CellInfo]) -> Self {
        let mut of_cell: HashMap<&str, Vec<&Sample>> = HashMap::new();
        for sample in samples.iter().filter(|sample| sample.phase == Phase::Measured) {
            of_cell.entry(&sample.cell).or_default().push(sample);
        }
        let pool = |name: (&str, &str), cells: &[&CellInfo]| {
            let samples = |cell: &CellInfo| of_cell.get(cell.cell.as_str()).cloned().unwrap_or_default();
            let cells: Vec<CellSamples> = cells.iter().map(|&cell| (cell, samples(cell))).collect();
            PooledSamples::new(name, &cells)
        };
        let baseline = baseline_cells(cells);
        let listed: HashSet<&str> = cells.iter().map(|cell| cell.cell.as_str()).collect();
        let unlisted = of_cell.iter().filter(|(cell, _)| !listed.contains(*cell));
        RunSamples {
            baseline: (!baseline.is_empty()).then(|| pool((condition_label::BASELINE, ""), &baseline)),
            conditions: conditions(cells, pool),
            unlisted_samples: unlisted.map(|(_, samples)| samples.len()).sum(),
        }
    }

    /// The pooled baseline, then each condition's values from mild to severe.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PooledSamples> {
        self.baseline.iter().chain(self.conditions.iter().flat_map(|condition| &condition.values))
    }

    /// The pools to show for a condition: its values, after the pooled baseline where no value of its own is one.
    #[must_use]
    pub fn with_baseline<'a>(&'a self, of: &'a SweepSamples) -> Vec<&'a PooledSamples> {
        let own = of.values.iter().any(|pool| pool.baseline);
        let borrowed = self.baseline.iter().filter(|_| !own);
        borrowed.chain(&of.values).collect()
    }
}

/// The cells that everything is compared with: of those of the unshaped link the ones without any doubt; where there is
/// none the verified ones, else all (the pool then says so).
fn baseline_cells(cells: &[CellInfo]) -> Vec<&CellInfo> {
    let of = |which: fn(&CellInfo) -> bool| -> Vec<&CellInfo> {
        cells.iter().filter(|cell| cell.baseline && which(cell)).collect()
    };
    let tiers = [of(CellInfo::is_reliable), of(|cell| cell.verdict == Verdict::Verified), of(|_| true)];
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
            let severity = |pool: &PooledSamples| condition_label::severity(name, pool.magnitude);
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
    fn values_go_from_mild_to_severe() {
        let values = RunSamples::new(&[], &cells());
        let order: Vec<Vec<&str>> =
            values.conditions.iter().map(|c| c.values.iter().map(|p| p.value.as_str()).collect()).collect();
        assert_eq!(order, [vec!["0%"], vec!["0", "50ms", "100ms"], vec!["1Mbit", "100kbit"]]);
    }

    #[test]
    fn repetitions_are_pooled_and_doubts_kept() {
        let samples = [
            sample("delay-50ms-r1", "login", Outcome::Ok, 1.0),
            sample("delay-50ms-r2", "login", Outcome::Ok, 2.0),
            sample("loss-0%-r1", "login", Outcome::Ok, 3.0),
            sample("delay-0-r1", "login", Outcome::Reset, 4.0),
            sample("elsewhere", "login", Outcome::Ok, 5.0),
        ];
        let values = RunSamples::new(&samples, &cells());
        let pool = &values.conditions[1].values[1];
        assert_eq!(
            (pool.all.pooled.latency_ms.values(), pool.doubts()),
            ([1.0, 2.0].as_slice(), vec!["1 of 2 unverified".to_owned()])
        );
        let baseline = values.baseline.as_ref().unwrap();
        assert_eq!(
            (baseline.cells, baseline.all.pooled.counts.tried(), baseline.all.pooled.latency_ms.values()),
            (2, 2, [3.0].as_slice())
        );
        assert_eq!(values.unlisted_samples, 1);
    }

    #[test]
    fn overload_is_a_doubt_of_its_own_and_no_baseline_where_there_is_another() {
        let mut cells = cells();
        for cell in cells.iter_mut().filter(|cell| cell.value == "50ms" || cell.value == "0%") {
            cell.overloaded = true;
            cell.verdict = if cell.value == "0%" { Verdict::Verified } else { Verdict::Failed };
        }
        let values = RunSamples::new(&[], &cells);
        assert_eq!(values.conditions[1].values[1].doubts(), ["failed", "overloaded"]);
        assert_eq!(values.conditions[0].values[0].doubts(), ["overloaded"]);
        let baseline =
            |cells: &[CellInfo]| RunSamples::new(&[], cells).baseline.map(|pool| (pool.cells, pool.doubts()));
        assert_eq!(baseline(&cells), Some((1, Vec::new())));
        cells.retain(|cell| cell.value != "0");
        assert_eq!(baseline(&cells), Some((1, vec!["overloaded".to_owned()])));
    }

    #[test]
    fn warm_up_is_in_no_pool() {
        let warm_up = |cell: &str| Sample { phase: Phase::WarmUp, ..sample(cell, "login", Outcome::Ok, 9.0) };
        let samples = [warm_up("loss-0%-r1"), warm_up("elsewhere"), sample("loss-0%-r1", "login", Outcome::Ok, 3.0)];
        let values = RunSamples::new(&samples, &cells());
        let pool = &values.conditions[0].values[0];
        assert_eq!((pool.all.pooled.latency_ms.values(), values.unlisted_samples), ([3.0].as_slice(), 0));
        assert_eq!(pool.all.breakdown.all.map(|mean| mean.n), Some(1));
    }

    #[test]
    fn a_condition_without_a_baseline_of_its_own_borrows_the_pooled_one() {
        let values = RunSamples::new(&[], &cells());
        let shown = |index: usize| -> Vec<&str> {
            values.with_baseline(&values.conditions[index]).iter().map(|pool| pool.condition.as_str()).collect()
        };
        assert_eq!(shown(2), ["baseline", "rate", "rate"]);
        assert_eq!(shown(1), ["delay", "delay", "delay"]);
    }
}
