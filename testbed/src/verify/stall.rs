//! Did the server itself make the slow operations of a cell? Pure.
//!
//! A server that commits to a slow disk, queues requests or hashes passwords adds its own time to latencies that a reader
//! takes for the link's. The check asks how far a percentile would fall if no response had taken the server longer than is
//! usual for its operation.

use std::collections::BTreeMap;

use analysis::{Sorted, Statistic, percentile};
use model::sample::{Outcome, Phase, Sample};

/// Percentiles that are looked at.
const PERCENTILES: [(Statistic, f64); 2] = [(Statistic::P95, 0.95), (Statistic::P99, 0.99)];
/// A percentile is the server's when its slow responses make up this share of it …
const MIN_SHARE: f64 = 0.2;
/// … and this much, milliseconds: below, a sound server has it by a password or two that are hashed at once.
const MIN_EXCESS_MS: f64 = 10.0;

/// Fewer values beyond a percentile are chance, not a tail.
const MIN_BEYOND: f64 = 5.0;

/// Where a response's time in the server went.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Attempt {
    Queue,
    Database,
    Other,
}

impl Attempt {
    const ALL: [Self; 3] = [Self::Queue, Self::Database, Self::Other];

    /// Milliseconds of it; `None` when the response did not say.
    fn of(self, sample: &Sample) -> Option<f64> {
        let (queue, database) = (sample.server_queue_ms, sample.server_database_ms);
        match self {
            Self::Queue => queue,
            Self::Database => database,
            Self::Other => Some((sample.server_ms? - queue? - database?).max(0.0)),
        }
    }

    /// What it is, and what to do about it.
    fn remedy(self) -> &'static str {
        match self {
            Self::Queue => {
                "requests queued in the server: use fewer clients or a lower arrival rate, or see what holds up its commits"
            }
            Self::Database => {
                "the database was slow: keep it in memory (--storage memory, the default), or see what else locks it"
            }
            Self::Other => {
                "its own work was slow (too little CPU, or password hashing): use fewer clients or a lower password_memory_kib"
            }
        }
    }
}

/// The slow tail of one operation, or of all.
struct Tail<'a> {
    operation: &'a str,
    percentiles: Vec<Percentile>,
    /// What most of the excess was.
    part: Attempt,
}

/// A percentile of the latency.
struct Percentile {
    statistic: Statistic,
    value_ms: f64,
    /// Without what responses took the server longer than usual.
    without_ms: f64,
}

/// A sample, and how much longer than usual for its operation the response took the server, milliseconds.
type WithExcess<'a> = (&'a Sample, f64);

/// The slow tail that the server made, its shares and by what, in words; empty when it made none.
pub(crate) fn of(samples: &[Sample]) -> String {
    let mut by_operation: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    let counted = |sample: &&Sample| sample.phase == Phase::Measured && sample.outcome == Outcome::Ok;
    for sample in samples.iter().filter(counted) {
        by_operation.entry(&sample.operation).or_default().push(sample);
    }
    let by_operation: BTreeMap<&str, Vec<WithExcess>> =
        by_operation.into_iter().map(|(operation, samples)| (operation, with_excess(samples))).collect();
    let all: Vec<WithExcess> = by_operation.values().flatten().copied().collect();
    let each = by_operation.iter().map(|(operation, samples)| (*operation, samples));
    // Of equals the last is taken: rather one operation than all.
    let groups = [("all operations", &all)].into_iter().chain(each);
    let tails = groups.filter_map(|(operation, samples)| Tail::made_by_the_server(operation, samples));
    let worst = tails.max_by(|a, b| a.excess_ms().total_cmp(&b.excess_ms()));
    worst.map_or_else(String::new, |tail| tail.words())
}

fn with_excess(samples: Vec<&Sample>) -> Vec<WithExcess<'_>> {
    let usual = percentile(&samples.iter().filter_map(|sample| sample.server_ms).collect(), 0.5).unwrap_or(f64::MAX);
    let excess = |sample: &Sample| sample.server_ms.map_or(0.0, |server| (server - usual).max(0.0));
    samples.into_iter().map(|sample| (sample, excess(sample))).collect()
}

impl<'a> Tail<'a> {
    fn made_by_the_server(operation: &'a str, samples: &[WithExcess]) -> Option<Self> {
        let latencies: Sorted = samples.iter().map(|(sample, _)| sample.latency_ms).collect();
        let without: Sorted = samples.iter().map(|(sample, excess)| sample.latency_ms - excess).collect();
        let told = |(statistic, quantile): (Statistic, f64)| {
            let has_tail = samples.len() as f64 * (1.0 - quantile) >= MIN_BEYOND;
            let (value_ms, without_ms) = (percentile(&latencies, quantile)?, percentile(&without, quantile)?);
            has_tail.then_some(Percentile { statistic, value_ms, without_ms })
        };
        let percentiles: Vec<Percentile> = PERCENTILES.into_iter().filter_map(told).collect();
        let slowest = percentiles.iter().find(|one| one.is_the_servers())?.value_ms;
        let tail = || samples.iter().filter(|(sample, _)| sample.latency_ms >= slowest);
        let total = |part: Attempt| tail().filter_map(|(sample, _)| part.of(sample)).sum::<f64>();
        let part = Attempt::ALL.into_iter().max_by(|a, b| total(*a).total_cmp(&total(*b)))?;
        Some(Self { operation, percentiles, part })
    }

    fn excess_ms(&self) -> f64 {
        self.percentiles.iter().map(Percentile::excess_ms).fold(0.0, f64::max)
    }

    fn words(&self) -> String {
        let share = |one: &Percentile| {
            let percent = one.excess_ms() / one.value_ms * 100.0;
            format!("{percent:.0}% of its {} ({:.1} ms)", one.statistic, one.value_ms)
        };
        let shares: Vec<String> = self.percentiles.iter().map(share).collect();
        let (operation, part) = (self.operation, self.part.remedy());
        format!("{operation}: slow responses of the server make {}; mostly {part}", shares.join(" and "))
    }
}

impl Percentile {
    fn excess_ms(&self) -> f64 {
        self.value_ms - self.without_ms
    }

    fn is_the_servers(&self) -> bool {
        self.excess_ms() >= MIN_EXCESS_MS && self.excess_ms() >= MIN_SHARE * self.value_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A login over a link of 100 ms whose response took the server so long, with these parts.
    fn login(queue_ms: f64, database_ms: f64) -> Sample {
        let server_ms = 1.0 + queue_ms + database_ms;
        Sample {
            server_ms: Some(server_ms),
            server_queue_ms: Some(queue_ms),
            server_database_ms: Some(database_ms),
            ..Sample::tried("login", Outcome::Ok, 200.0 + server_ms)
        }
    }

    fn with_slow(count: usize, slow: &Sample) -> Vec<Sample> {
        let usual = (0..600 - count).map(|_| login(0.0, 0.2));
        usual.chain(std::iter::repeat_n(slow.clone(), count)).collect()
    }

    #[test]
    fn logins_that_queued_behind_a_commit_are_the_servers() {
        let words = of(&with_slow(48, &login(390.0, 0.2)));
        assert!(
            words.starts_with("login: slow responses of the server make 66% of its p95 (591.2 ms) and 66%"),
            "{words}"
        );
        assert!(words.contains("mostly requests queued"), "{words}");
        let words = of(&with_slow(48, &login(0.0, 402.0)));
        assert!(words.contains("--storage memory"), "{words}");
    }

    #[test]
    fn what_moves_no_percentile_or_is_not_the_servers_is_no_stall() {
        assert_eq!(of(&with_slow(0, &login(0.0, 0.0))), "");
        // Five of 600 are beyond the p99.
        assert_eq!(of(&with_slow(5, &login(402.0, 0.0))), "");
        // Of 40, two are beyond the p95.
        assert_eq!(of(&with_slow(48, &login(402.0, 0.0))[540..580]), "");
        // A retransmission on the link, and a password or two that wait for another.
        let lost = Sample { latency_ms: 1_200.0, ..login(0.0, 0.2) };
        assert_eq!(of(&with_slow(120, &lost)), "");
        assert_eq!(of(&with_slow(120, &login(8.0, 0.2))), "");
        // Slow as always: that is the application, not a stall.
        assert_eq!(of(&with_slow(600, &login(0.0, 402.0))), "");
        let failed = Sample { outcome: Outcome::Timeout, ..login(402.0, 0.0) };
        assert_eq!(of(&with_slow(120, &failed)), "");
    }

    #[test]
    fn an_operation_that_is_always_slower_than_others_is_no_stall_of_all() {
        let slow = Sample { operation: "report".to_owned(), ..login(0.0, 300.0) };
        assert_eq!(of(&with_slow(120, &slow)), "");
    }
}
