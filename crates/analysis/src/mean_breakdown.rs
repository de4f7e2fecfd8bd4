//! Latency breakdown of many operations: means of the components of their latencies.
//!
//! The means of the components add up to the mean latency; percentiles of components do not add up. The slowest
//! operations have separate means, to show the tail.

use crate::breakdown::{Components, LinkParameters};
use crate::percentile::{Sorted, percentile};
use crate::sample::{Outcome, Sample};
use crate::statistic::Statistic;

/// Mean latency of a set of operations and the means of its components.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MeanBreakdown {
    /// Number of operations.
    pub(crate) n: usize,
    /// Mean latency, milliseconds.
    pub(crate) latency_ms: f64,
    /// Means of the components; they add up to the mean latency.
    pub(crate) components: Components,
}

impl MeanBreakdown {
    fn of(operations: &[(f64, Components)]) -> Option<Self> {
        let n = operations.len();
        let mean = |(latency, components): (f64, Components), one: &(f64, Components)| {
            let weight = 1.0 / n as f64;
            (latency + weight * one.0, components.plus(&one.1, weight))
        };
        let (latency_ms, components) = operations.iter().fold((0.0, Components::default()), mean);
        (n > 0).then_some(MeanBreakdown { n, latency_ms, components })
    }
}

/// Latency breakdown of a set of operations. Failed operations are ignored, as in all durations.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Breakdown {
    /// All operations.
    pub(crate) all: Option<MeanBreakdown>,
    /// Operations with a latency of at least the 95th percentile; `None` if that percentile is undersampled.
    pub(crate) slowest: Option<MeanBreakdown>,
}

impl Breakdown {
    /// Computes the breakdown of samples, each with its link.
    pub(crate) fn of<'a>(samples: impl IntoIterator<Item = (&'a Sample, LinkParameters)>) -> Self {
        let ok = samples.into_iter().filter(|(sample, _)| sample.outcome == Outcome::Ok);
        let split: Vec<(f64, Components)> =
            ok.map(|(sample, link)| (sample.latency_ms, Components::of(sample, link))).collect();
        let latencies: Sorted = split.iter().map(|(latency, _)| *latency).collect();
        let threshold_ms = percentile(&latencies, 0.95).filter(|_| !Statistic::P95.is_undersampled(latencies.len()));
        let slowest: Vec<(f64, Components)> = split
            .iter()
            .filter(|(latency, _)| threshold_ms.is_some_and(|threshold| *latency >= threshold))
            .copied()
            .collect();
        Breakdown { all: MeanBreakdown::of(&split), slowest: MeanBreakdown::of(&slowest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breakdown::Component;

    fn operation(latency_ms: f64, retransmits: u32) -> Sample {
        Sample {
            rtt_ms: Some(latency_ms),
            server_ms: Some(1.0),
            tcp_min_rtt_ms: Some(2.0),
            tcp_retransmits: Some(retransmits),
            ..Sample::tried("login", Outcome::Ok, latency_ms)
        }
    }

    #[test]
    fn means_of_components_add_up_and_the_slowest_show_the_stalls() {
        let mut samples: Vec<Sample> = (0..190).map(|_| operation(3.0, 0)).collect();
        samples.extend((0..10).map(|_| operation(203.0, 1)));
        samples.push(Sample { outcome: Outcome::Timeout, ..operation(5000.0, 3) });
        let Breakdown { all, slowest } =
            Breakdown::of(samples.iter().map(|sample| (sample, LinkParameters::default())));
        let (all, slowest) = (all.unwrap(), slowest.unwrap());
        assert_eq!((all.n, slowest.n), (200, 10));
        assert!((all.latency_ms - 13.0).abs() < 1e-9 && (all.components.total() - 13.0).abs() < 1e-9, "{all:?}");
        assert!((all.components.get(Component::Retransmission) - 10.0).abs() < 1e-9, "{all:?}");
        assert!((slowest.components.get(Component::Retransmission) - 200.0).abs() < 1e-9, "{slowest:?}");
    }

    #[test]
    fn an_undersampled_p95_gives_no_slowest_operations() {
        let samples: Vec<Sample> = (0..199).map(|_| operation(3.0, 0)).collect();
        let got = Breakdown::of(samples.iter().map(|sample| (sample, LinkParameters::default())));
        assert!(got.all.is_some() && got.slowest.is_none());
        assert_eq!(Breakdown::of([]), Breakdown::default());
    }
}
