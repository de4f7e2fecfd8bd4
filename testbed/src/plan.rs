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
    /// Several at once.
    Combined,
}

impl Varied {
    /// The word in `samples.csv` and in file names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Varied::Loss => "loss",
            Varied::Delay => "delay",
            Varied::Rate => "rate",
            Varied::Combined => "combined",
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
    /// The value as a number for axes: percent, milliseconds, kbit/s, or a combination's place in the list.
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
    let combined = distinct(&sweep.combined).into_iter().zip(1..).map(|(condition, place): (Condition, u32)| {
        (Varied::Combined, in_short(&condition), f64::from(place), condition)
    });
    loss.chain(delay).chain(rate).chain(combined).collect()
}

/// `50ms+1%+1Mbit`: units tell what is what.
fn in_short(condition: &Condition) -> String {
    if condition.is_baseline() {
        return "none".to_owned();
    }
    let Condition { delay, jitter, loss, rate, queue_limit } = condition;
    let parts = [
        (*delay != Delay::ZERO).then(|| delay.to_string()),
        (*jitter != Delay::ZERO).then(|| format!("j{jitter}")),
        (*loss != Loss::NONE).then(|| loss.to_string()),
        rate.map(|rate| rate.to_string()),
        queue_limit.map(|limit| format!("q{}", limit.packets())),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("+")
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
    fn a_combination_is_one_cell_with_all_its_parts() {
        let combined = ["delay=50ms,loss=1%,rate=1Mbit", "delay=0"].map(|text| text.parse().unwrap()).to_vec();
        let scenario = original(Overrides { combined: Some(combined), ..Overrides::default() });
        let cells = cells(&scenario, 1);
        let ids: Vec<&str> = cells.iter().map(|cell| cell.id.as_str()).collect();
        assert_eq!(ids, ["combined-50ms+1%+1Mbit-r1", "combined-none-r1"]);
        assert_eq!(cells[0].condition.to_string(), "delay 50ms, loss 1%, rate 1Mbit");
    }

    #[test]
    fn a_value_named_twice_is_one_cell() {
        let values = ["20ms", "20ms", "0.02s"].map(|text| text.parse().unwrap()).to_vec();
        let scenario = original(Overrides { delay: Some(values), ..Overrides::default() });
        assert_eq!(cells(&scenario, 1).len(), 1);
    }
}
