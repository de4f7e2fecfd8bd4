//! The plan: which cells a scenario has, in which order, with which seeds. Pure.

use model::{Cell, Condition, Delay, Loss, Rate, SweptParameter};

use crate::scenario::Scenario;

/// Keep apart what follows from the run's seed: any distinct numbers.
const WORKLOADS: u64 = 0x776f_726b_6c6f_6164;
const ORDER: u64 = 0x6f72_6465_7200_0000;

/// All cells of a scenario: repetition by repetition, and in each the sweep's values in their order.
pub(crate) fn cells(scenario: &Scenario, seed: u64) -> Vec<Cell> {
    let conditions = sweep_conditions(scenario);
    let mut cells = Vec::with_capacity(conditions.len() * scenario.repetitions as usize);
    for repetition in 1..=scenario.repetitions {
        for (swept_parameter, value, magnitude, condition) in &conditions {
            cells.push(Cell {
                id: format!("{}-{value}-r{repetition}", swept_parameter.as_str()),
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

/// In which order cells are measured, as places in `cells`: repetition by repetition, and in each the conditions shuffled
/// (a randomised complete block design), so that what changes slowly on the machine does not look like an effect of the
/// condition. A single repetition keeps the sweep's order.
pub(crate) fn order(cells: &[Cell], seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..cells.len()).collect();
    if cells.iter().all(|cell| cell.repetition == 1) {
        return order;
    }
    let mut draws = (0..).map(|index| split_mix(seed ^ ORDER, index));
    for block in order.chunk_by_mut(|a, b| cells[*a].repetition == cells[*b].repetition) {
        // Fisher and Yates, from the end; a remainder of 64 random bits is as even as anybody can tell.
        for placement in (1..block.len()).rev() {
            let draw = draws.next().unwrap_or_default();
            block.swap(placement, (draw % (placement as u64 + 1)) as usize);
        }
    }
    order
}

fn sweep_conditions(scenario: &Scenario) -> Vec<(SweptParameter, String, f64, Condition)> {
    let sweep = &scenario.sweep;
    let loss = distinct(&sweep.loss).into_iter().map(|loss: Loss| {
        (SweptParameter::Loss, loss.to_string(), loss.fraction() * 100.0, Condition { loss, ..Condition::BASELINE })
    });
    let delay = distinct(&sweep.delay).into_iter().map(|delay: Delay| {
        let milliseconds = delay.as_duration().as_secs_f64() * 1_000.0;
        (SweptParameter::Delay, delay.to_string(), milliseconds, Condition { delay, ..Condition::BASELINE })
    });
    let rate = distinct(&sweep.rate).into_iter().map(|rate: Rate| {
        let kilobits = rate.bits_per_second() as f64 / 1_000.0;
        (SweptParameter::Rate, rate.to_string(), kilobits, Condition { rate: Some(rate), ..Condition::BASELINE })
    });
    let combined = distinct(&sweep.combined).into_iter().zip(1..).map(|(condition, placement): (Condition, u32)| {
        (SweptParameter::Combined, in_short(&condition), f64::from(placement), condition)
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

    fn default_scenario(overrides: Overrides) -> Scenario {
        Scenario::load("default").unwrap().with(overrides)
    }

    #[test]
    fn the_original_sweep_has_nine_cells_each_with_one_thing_varied() {
        let cells = cells(&default_scenario(Overrides::default()), 7);
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
        let scenario = default_scenario(Overrides { repetitions: Some(3), ..Overrides::default() });
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
        let scenario = default_scenario(Overrides { repetitions: Some(4), ..Overrides::default() });
        let plan = cells(&scenario, 7);
        let places = order(&plan, 7);
        assert_eq!(places, order(&plan, 7));
        assert_ne!(places, order(&plan, 8));
        let repetitions: Vec<u32> = places.iter().map(|placement| plan[*placement].repetition).collect();
        assert!(repetitions.is_sorted());
        let block =
            |number: usize| places[9 * number..9 * (number + 1)].iter().map(|placement| placement % 9).collect();
        let blocks: [Vec<usize>; 4] = std::array::from_fn(block);
        for block in &blocks {
            let mut sorted = block.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..9).collect::<Vec<_>>());
        }
        assert!(blocks.windows(2).all(|pair| pair[0] != pair[1]), "{blocks:?}");
        let single = cells(&default_scenario(Overrides::default()), 7);
        assert!(order(&single, 7).is_sorted());
    }

    #[test]
    fn every_place_of_a_block_is_taken_by_every_condition_about_as_often() {
        let plan = cells(&default_scenario(Overrides { repetitions: Some(900), ..Overrides::default() }), 7);
        let first_places = order(&plan, 3).into_iter().step_by(9).map(|placement| placement % 9);
        let mut counts = [0; 9];
        first_places.for_each(|condition| counts[condition] += 1);
        // 100 expected; five standard deviations are 47.
        assert!(counts.iter().all(|count| (53..=147).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_cells_of_a_repetition_have_the_same_shoppers_and_different_losses() {
        let plan = cells(&default_scenario(Overrides { repetitions: Some(2), ..Overrides::default() }), 7);
        assert!(plan[..9].iter().all(|cell| cell.workload_seed == plan[0].workload_seed));
        assert_ne!(plan[0].workload_seed, plan[9].workload_seed);
    }

    #[test]
    fn a_combination_is_one_cell_with_all_its_parts() {
        let combined = ["delay=50ms,loss=1%,rate=1Mbit", "delay=0"].map(|text| text.parse().unwrap()).to_vec();
        let scenario = default_scenario(Overrides { combined: Some(combined), ..Overrides::default() });
        let cells = cells(&scenario, 1);
        let ids: Vec<&str> = cells.iter().map(|cell| cell.id.as_str()).collect();
        assert_eq!(ids, ["combined-50ms+1%+1Mbit-r1", "combined-none-r1"]);
        assert_eq!(cells[0].condition.to_string(), "delay 50ms, loss 1%, rate 1Mbit");
    }

    #[test]
    fn cells_seeds_and_order_are_those_that_were_recorded() {
        let combined = ["delay=50ms,loss=1%,rate=1Mbit", "delay=0"].map(|text| text.parse().unwrap()).to_vec();
        let mut text = String::new();
        for combined in [None, Some(combined)] {
            let plan =
                cells(&default_scenario(Overrides { repetitions: Some(3), combined, ..Overrides::default() }), 2026);
            for placement in order(&plan, 2026) {
                let Cell { id, seed, workload_seed, condition, .. } = &plan[placement];
                text += &format!("{id}: {condition}, drops {seed}, workload {workload_seed}\n");
            }
        }
        test_support::assert_golden(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scenario/plan/golden.txt"), &text);
    }

    #[test]
    fn a_value_named_twice_is_one_cell() {
        let values = ["20ms", "20ms", "0.02s"].map(|text| text.parse().unwrap()).to_vec();
        let scenario = default_scenario(Overrides { delay: Some(values), ..Overrides::default() });
        assert_eq!(cells(&scenario, 1).len(), 1);
    }
}
