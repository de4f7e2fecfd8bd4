//! Where the time of many operations went: means of the parts of their latencies.
//!
//! Means, because those of the parts add up to that of the whole; percentiles of parts do not. So that the tail is seen all
//! the same, the slowest operations have means of their own.

use crate::breakdown::{Link, Parts};
use crate::percentile::{Sorted, percentile};
use crate::sample::{Outcome, Sample};
use crate::statistic::Statistic;

/// The mean latency of some operations and the means of its parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanParts {
    /// How many operations.
    pub n: usize,
    /// Their mean latency, milliseconds.
    pub latency_ms: f64,
    /// The means of its parts; they add up to it.
    pub parts: Parts,
}

impl MeanParts {
    fn of(operations: &[(f64, Parts)]) -> Option<Self> {
        let n = operations.len();
        let mean = |(latency, parts): (f64, Parts), one: &(f64, Parts)| {
            let weight = 1.0 / n as f64;
            (latency + weight * one.0, parts.plus(&one.1, weight))
        };
        let (latency_ms, parts) = operations.iter().fold((0.0, Parts::default()), mean);
        (n > 0).then_some(MeanParts { n, latency_ms, parts })
    }
}

/// Where the time of a set of operations went. Failed ones are left out, as in all durations.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Breakdown {
    /// Of all of them.
    pub every: Option<MeanParts>,
    /// Of those that took at least the 95th percentile; `None` when there are too few for one.
    pub slowest: Option<MeanParts>,
}

impl Breakdown {
    /// The breakdown of samples, each with its link.
    pub(crate) fn of<'a>(samples: impl IntoIterator<Item = (&'a Sample, Link)>) -> Self {
        let ok = samples.into_iter().filter(|(sample, _)| sample.outcome == Outcome::Ok);
        let split: Vec<(f64, Parts)> = ok.map(|(sample, link)| (sample.latency_ms, Parts::of(sample, link))).collect();
        let latencies: Sorted = split.iter().map(|(latency, _)| *latency).collect();
        let slow = percentile(&latencies, 0.95).filter(|_| !Statistic::P95.is_thin(latencies.len()));
        let slowest: Vec<(f64, Parts)> =
            split.iter().filter(|(latency, _)| slow.is_some_and(|slow| *latency >= slow)).copied().collect();
        Breakdown { every: MeanParts::of(&split), slowest: MeanParts::of(&slowest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breakdown::Part;

    fn operation(latency_ms: f64, resent: u32) -> Sample {
        Sample {
            rtt_ms: Some(latency_ms),
            server_ms: Some(1.0),
            tcp_min_rtt_ms: Some(2.0),
            tcp_retransmits: Some(resent),
            ..Sample::tried("login", Outcome::Ok, latency_ms)
        }
    }

    #[test]
    fn means_of_parts_add_up_and_the_slowest_show_the_stalls() {
        let mut samples: Vec<Sample> = (0..190).map(|_| operation(3.0, 0)).collect();
        samples.extend((0..10).map(|_| operation(203.0, 1)));
        samples.push(Sample { outcome: Outcome::Timeout, ..operation(5000.0, 3) });
        let Breakdown { every, slowest } = Breakdown::of(samples.iter().map(|sample| (sample, Link::default())));
        let (every, slowest) = (every.unwrap(), slowest.unwrap());
        assert_eq!((every.n, slowest.n), (200, 10));
        assert!((every.latency_ms - 13.0).abs() < 1e-9 && (every.parts.total() - 13.0).abs() < 1e-9, "{every:?}");
        assert!((every.parts.get(Part::Stalls) - 10.0).abs() < 1e-9, "{every:?}");
        assert!((slowest.parts.get(Part::Stalls) - 200.0).abs() < 1e-9, "{slowest:?}");
    }

    #[test]
    fn few_operations_have_no_slowest() {
        let samples: Vec<Sample> = (0..199).map(|_| operation(3.0, 0)).collect();
        let got = Breakdown::of(samples.iter().map(|sample| (sample, Link::default())));
        assert!(got.every.is_some() && got.slowest.is_none());
        assert_eq!(Breakdown::of([]), Breakdown::default());
    }
}
