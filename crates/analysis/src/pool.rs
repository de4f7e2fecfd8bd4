//! Samples pooled over the repetitions of a condition's value, and the baseline they are compared with.

use std::collections::{BTreeMap, HashMap};

use crate::cell::CellInfo;
use crate::condition;
use crate::measures::Measures;
use crate::sample::Sample;

/// The samples of all repetitions of one value of one condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
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
    /// How many of them were proved.
    pub proved_cells: usize,
    /// All operations.
    pub all: Measures,
    /// By operation, as the protocol names them.
    pub by_operation: BTreeMap<String, Measures>,
}

impl Pool {
    /// Whether every cell was proved.
    #[must_use]
    pub fn proved(&self) -> bool {
        self.proved_cells == self.cells
    }

    /// `None` when every cell was proved; else which were not, for people.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        let missing = self.cells - self.proved_cells;
        match missing {
            0 => None,
            _ if missing == self.cells => Some("not proved".to_owned()),
            _ => Some(format!("{missing} of {} not proved", self.cells)),
        }
    }

    fn new(name: (&str, &str), cells: &[&CellInfo], samples: &[&Sample]) -> Self {
        let mut by_operation: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
        for &sample in samples {
            by_operation.entry(&sample.operation).or_default().push(sample);
        }
        Pool {
            condition: name.0.to_owned(),
            value: name.1.to_owned(),
            magnitude: cells.first().map_or(0.0, |cell| cell.magnitude),
            baseline: cells.iter().all(|cell| cell.baseline),
            cells: cells.len(),
            proved_cells: cells.iter().filter(|cell| cell.proved).count(),
            all: samples.iter().copied().collect(),
            by_operation: by_operation
                .into_iter()
                .map(|(operation, samples)| (operation.to_owned(), samples.into_iter().collect()))
                .collect(),
        }
    }
}

/// One condition's values, from mild to severe.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionPools {
    /// What is varied.
    pub condition: String,
    /// One pool a value.
    pub pools: Vec<Pool>,
}

/// A run's samples, pooled.
#[derive(Debug, Clone, PartialEq)]
pub struct Pools {
    /// The pooled baseline cells; `None` when the run has none.
    pub baseline: Option<Pool>,
    /// The varied conditions.
    pub conditions: Vec<ConditionPools>,
    /// Samples of cells that are not listed. They are in no pool; whoever shows the pools says so.
    pub unlisted_samples: usize,
}

impl Pools {
    /// Pools `samples` by what `cells` say of their cells. A cell without samples makes an empty pool.
    #[must_use]
    pub fn new(samples: &[Sample], cells: &[CellInfo]) -> Self {
        let mut of_cell: HashMap<&str, Vec<&Sample>> = HashMap::new();
        for sample in samples {
            of_cell.entry(&sample.cell).or_default().push(sample);
        }
        let pool = |name: (&str, &str), cells: &[&CellInfo]| {
            let samples: Vec<&Sample> =
                cells.iter().filter_map(|cell| of_cell.get(cell.cell.as_str())).flatten().copied().collect();
            Pool::new(name, cells, &samples)
        };
        let baseline = baseline_cells(cells);
        let listed: usize = cells.iter().filter_map(|cell| of_cell.get(cell.cell.as_str())).map(Vec::len).sum();
        Pools {
            baseline: (!baseline.is_empty()).then(|| pool((condition::BASELINE, ""), &baseline)),
            conditions: conditions(cells, pool),
            unlisted_samples: samples.len() - listed,
        }
    }

    /// The pools to show for a condition: its values, after the pooled baseline where no value of its own is one.
    #[must_use]
    pub fn with_baseline<'a>(&'a self, of: &'a ConditionPools) -> Vec<&'a Pool> {
        let own = of.pools.iter().any(|pool| pool.baseline);
        let borrowed = self.baseline.iter().filter(|_| !own);
        borrowed.chain(&of.pools).collect()
    }
}

/// The cells that everything is compared with: the proved ones of the bare link, or all of them when none is proved (the
/// pool then says so).
fn baseline_cells(cells: &[CellInfo]) -> Vec<&CellInfo> {
    let (proved, doubtful): (Vec<_>, Vec<_>) = cells.iter().filter(|cell| cell.baseline).partition(|cell| cell.proved);
    if proved.is_empty() { doubtful } else { proved }
}

fn conditions(cells: &[CellInfo], pool: impl Fn((&str, &str), &[&CellInfo]) -> Pool) -> Vec<ConditionPools> {
    let mut values: BTreeMap<(&str, &str), Vec<&CellInfo>> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| !cell.condition.is_empty()) {
        values.entry((&cell.condition, &cell.value)).or_default().push(cell);
    }
    let mut by_condition: BTreeMap<(usize, &str), Vec<Pool>> = BTreeMap::new();
    for (name, cells) in &values {
        by_condition.entry((condition::rank(name.0), name.0)).or_default().push(pool(*name, cells));
    }
    by_condition
        .into_iter()
        .map(|((_, name), mut pools)| {
            let severity = |pool: &Pool| condition::severity(name, pool.magnitude);
            pools.sort_by(|a, b| severity(a).total_cmp(&severity(b)));
            ConditionPools { condition: name.to_owned(), pools }
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
            proved: repetition == 1,
            overloaded: false,
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
        let pools = Pools::new(&[], &cells());
        let order: Vec<Vec<&str>> =
            pools.conditions.iter().map(|c| c.pools.iter().map(|p| p.value.as_str()).collect()).collect();
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
        let pools = Pools::new(&samples, &cells());
        let pool = &pools.conditions[1].pools[1];
        assert_eq!(
            (pool.all.latency_ms.values(), pool.doubt()),
            ([1.0, 2.0].as_slice(), Some("1 of 2 not proved".into()))
        );
        let baseline = pools.baseline.as_ref().unwrap();
        assert_eq!(
            (baseline.cells, baseline.all.tally.tried(), baseline.all.latency_ms.values()),
            (2, 2, [3.0].as_slice())
        );
        assert_eq!(pools.unlisted_samples, 1);
    }

    #[test]
    fn a_condition_without_a_baseline_of_its_own_borrows_the_pooled_one() {
        let pools = Pools::new(&[], &cells());
        let shown = |index: usize| -> Vec<&str> {
            pools.with_baseline(&pools.conditions[index]).iter().map(|pool| pool.condition.as_str()).collect()
        };
        assert_eq!(shown(2), ["baseline", "rate", "rate"]);
        assert_eq!(shown(1), ["delay", "delay", "delay"]);
    }
}
