//! The plan: which cells a scenario has, in which order, with which seeds. Pure.

use serde::{Deserialize, Serialize};
use shaper::{Condition, Delay, Loss, Rate};

use crate::scenario::Scenario;

/// What a cell varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Varied {
    /// Share of packets lost.
    Loss,
    /// Time added to each packet.
    Delay,
    /// Bits per second.
    Rate,
}

impl Varied {
    /// The word in `samples.csv` and in file names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Varied::Loss => "loss",
            Varied::Delay => "delay",
            Varied::Rate => "rate",
        }
    }
}

/// One condition × one repetition: the unit that is measured and proved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// Unique in the run: `delay-50ms-r1`.
    pub(crate) id: String,
    /// What is varied.
    pub(crate) varied: Varied,
    /// Its value with its unit.
    pub(crate) value: String,
    /// The value as a number for axes: percent, milliseconds or kbit/s.
    pub(crate) magnitude: f64,
    /// Which repetition, from 1.
    pub(crate) repetition: u32,
    /// What the link is set to.
    pub(crate) condition: Condition,
    /// Seed of the cell's workload and of its packet drops.
    pub(crate) seed: u64,
}

/// All cells of a scenario: repetition by repetition, and in each the sweep's values in their order.
pub(crate) fn cells(scenario: &Scenario, seed: u64) -> Vec<Cell> {
    let conditions = sweep_conditions(scenario);
    let mut cells = Vec::with_capacity(conditions.len() * scenario.repetitions as usize);
    for repetition in 1..=scenario.repetitions {
        for (varied, value, magnitude, condition) in &conditions {
            cells.push(Cell {
                id: format!("{}-{value}-r{repetition}", varied.as_str()),
                varied: *varied,
                value: value.clone(),
                magnitude: *magnitude,
                repetition,
                condition: *condition,
                seed: split_mix(seed, cells.len() as u64),
            });
        }
    }
    cells
}

fn sweep_conditions(scenario: &Scenario) -> Vec<(Varied, String, f64, Condition)> {
    let sweep = &scenario.sweep;
    let loss = distinct(&sweep.loss).into_iter().map(|loss: Loss| {
        (Varied::Loss, loss.to_string(), loss.fraction() * 100.0, Condition { loss, ..Condition::BASELINE })
    });
    let delay = distinct(&sweep.delay).into_iter().map(|delay: Delay| {
        let milliseconds = delay.as_duration().as_secs_f64() * 1_000.0;
        (Varied::Delay, delay.to_string(), milliseconds, Condition { delay, ..Condition::BASELINE })
    });
    let rate = distinct(&sweep.rate).into_iter().map(|rate: Rate| {
        let kilobits = rate.bits_per_second() as f64 / 1_000.0;
        (Varied::Rate, rate.to_string(), kilobits, Condition { rate: Some(rate), ..Condition::BASELINE })
    });
    loss.chain(delay).chain(rate).collect()
}

/// The values without repeats, so that cell ids stay unique.
fn distinct<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut seen: Vec<T> = Vec::new();
    for value in values {
        if !seen.contains(value) {
            seen.push(*value);
        }
    }
    seen
}

/// The `index`-th seed that follows from `seed`: the output function of SplitMix64 (Steele, Lea and Flood, "Fast
/// Splittable Pseudorandom Number Generators", OOPSLA 2014).
pub(crate) fn split_mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(index.wrapping_add(1)));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Overrides;

    fn original(overrides: Overrides) -> Scenario {
        Scenario::load("original").unwrap().with(overrides)
    }

    #[test]
    fn the_original_sweep_has_nine_cells_each_with_one_thing_varied() {
        let cells = cells(&original(Overrides::default()), 7);
        let ids: Vec<&str> = cells.iter().map(|cell| cell.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "loss-0%-r1",
                "loss-1%-r1",
                "loss-2%-r1",
                "delay-0-r1",
                "delay-50ms-r1",
                "delay-100ms-r1",
                "rate-1Mbit-r1",
                "rate-500kbit-r1",
                "rate-100kbit-r1",
            ]
        );
        assert_eq!(cells.iter().filter(|cell| cell.condition.is_baseline()).count(), 2);
        assert_eq!(cells[8].magnitude, 100.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_every_cell_has_a_seed_of_its_own() {
        let scenario = original(Overrides { repetitions: Some(3), ..Overrides::default() });
        let plan = cells(&scenario, 7);
        assert_eq!(plan, cells(&scenario, 7));
        assert_ne!(plan, cells(&scenario, 8));
        let mut seeds: Vec<u64> = plan.iter().map(|cell| cell.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 27);
    }

    #[test]
    fn a_value_named_twice_is_one_cell() {
        let values = ["20ms", "20ms", "0.02s"].map(|text| text.parse().unwrap()).to_vec();
        let scenario = original(Overrides { delay: Some(values), ..Overrides::default() });
        assert_eq!(cells(&scenario, 1).len(), 1);
    }
}
