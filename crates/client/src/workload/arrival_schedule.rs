//! The arrival schedule of an open loop: the intended starts of operations. Pure.
//!
//! It depends on the seed, the client and the settings only, not on the network or the shop. It is computed when needed
//! and never stored, so an endless schedule or a growing backlog takes no memory.

use std::time::Duration;

use model::settings::ArrivalProcess;

use crate::workload::seed::{Purpose, Stream};
use crate::workload::settings::{Arrivals, Settings};

/// Iterator over intended starts, as times since the start of the warm-up.
#[derive(Debug)]
pub(super) struct ArrivalSchedule {
    arrivals: Arrivals,
    gap_ns: f64,
    gaps: Stream,
    /// Number of starts returned.
    count: u64,
    /// The last start returned, nanoseconds. Exact to 1 ns over 100 days: an `f64` has 53 bits.
    last_ns: f64,
    /// Time of the end: no arrival at or after it.
    end: Option<Duration>,
    warm_up: Duration,
    /// Remaining arrivals after the warm-up; `None` if unlimited.
    left: Option<u64>,
}

impl ArrivalSchedule {
    pub(super) fn new(arrivals: Arrivals, settings: &Settings) -> Self {
        Self {
            arrivals,
            gap_ns: arrivals.rate.gap_ns(),
            gaps: Stream::new(settings.seed, &settings.client, 0, Purpose::Arrivals),
            count: 0,
            last_ns: 0.0,
            end: settings.end(),
            warm_up: settings.warm_up,
            left: settings.until.operations,
        }
    }

    /// Returns the mean time between two arrivals.
    pub(super) fn mean_gap(&self) -> Duration {
        Duration::from_nanos(self.gap_ns as u64)
    }

    fn advance(&mut self) -> Duration {
        self.last_ns = match self.arrivals.process {
            // Computed from the count instead of the last start: rounding errors do not accumulate.
            ArrivalProcess::Constant => self.arrivals.offset.as_nanos() as f64 + self.count as f64 * self.gap_ns,
            // Inverse of the exponential distribution; 1 - unit is in (0, 1].
            ArrivalProcess::Poisson => self.last_ns - (1.0 - self.gaps.unit()).ln() * self.gap_ns,
        };
        self.count += 1;
        Duration::from_nanos(self.last_ns.round() as u64)
    }
}

impl Iterator for ArrivalSchedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.left == Some(0) {
            return None;
        }
        let next = self.advance();
        if self.end.is_some_and(|end| next >= end) {
            self.left = Some(0);
            return None;
        }
        if next >= self.warm_up {
            self.left = self.left.map(|left| left - 1);
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::settings::Until;
    use crate::workload::settings::tests::settings;

    fn schedule(rate: &str, process: ArrivalProcess, change: impl FnOnce(&mut Settings)) -> ArrivalSchedule {
        let mut settings = Settings { until: Until { elapsed: None, operations: None }, ..settings() };
        change(&mut settings);
        let (rate, offset) = (rate.parse().unwrap(), settings.arrival_offset);
        ArrivalSchedule::new(Arrivals { rate, process, offset }, &settings)
    }

    #[test]
    fn a_constant_rate_stays_exact_and_is_shifted_by_its_offset() {
        let offset = Duration::from_millis(3);
        let mut times = schedule("3/s", ArrivalProcess::Constant, |settings| settings.arrival_offset = offset);
        assert_eq!(times.next(), Some(offset));
        assert_eq!(times.next(), Some(offset + Duration::from_nanos(333_333_333)));
        assert_eq!(times.nth(299_997), Some(offset + Duration::from_nanos(99_999_666_666_667)));
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let times: Vec<f64> =
            schedule("200/s", ArrivalProcess::Poisson, |_| {}).take(200_000).map(|time| time.as_secs_f64()).collect();
        let gaps: Vec<f64> = std::iter::once(times[0]).chain(times.windows(2).map(|pair| pair[1] - pair[0])).collect();
        let count = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / count;
        // The relative standard error is 1 / sqrt(200000) = 0.22 %.
        assert!((mean * 200.0 - 1.0).abs() < 0.01, "mean gap {mean} s");
        // The expected share of gaps above x is exp(-rate x).
        for x in [0.001, 0.005, 0.02] {
            let share = gaps.iter().filter(|gap| **gap > x).count() as f64 / count;
            let expected = (-200.0 * x).exp();
            assert!((share - expected).abs() < 0.005, "{share} of the gaps above {x} s, expected {expected}");
        }
        // Successive gaps are uncorrelated.
        let products: f64 = gaps.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
        let squares: f64 = gaps.iter().map(|gap| (gap - mean).powi(2)).sum();
        assert!((products / squares).abs() < 0.01, "correlation {}", products / squares);
    }

    #[test]
    fn arrivals_of_several_clients_have_the_sum_of_their_rates() {
        let within = |client: &str| {
            schedule("50/s", ArrivalProcess::Poisson, |settings| {
                settings.client = client.to_owned();
                settings.until.elapsed = Some(Duration::from_secs(100));
            })
            .count()
        };
        let all: usize = ["client-1", "client-2", "client-3", "client-4"].into_iter().map(within).sum();
        // Expected 20000 with a standard deviation of 141.
        assert!((19_400..20_600).contains(&all), "{all} arrivals");
    }

    #[test]
    fn the_schedule_depends_on_seed_and_client() {
        let first = |seed: u64, client: &str| -> Vec<Duration> {
            schedule("10/s", ArrivalProcess::Poisson, |settings| {
                settings.seed = seed;
                settings.client = client.to_owned();
            })
            .take(50)
            .collect()
        };
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
        // It does not depend on the duration or the number of virtual users.
        let longer = schedule("10/s", ArrivalProcess::Poisson, |settings| {
            settings.client = "a".to_owned();
            settings.workload.users = "50".parse().unwrap();
            settings.until.elapsed = Some(Duration::from_secs(3600));
        });
        assert_eq!(longer.take(50).collect::<Vec<_>>(), first(1, "a"));
    }

    #[test]
    fn it_ends_with_the_measurement_window_or_the_number_of_operations() {
        let count = |elapsed: Option<u64>, operations, warm_up| {
            schedule("10/s", ArrivalProcess::Constant, |settings| {
                settings.until = Until { elapsed: elapsed.map(Duration::from_secs), operations };
                settings.warm_up = Duration::from_secs(warm_up);
            })
            .count()
        };
        for (elapsed, operations, warm_up, expected) in [
            (Some(2), None, 0, 20),
            (Some(2), None, 3, 50),
            (None, Some(7), 0, 7),
            (None, Some(7), 3, 37),
            (Some(2), Some(7), 3, 37),
            (Some(2), Some(700), 3, 50),
            (None, Some(0), 0, 0),
        ] {
            assert_eq!(count(elapsed, operations, warm_up), expected, "{elapsed:?} {operations:?} {warm_up}");
        }
    }
}
