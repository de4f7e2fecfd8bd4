//! The plan: cells of a scenario, their order and seeds. Pure.

use model::{Cell, Condition, Delay, Loss, Rate, SweptParameter};

use crate::scenario::Scenario;
use crate::scenario::sweep::Sweep;

/// Distinct numbers, which separate the random streams of the run's seed.
const WORKLOADS: u64 = 0x776f_726b_6c6f_6164;
const ORDER: u64 = 0x6f72_6465_7200_0000;

/// Returns all cells of a scenario: by repetition, and in each repetition the sweep's values in their order.
pub(crate) fn cells(scenario: &Scenario, seed: u64) -> Vec<Cell> {
    let conditions = sweep_conditions(scenario);
    let mut cells = Vec::with_capacity(conditions.len() * scenario.repetitions() as usize);
    for repetition in 1..=scenario.repetitions() {
        for (swept_parameter, value, magnitude, condition) in &conditions {
            cells.push(Cell {
                id: format!("{}-{value}-r{repetition}", swept_parameter.name()),
                swept_parameter: *swept_parameter,
                value: value.clone(),
                magnitude: *magnitude,
                repetition,
                condition: *condition,
                seed: split_mix(seed, cells.len() as u64),
                workload_seed: split_mix(seed ^ WORKLOADS, u64::from(repetition)),
            });
        }
    }
    cells
}

/// Returns the order in which cells are measured, as indices of `cells`: by repetition, and in each repetition the
/// conditions shuffled (a randomised complete block design). A slow change of the host then does not look like an
/// effect of the condition. A single repetition keeps the sweep's order.
pub(crate) fn order(cells: &[Cell], seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..cells.len()).collect();
    if cells.iter().all(|cell| cell.repetition == 1) {
        return order;
    }
    let mut draws = (0..).map(|index| split_mix(seed ^ ORDER, index));
    for block in order.chunk_by_mut(|a, b| cells[*a].repetition == cells[*b].repetition) {
        // Fisher–Yates shuffle from the end. The bias of a remainder of 64 random bits is negligible.
        for index in (1..block.len()).rev() {
            let draw = draws.next().unwrap_or_default();
            block.swap(index, (draw % (index as u64 + 1)) as usize);
        }
    }
    order
}

fn sweep_conditions(scenario: &Scenario) -> Vec<(SweptParameter, String, f64, Condition)> {
    let Sweep { loss, delay, rate, combined } = &scenario.sweep;
    let loss = distinct(loss).into_iter().map(|loss: Loss| {
        (SweptParameter::Loss, loss.to_string(), loss.fraction() * 100.0, Condition { loss, ..Condition::BASELINE })
    });
    let delay = distinct(delay).into_iter().map(|delay: Delay| {
        let milliseconds = delay.as_duration().as_secs_f64() * 1_000.0;
        (SweptParameter::Delay, delay.to_string(), milliseconds, Condition { delay, ..Condition::BASELINE })
    });
    let rate = distinct(rate).into_iter().map(|rate: Rate| {
        let kilobits = rate.bits_per_second() as f64 / 1_000.0;
        (SweptParameter::Rate, rate.to_string(), kilobits, Condition { rate: Some(rate), ..Condition::BASELINE })
    });
    let combined = distinct(combined).into_iter().zip(1..).map(|(condition, number): (Condition, u32)| {
        (SweptParameter::Combined, short_label(&condition), f64::from(number), condition)
    });
    loss.chain(delay).chain(rate).chain(combined).collect()
}

/// `50ms+1%+1Mbit`: the units identify the settings.
fn short_label(condition: &Condition) -> String {
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

/// Returns the values without duplicates: cell ids must be unique.
fn distinct<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut seen: Vec<T> = Vec::new();
    for value in values {
        if !seen.contains(value) {
            seen.push(*value);
        }
    }
    seen
}

/// Returns seed number `index` derived from `seed`: the output function of SplitMix64 (Steele, Lea and Flood, "Fast
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
    use crate::scenario::tests::default_with;

    #[test]
    fn the_default_sweep_has_nine_cells_each_with_one_impairment_at_most() {
        let cells = cells(&default_with(&[]), 7);
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
    fn the_same_seed_gives_the_same_plan_and_every_cell_has_its_own_seed() {
        let scenario = default_with(&["--repetitions=3"]);
        let plan = cells(&scenario, 7);
        assert_eq!(plan, cells(&scenario, 7));
        assert_ne!(plan, cells(&scenario, 8));
        let mut seeds: Vec<u64> = plan.iter().map(|cell| cell.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 27);
    }

    #[test]
    fn repetitions_are_shuffled_within_themselves_and_a_single_one_is_not() {
        let scenario = default_with(&["--repetitions=4"]);
        let plan = cells(&scenario, 7);
        let indices = order(&plan, 7);
        assert_eq!(indices, order(&plan, 7));
        assert_ne!(indices, order(&plan, 8));
        let repetitions: Vec<u32> = indices.iter().map(|index| plan[*index].repetition).collect();
        assert!(repetitions.is_sorted());
        let block = |number: usize| indices[9 * number..9 * (number + 1)].iter().map(|index| index % 9).collect();
        let blocks: [Vec<usize>; 4] = std::array::from_fn(block);
        for block in &blocks {
            let mut sorted = block.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..9).collect::<Vec<_>>());
        }
        assert!(blocks.windows(2).all(|pair| pair[0] != pair[1]), "{blocks:?}");
        let single = cells(&default_with(&[]), 7);
        assert!(order(&single, 7).is_sorted());
    }

    #[test]
    fn every_condition_comes_first_in_a_block_about_as_often() {
        let plan = cells(&default_with(&["--repetitions=900"]), 7);
        let first_conditions = order(&plan, 3).into_iter().step_by(9).map(|index| index % 9);
        let mut counts = [0; 9];
        first_conditions.for_each(|condition| counts[condition] += 1);
        // 100 expected; five standard deviations are 47.
        assert!(counts.iter().all(|count| (53..=147).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_cells_of_a_repetition_have_the_same_workload_and_different_drops() {
        let plan = cells(&default_with(&["--repetitions=2"]), 7);
        assert!(plan[..9].iter().all(|cell| cell.workload_seed == plan[0].workload_seed));
        assert_ne!(plan[0].workload_seed, plan[9].workload_seed);
    }

    #[test]
    fn a_combination_is_one_cell_with_all_its_impairments() {
        let scenario = default_with(&["--combined=delay=50ms,loss=1%,rate=1Mbit", "--combined=delay=0"]);
        let cells = cells(&scenario, 1);
        let ids: Vec<&str> = cells.iter().map(|cell| cell.id.as_str()).collect();
        assert_eq!(ids, ["combined-50ms+1%+1Mbit-r1", "combined-none-r1"]);
        assert_eq!(cells[0].condition.to_string(), "delay 50ms, loss 1%, rate 1Mbit");
    }

    #[test]
    fn cells_seeds_and_order_match_the_golden_file() {
        let mut text = String::new();
        let combined = ["--combined=delay=50ms,loss=1%,rate=1Mbit", "--combined=delay=0"];
        for combined in [&[][..], &combined] {
            let plan = cells(&default_with(&[&["--repetitions=3"], combined].concat()), 2026);
            for index in order(&plan, 2026) {
                let Cell { id, seed, workload_seed, condition, .. } = &plan[index];
                text += &format!("{id}: {condition}, drops {seed}, workload {workload_seed}\n");
            }
        }
        test_support::assert_golden(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scenario/plan/golden.txt"), &text);
    }

    #[test]
    fn a_duplicate_value_is_one_cell() {
        let scenario = default_with(&["--delay=20ms,20ms,0.02s"]);
        assert_eq!(cells(&scenario, 1).len(), 1);
    }
}
