//! Statistics of a run: its sweeps and its pooled baseline.

use std::collections::BTreeMap;

use model::SweptParameter;

use crate::cell::{CellInfo, Verdict};
use crate::condition_label;
use crate::dataset::Dataset;
use crate::measures::Measures;
use crate::pooled_condition::PooledCondition;
use crate::pooled_statistics::{Member, PooledStatistics};

/// Statistics of the values of one swept parameter, from mild to severe.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sweep {
    /// The swept parameter.
    pub(crate) parameter: SweptParameter,
    /// Statistics of each value.
    pub(crate) values: Vec<PooledStatistics>,
}

/// Statistics of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunStatistics {
    /// The pooled baseline cells; `None` if the run has none.
    pub(crate) baseline: Option<PooledStatistics>,
    /// The sweeps, one per swept parameter.
    pub(crate) sweeps: Vec<Sweep>,
    /// Number of listed cells.
    pub(crate) cells: usize,
    /// Number of all samples.
    pub(crate) samples: usize,
    /// Number of measured samples of unlisted cells. They are ignored; tables and graphs must report them.
    pub(crate) unlisted_samples: u64,
}

impl RunStatistics {
    /// Pools the cells of `dataset`. `measures` are those of [`Dataset::sampled`]. Cells without samples give statistics
    /// without values.
    pub(crate) fn new(dataset: &Dataset, measures: &[BTreeMap<&str, Measures>], seed: u64) -> Self {
        let pooled = |condition: PooledCondition, cells: &[&CellInfo]| {
            let samples = |info: &CellInfo| {
                dataset.sampled(&info.cell.id).map(|position| (&dataset.sampled[position], &measures[position]))
            };
            let members: Vec<Member> = cells.iter().map(|&info| Member { info, samples: samples(info) }).collect();
            PooledStatistics::new(condition, &members, dataset, seed)
        };
        let baseline = baseline_cells(&dataset.cells);
        RunStatistics {
            baseline: (!baseline.is_empty()).then(|| pooled(PooledCondition::Baseline, &baseline)),
            sweeps: sweeps(&dataset.cells, pooled),
            cells: dataset.cells.len(),
            samples: dataset.len,
            unlisted_samples: dataset.unlisted_samples(),
        }
    }

    /// Returns the pooled baseline, then each sweep's values from mild to severe.
    pub(crate) fn pooled(&self) -> impl Iterator<Item = &PooledStatistics> {
        self.baseline.iter().chain(self.sweeps.iter().flat_map(|sweep| &sweep.values))
    }

    /// Returns the values of a sweep, after the pooled baseline if the sweep has no baseline value.
    #[must_use]
    pub(crate) fn with_baseline<'a>(&'a self, sweep: &'a Sweep) -> Vec<&'a PooledStatistics> {
        let has_own = sweep.values.iter().any(|pooled| pooled.is_baseline);
        let baseline = self.baseline.iter().filter(|_| !has_own);
        baseline.chain(&sweep.values).collect()
    }
}

/// Returns the baseline cells without issues; if there are none, the verified ones; otherwise all (their
/// statistics then report the issues).
fn baseline_cells(cells: &[CellInfo]) -> Vec<&CellInfo> {
    let tier = |is_included: fn(&CellInfo) -> bool| -> Vec<&CellInfo> {
        cells.iter().filter(|cell| cell.is_baseline() && is_included(cell)).collect()
    };
    let tiers = [tier(CellInfo::is_reliable), tier(|cell| cell.verdict == Verdict::Verified), tier(|_| true)];
    tiers.into_iter().find(|tier| !tier.is_empty()).unwrap_or_default()
}

fn sweeps(cells: &[CellInfo], pooled: impl Fn(PooledCondition, &[&CellInfo]) -> PooledStatistics) -> Vec<Sweep> {
    let mut sweeps: BTreeMap<SweptParameter, BTreeMap<&str, Vec<&CellInfo>>> = BTreeMap::new();
    for info in cells {
        let values = sweeps.entry(info.cell.swept_parameter).or_default();
        values.entry(&info.cell.value).or_default().push(info);
    }
    sweeps
        .into_iter()
        .map(|(parameter, values)| {
            let value = |(value, cells): (&str, Vec<&CellInfo>)| {
                pooled(PooledCondition::Value(parameter, value.to_owned()), &cells)
            };
            let mut values: Vec<PooledStatistics> = values.into_iter().map(value).collect();
            let severity = |pooled: &PooledStatistics| condition_label::severity(parameter, pooled.magnitude);
            values.sort_by(|a, b| severity(a).total_cmp(&severity(b)));
            Sweep { parameter, values }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use model::{Outcome, SampleRow};

    use super::*;
    use crate::summary::tests::{sample, warm_up};
    use crate::synthetic;

    fn cell(parameter: SweptParameter, value: &str, repetition: u32, magnitude: f64) -> CellInfo {
        let verdict = if repetition == 1 { Verdict::Verified } else { Verdict::Unverified };
        synthetic::info(synthetic::cell((parameter, value.to_owned(), magnitude, repetition)), verdict)
    }

    fn cells() -> Vec<CellInfo> {
        vec![
            cell(SweptParameter::Rate, "100kbit", 1, 100.0),
            cell(SweptParameter::Rate, "1Mbit", 1, 1000.0),
            cell(SweptParameter::Delay, "100ms", 1, 100.0),
            cell(SweptParameter::Delay, "0", 1, 0.0),
            cell(SweptParameter::Delay, "50ms", 1, 50.0),
            cell(SweptParameter::Delay, "50ms", 2, 50.0),
            cell(SweptParameter::Loss, "0%", 1, 0.0),
        ]
    }

    fn statistics(samples: &[SampleRow], cells: &[CellInfo]) -> RunStatistics {
        synthetic::Run { samples: samples.to_vec(), cells: cells.to_vec() }.analyse(1).run().clone()
    }

    #[test]
    fn values_are_sorted_from_mild_to_severe() {
        let run = statistics(&[], &cells());
        let order: Vec<Vec<&str>> = run
            .sweeps
            .iter()
            .map(|sweep| sweep.values.iter().map(|pooled| pooled.condition.value()).collect())
            .collect();
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
        let run = statistics(&samples, &cells());
        let pooled = &run.sweeps[1].values[1];
        assert_eq!(
            (pooled.latency_ms.values(), pooled.issues()),
            ([1.0, 2.0].to_vec(), vec!["1 of 2 unverified".to_owned()])
        );
        let baseline = run.baseline.as_ref().unwrap();
        assert_eq!((baseline.cells, baseline.all.counts.total(), baseline.latency_ms.values()), (2, 2, [3.0].to_vec()));
        assert_eq!(run.unlisted_samples, 1);
    }

    #[test]
    fn overload_is_a_separate_issue_and_excludes_a_cell_from_the_baseline_if_another_remains() {
        let mut cells = cells();
        for cell in cells.iter_mut().filter(|cell| cell.cell.value == "50ms" || cell.cell.value == "0%") {
            cell.overloaded = true;
            cell.verdict = if cell.cell.value == "0%" { Verdict::Verified } else { Verdict::Failed };
        }
        let run = statistics(&[], &cells);
        assert_eq!(run.sweeps[1].values[1].issues(), ["failed", "overloaded"]);
        assert_eq!(run.sweeps[0].values[0].issues(), ["overloaded"]);
        let baseline =
            |cells: &[CellInfo]| statistics(&[], cells).baseline.map(|pooled| (pooled.cells, pooled.issues()));
        assert_eq!(baseline(&cells), Some((1, Vec::new())));
        cells.retain(|cell| cell.cell.value != "0");
        assert_eq!(baseline(&cells), Some((1, vec!["overloaded".to_owned()])));
    }

    #[test]
    fn warm_up_samples_are_not_pooled() {
        let samples = [
            warm_up("loss-0%-r1", Outcome::Ok),
            warm_up("unlisted", Outcome::Ok),
            sample("loss-0%-r1", "login", Outcome::Ok, 3.0),
        ];
        let run = statistics(&samples, &cells());
        let pooled = &run.sweeps[0].values[0];
        assert_eq!((pooled.latency_ms.values(), run.unlisted_samples), ([3.0].to_vec(), 0));
        assert_eq!(pooled.all.breakdown.all.map(|mean| mean.n), Some(1));
    }

    #[test]
    fn a_condition_without_a_baseline_value_gets_the_pooled_baseline() {
        let run = statistics(&[], &cells());
        let shown = |index: usize| -> Vec<&str> {
            run.with_baseline(&run.sweeps[index]).iter().map(|pooled| pooled.condition.name()).collect()
        };
        assert_eq!(shown(2), ["baseline", "rate", "rate"]);
        assert_eq!(shown(1), ["delay", "delay", "delay"]);
    }
}
