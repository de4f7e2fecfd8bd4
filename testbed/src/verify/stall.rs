//! Stall check: whether the server itself caused the slow operations of a cell. Pure.
//!
//! A server that commits to a slow disk, queues requests or hashes passwords adds time to the latency that a reader
//! attributes to the link. The check computes how far a percentile would fall if no response had taken the server
//! longer than the median of its operation.

use std::collections::BTreeMap;

use analysis::{Sorted, Statistic, percentile};
use model::sample::{Outcome, Phase, Sample};

/// Percentiles that are checked.
const PERCENTILES: [(Statistic, f64); 2] = [(Statistic::P95, 0.95), (Statistic::P99, 0.99)];
/// A stall is reported if slow responses of the server account for this share of a percentile …
const MIN_SHARE: f64 = 0.2;
/// … and for this time, milliseconds. Less also occurs without a stall: two passwords hashed simultaneously suffice.
const MIN_EXCESS_MS: f64 = 10.0;

/// Fewer values above a percentile are chance, not a tail.
const MIN_BEYOND: f64 = 5.0;

/// Component of a response's time in the server.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Component {
    Queue,
    Database,
    Other,
}

impl Component {
    const ALL: [Self; 3] = [Self::Queue, Self::Database, Self::Other];

    /// Returns the component's time in milliseconds; `None` if the response does not contain it.
    fn of(self, sample: &Sample) -> Option<f64> {
        let (queue, database) = (sample.server_queue_ms, sample.server_database_ms);
        match self {
            Self::Queue => queue,
            Self::Database => database,
            Self::Other => Some((sample.server_ms? - queue? - database?).max(0.0)),
        }
    }

    /// Returns the cause, and what to do about it.
    fn cause_and_fix(self) -> &'static str {
        match self {
            Self::Queue => {
                "requests queued in the server: use fewer clients or a lower arrival rate, or find what delays commits"
            }
            Self::Database => {
                "the database was slow: keep it in memory (--storage memory, the default), or find what else locks it"
            }
            Self::Other => {
                "processing was slow (CPU load, or password hashing): use fewer clients or a lower password_memory_kib"
            }
        }
    }
}

/// Slow tail of one operation, or of all operations.
struct Tail<'a> {
    operation: &'a str,
    percentiles: Vec<Percentile>,
    /// Component with the most time in the tail.
    component: Component,
}

/// Percentile of the latency.
struct Percentile {
    statistic: Statistic,
    value_ms: f64,
    /// The percentile without the excess of slow responses.
    without_excess_ms: f64,
}

/// Sample, and its excess: how much longer than the median of its operation the server took, milliseconds.
type WithExcess<'a> = (&'a Sample, f64);

/// Returns a description of the slow tail that the server caused: operation, shares and cause. Empty if there is none.
pub(crate) fn of(samples: &[Sample]) -> String {
    let mut by_operation: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    let is_counted = |sample: &&Sample| sample.phase == Phase::Measured && sample.outcome == Outcome::Ok;
    for sample in samples.iter().filter(is_counted) {
        by_operation.entry(&sample.operation).or_default().push(sample);
    }
    let by_operation: BTreeMap<&str, Vec<WithExcess>> =
        by_operation.into_iter().map(|(operation, samples)| (operation, with_excess(samples))).collect();
    let all: Vec<WithExcess> = by_operation.values().flatten().copied().collect();
    let each = by_operation.iter().map(|(operation, samples)| (*operation, samples));
    // `max_by` returns the last of equal tails: a single operation is preferred to all of them.
    let groups = [("all operations", &all)].into_iter().chain(each);
    let tails = groups.filter_map(|(operation, samples)| Tail::caused_by_server(operation, samples));
    let worst = tails.max_by(|a, b| a.excess_ms().total_cmp(&b.excess_ms()));
    worst.map_or_else(String::new, |tail| tail.description())
}

fn with_excess(samples: Vec<&Sample>) -> Vec<WithExcess<'_>> {
    let median = percentile(&samples.iter().filter_map(|sample| sample.server_ms).collect(), 0.5).unwrap_or(f64::MAX);
    let excess = |sample: &Sample| sample.server_ms.map_or(0.0, |server| (server - median).max(0.0));
    samples.into_iter().map(|sample| (sample, excess(sample))).collect()
}

impl<'a> Tail<'a> {
    fn caused_by_server(operation: &'a str, samples: &[WithExcess]) -> Option<Self> {
        let latencies: Sorted = samples.iter().map(|(sample, _)| sample.latency_ms).collect();
        let without_excess: Sorted = samples.iter().map(|(sample, excess)| sample.latency_ms - excess).collect();
        let compare = |(statistic, quantile): (Statistic, f64)| {
            let has_tail = samples.len() as f64 * (1.0 - quantile) >= MIN_BEYOND;
            let (value_ms, without_excess_ms) =
                (percentile(&latencies, quantile)?, percentile(&without_excess, quantile)?);
            has_tail.then_some(Percentile { statistic, value_ms, without_excess_ms })
        };
        let percentiles: Vec<Percentile> = PERCENTILES.into_iter().filter_map(compare).collect();
        let threshold_ms = percentiles.iter().find(|percentile| percentile.is_caused_by_server())?.value_ms;
        let tail = || samples.iter().filter(|(sample, _)| sample.latency_ms >= threshold_ms);
        let total = |component: Component| tail().filter_map(|(sample, _)| component.of(sample)).sum::<f64>();
        let component = Component::ALL.into_iter().max_by(|a, b| total(*a).total_cmp(&total(*b)))?;
        Some(Self { operation, percentiles, component })
    }

    fn excess_ms(&self) -> f64 {
        self.percentiles.iter().map(Percentile::excess_ms).fold(0.0, f64::max)
    }

    fn description(&self) -> String {
        let share = |percentile: &Percentile| {
            let percent = percentile.excess_ms() / percentile.value_ms * 100.0;
            format!("{percent:.0}% of its {} ({:.1} ms)", percentile.statistic, percentile.value_ms)
        };
        let shares: Vec<String> = self.percentiles.iter().map(share).collect();
        let (operation, cause) = (self.operation, self.component.cause_and_fix());
        format!("{operation}: slow server responses account for {}; main cause: {cause}", shares.join(" and "))
    }
}

impl Percentile {
    fn excess_ms(&self) -> f64 {
        self.value_ms - self.without_excess_ms
    }

    fn is_caused_by_server(&self) -> bool {
        self.excess_ms() >= MIN_EXCESS_MS && self.excess_ms() >= MIN_SHARE * self.value_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A login over a link of 100 ms, with these components of the server's time.
    fn login(queue_ms: f64, database_ms: f64) -> Sample {
        let server_ms = 1.0 + queue_ms + database_ms;
        Sample {
            server_ms: Some(server_ms),
            server_queue_ms: Some(queue_ms),
            server_database_ms: Some(database_ms),
            ..Sample::with_latency("login", Outcome::Ok, 200.0 + server_ms)
        }
    }

    fn with_slow(count: usize, slow: &Sample) -> Vec<Sample> {
        let usual = (0..600 - count).map(|_| login(0.0, 0.2));
        usual.chain(std::iter::repeat_n(slow.clone(), count)).collect()
    }

    #[test]
    fn logins_that_queued_behind_a_commit_are_a_stall_of_the_server() {
        let stall = of(&with_slow(48, &login(390.0, 0.2)));
        assert!(
            stall.starts_with("login: slow server responses account for 66% of its p95 (591.2 ms) and 66%"),
            "{stall}"
        );
        assert!(stall.contains("main cause: requests queued"), "{stall}");
        let stall = of(&with_slow(48, &login(0.0, 402.0)));
        assert!(stall.contains("--storage memory"), "{stall}");
    }

    #[test]
    fn slow_responses_that_move_no_percentile_and_other_causes_are_no_stall() {
        assert_eq!(of(&with_slow(0, &login(0.0, 0.0))), "");
        // 5 of 600 are above the p99.
        assert_eq!(of(&with_slow(5, &login(402.0, 0.0))), "");
        // Of 40, 2 are above the p95.
        assert_eq!(of(&with_slow(48, &login(402.0, 0.0))[540..580]), "");
        // A retransmission on the link, and passwords that wait for another one to be hashed.
        let lost = Sample { latency_ms: 1_200.0, ..login(0.0, 0.2) };
        assert_eq!(of(&with_slow(120, &lost)), "");
        assert_eq!(of(&with_slow(120, &login(8.0, 0.2))), "");
        // Always equally slow: the application, not a stall.
        assert_eq!(of(&with_slow(600, &login(0.0, 402.0))), "");
        let failed = Sample { outcome: Outcome::Timeout, ..login(402.0, 0.0) };
        assert_eq!(of(&with_slow(120, &failed)), "");
    }

    #[test]
    fn an_operation_that_is_always_slower_than_others_is_no_stall() {
        let slow = Sample { operation: "report".to_owned(), ..login(0.0, 300.0) };
        assert_eq!(of(&with_slow(120, &slow)), "");
    }
}
