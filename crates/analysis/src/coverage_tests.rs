//! Coverage of the nominal 95 % confidence intervals (CIs), in thousands of synthetic runs with known statistics.
//!
//! A population is a large set of repetitions. An experiment draws a few of them, as a run does, and checks whether
//! their CI contains the statistic of the whole population. Repetitions differ in latency level, in the rates of stalls
//! and failures and in the number of operations; operations of one repetition are correlated.

use std::fmt::Write;

use model::Outcome;

use crate::confidence_interval::{ConfidenceInterval, Estimate, MIN_REPETITIONS, MissingInterval};
use crate::outcome_counts::OutcomeCounts;
use crate::percentile::{Sorted, mean, percentile};
use crate::random::Random;
use crate::statistic::Statistic;

const POPULATION: usize = 500;
const OPERATIONS: f64 = 500.0;
/// Minimum coverage of nominal 95 %, percent.
const MIN_COVERAGE: f64 = 93.0;
/// Numbers of repetitions and of experiments. With so few experiments the bounds are 88 to 90 % in one population and
/// 91 % over all populations; [`experiment_factor`] multiplies their number.
const EXPERIMENTS: [(usize, usize); 3] = [(MIN_REPETITIONS, 250), (10, 250), (20, 125)];

/// Parameters of a population's operations.
struct PopulationModel {
    name: &'static str,
    base_ms: f64,
    /// Standard deviation of the logarithm between repetitions and within one.
    spreads: (f64, f64),
    /// Mean fraction of operations that wait for a retransmission timeout.
    stalled: f64,
    failed: f64,
}

const MODELS: [PopulationModel; 4] = [
    PopulationModel { name: "unshaped link", base_ms: 2.0, spreads: (0.1, 0.4), stalled: 0.0, failed: 0.02 },
    PopulationModel { name: "p95 at a jump", base_ms: 2.0, spreads: (0.1, 0.4), stalled: 0.05, failed: 0.02 },
    PopulationModel { name: "delay, 20 % stalls", base_ms: 50.0, spreads: (0.18, 0.4), stalled: 0.2, failed: 0.05 },
    PopulationModel { name: "delay, drifting", base_ms: 100.0, spreads: (0.03, 0.03), stalled: 0.0, failed: 0.02 },
];

struct Repetition {
    latency_ms: Sorted,
    counts: OutcomeCounts,
}

impl PopulationModel {
    fn repetition(&self, random: &mut Random) -> Repetition {
        let mut factor = |spread: f64| (spread * random.normal()).exp();
        let (level, n) = (self.base_ms * factor(self.spreads.0), (OPERATIONS * factor(0.05)) as usize);
        let (stalled, failed) = (self.stalled * factor(0.3), self.failed * factor(0.4));
        let mut slow = random.normal();
        let (mut latency_ms, mut outcomes) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for _ in 0..n {
            // Autoregressive process: consecutive operations are correlated.
            slow = 0.5 * slow + 0.75_f64.sqrt() * random.normal();
            let stall = if random.uniform() < stalled { self.stall(random) } else { 0.0 };
            if random.uniform() < failed {
                outcomes.push(Outcome::Timeout);
            } else {
                outcomes.push(Outcome::Ok);
                latency_ms.push(level * (self.spreads.1 * slow).exp() + stall);
            }
        }
        Repetition { latency_ms: Sorted::new(latency_ms), counts: outcomes.into_iter().collect() }
    }

    /// Returns the length of one or two retransmission timeouts.
    fn stall(&self, random: &mut Random) -> f64 {
        let second = if random.uniform() < 0.15 { 400.0 } else { 0.0 };
        205.0 * (0.1 * random.normal()).exp() + second
    }
}

/// Returns the estimates of each statistic, then of the error rate.
fn estimates(repetitions: &[&Repetition], random: &mut Random) -> [Estimate; 5] {
    let each: Vec<&Sorted> = repetitions.iter().map(|one| &one.latency_ms).collect();
    let pooled = Sorted::new(joined(&each));
    let counts: Vec<OutcomeCounts> = repetitions.iter().map(|one| one.counts).collect();
    let [p50, p95, p99, mean] = [Statistic::P50, Statistic::P95, Statistic::P99, Statistic::Mean]
        .map(|statistic| Estimate::of(&pooled, &each, statistic, random));
    [p50, p95, p99, mean, Estimate::error_percent(&counts, random)]
}

fn draw<'a>(population: &'a [Repetition], n: usize, random: &mut Random) -> Vec<&'a Repetition> {
    (0..n).map(|_| &population[(random.uniform() * population.len() as f64) as usize]).collect()
}

/// Returns the statistics of the whole population, in the order of [`estimates`].
fn true_values(population: &[Repetition]) -> [f64; 5] {
    let pooled = Sorted::new(joined(&population.iter().map(|one| &one.latency_ms).collect::<Vec<_>>()));
    let [p50, p95, p99] = [0.50, 0.95, 0.99].map(|q| percentile(&pooled, q).unwrap());
    let (errors, total) =
        population.iter().fold((0, 0), |sum, one| (sum.0 + one.counts.errors(), sum.1 + one.counts.total()));
    [p50, p95, p99, mean(&pooled).unwrap(), 100.0 * errors as f64 / total as f64]
}

/// Returns the coverage, percent, and how many of a thousand CIs had no upper bound.
fn coverage(
    (population, true_values): (&[Repetition], &[f64; 5]),
    (n, experiments): (usize, usize),
    random: &mut Random,
) -> ([f64; 5], [usize; 5]) {
    let (mut covered, mut unbounded) = ([0_usize; 5], [0; 5]);
    for _ in 0..experiments {
        for (index, got) in estimates(&draw(population, n, random), random).into_iter().enumerate() {
            let true_value = true_values[index];
            covered[index] += usize::from(match got.interval {
                Ok(ConfidenceInterval { low, high }) => low <= true_value && true_value <= high,
                Err(MissingInterval::Unbounded { low }) => {
                    unbounded[index] += 1;
                    low <= true_value
                }
                Err(other) => panic!("no CI of {n} repetitions: {other}"),
            });
        }
    }
    (covered.map(|count| percent(count, experiments)), unbounded.map(|count| count * 1000 / experiments))
}

fn percent(count: usize, of: usize) -> f64 {
    100.0 * count as f64 / of as f64
}

/// Returns two standard errors of the coverage at [`MIN_COVERAGE`], percent: the deviation that chance explains.
fn random_error(experiments: usize) -> f64 {
    2.0 * (MIN_COVERAGE * (100.0 - MIN_COVERAGE) / experiments as f64).sqrt()
}

fn from_environment(variable: &str) -> u64 {
    std::env::var(variable).map_or(1, |text| text.parse().unwrap())
}

fn seed() -> u64 {
    // Other seeds show that the bound does not hold by chance: COVERAGE_SEED=2 cargo test coverage -- --nocapture
    from_environment("COVERAGE_SEED")
}

/// Returns the factor of the number of experiments. The figures in docs/measuring.md are those of `COVERAGE_TIMES=4`.
fn experiment_factor() -> usize {
    usize::try_from(from_environment("COVERAGE_TIMES")).unwrap()
}

/// Returns [`EXPERIMENTS`] multiplied by [`experiment_factor`].
fn scaled_experiments() -> [(usize, usize); 3] {
    EXPERIMENTS.map(|(n, experiments)| (n, experiments * experiment_factor()))
}

/// Measures the coverage in one population, for each number of repetitions in [`EXPERIMENTS`].
fn coverage_in(model: &PopulationModel) -> [([f64; 5], [usize; 5]); 3] {
    let mut random = Random::new(seed(), &["coverage", model.name]);
    let population: Vec<Repetition> = (0..POPULATION).map(|_| model.repetition(&mut random)).collect();
    let true_values = true_values(&population);
    scaled_experiments().map(|experiments| coverage((&population, &true_values), experiments, &mut random))
}

#[test]
#[allow(clippy::print_stdout, reason = "prints the table of results")]
fn nominal_95_percent_intervals_cover_at_least_93_percent() {
    let results = std::thread::scope(|scope| {
        let threads = MODELS.each_ref().map(|model| scope.spawn(|| coverage_in(model)));
        threads.map(|thread| thread.join().unwrap())
    });
    let mut table = format!("{:20}  n     p50     p95     p99    mean   errors  (of 1000 without upper bound)\n", "");
    for (model, result) in MODELS.iter().zip(&results) {
        for ((n, experiments), (covered, unbounded)) in scaled_experiments().iter().zip(result) {
            writeln!(table, "{:20} {n:2}{}  {unbounded:?}", model.name, format_percents(covered)).unwrap();
            assert!(covered.iter().all(|percent| *percent >= MIN_COVERAGE - random_error(*experiments)), "{table}");
        }
    }
    for (index, (n, experiments)) in scaled_experiments().iter().enumerate() {
        let mean = |one: usize| results.iter().map(|result| result[index].0[one]).sum::<f64>() / MODELS.len() as f64;
        let covered: [f64; 5] = std::array::from_fn(mean);
        writeln!(table, "{:20} {n:2}{}", "all", format_percents(&covered)).unwrap();
        let bound = MIN_COVERAGE - random_error(MODELS.len() * experiments);
        assert!(covered.iter().all(|percent| *percent >= bound), "{table}");
    }
    println!("{table}");
}

fn format_percents(percents: &[f64]) -> String {
    percents.iter().map(|percent| format!("{percent:6.1} %")).collect()
}

fn joined(repetitions: &[&Sorted]) -> Vec<f64> {
    repetitions.iter().flat_map(|values| values.iter()).collect()
}

/// Adds repetitions until the relative half-width of the median's CI is at most `target`, or there are 40; returns
/// their number and the estimate.
fn repeat_until(population: &[Repetition], target: f64, random: &mut Random) -> (usize, Estimate) {
    let (mut each, mut pooled) = (Vec::new(), Sorted::default());
    loop {
        let added = if each.is_empty() { MIN_REPETITIONS } else { 1 };
        let drawn: Vec<&Sorted> = draw(population, added, random).into_iter().map(|one| &one.latency_ms).collect();
        // Joins two sorted sets: sorting all repetitions again took most of this test's time.
        pooled = Sorted::merged(std::iter::once(&pooled).chain(drawn.iter().copied()));
        each.extend(drawn);
        let got = Estimate::of(&pooled, &each, Statistic::P50, random);
        if each.len() == 40 || got.relative_half_width().is_some_and(|width| width <= target) {
            return (each.len(), got);
        }
    }
}

/// Stopping when a CI happens to be narrow favours CIs that are too narrow; the test limits the loss of coverage.
#[test]
#[allow(clippy::print_stdout, reason = "prints the results")]
fn the_stopping_rule_costs_little_coverage() {
    const RUNS: usize = 500;
    let mut random = Random::new(seed(), &["stopping"]);
    let population: Vec<Repetition> = (0..POPULATION).map(|_| MODELS[0].repetition(&mut random)).collect();
    let true_value = percentile(&Sorted::merged(population.iter().map(|one| &one.latency_ms)), 0.5).unwrap();
    for target in [0.10, 0.07] {
        let (mut covered, mut repetitions) = (0, 0);
        for _ in 0..RUNS {
            let (n, got) = repeat_until(&population, target, &mut random);
            let ConfidenceInterval { low, high } = got.interval.unwrap();
            covered += usize::from(low <= true_value && true_value <= high);
            repetitions += n;
        }
        let mean = repetitions as f64 / RUNS as f64;
        println!("until {:.0} %: {:.1} % covered, {mean:.1} repetitions", 100.0 * target, percent(covered, RUNS));
        assert!(percent(covered, RUNS) >= 91.0, "until {target}: {} %", percent(covered, RUNS));
    }
}

/// Computes the percentile bootstrap CI of the mean of the repetitions' medians: the middle 95 % of resampled means.
fn percentile_bootstrap(medians: &[f64], random: &mut Random) -> ConfidenceInterval {
    let n = medians.len();
    let resample = |random: &mut Random| -> f64 {
        (0..n).map(|_| medians[(random.uniform() * n as f64) as usize]).sum::<f64>() / n as f64
    };
    let means: Sorted = (0..1000).map(|_| resample(random)).collect();
    ConfidenceInterval { low: percentile(&means, 0.025).unwrap(), high: percentile(&means, 0.975).unwrap() }
}

#[test]
fn a_percentile_bootstrap_would_miss_the_minimum_coverage() {
    const RUNS: usize = 1000;
    let mut random = Random::new(seed(), &["percentile bootstrap"]);
    let population: Vec<Repetition> = (0..POPULATION).map(|_| MODELS[0].repetition(&mut random)).collect();
    let median = |one: &Repetition| percentile(&one.latency_ms, 0.5).unwrap();
    let true_value = population.iter().map(median).sum::<f64>() / POPULATION as f64;
    let covers = |random: &mut Random| {
        let medians: Vec<f64> = draw(&population, 5, random).into_iter().map(median).collect();
        let ConfidenceInterval { low, high } = percentile_bootstrap(&medians, random);
        low <= true_value && true_value <= high
    };
    let covered = percent((0..RUNS).filter(|_| covers(&mut random)).count(), RUNS);
    assert!(covered < MIN_COVERAGE - 5.0, "{covered} %");
}
