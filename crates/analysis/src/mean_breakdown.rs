//! Latency breakdown of many operations: means of the components of their latencies.
//!
//! The means of the components add up to the mean latency; percentiles of components do not add up. The slowest
//! operations have separate means, to show the tail.

use crate::breakdown::Components;
use crate::percentile::{Sorted, percentile};
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
    /// Creates the means of `n` operations, to which each must be added; `None` of no operations.
    fn of(n: usize) -> Option<Self> {
        (n > 0).then(|| MeanBreakdown { n, latency_ms: 0.0, components: Components::default() })
    }

    fn add(&mut self, latency_ms: f64, components: &Components) {
        let weight = 1.0 / self.n as f64;
        self.latency_ms += weight * latency_ms;
        self.components.add(components, weight);
    }
}

/// Latency breakdown of a set of operations. Failed operations are ignored, as in all durations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Breakdown {
    /// All operations.
    pub(crate) all: Option<MeanBreakdown>,
    /// Operations with a latency of at least the 95th percentile; `None` if that percentile is undersampled.
    pub(crate) slowest: Option<MeanBreakdown>,
    /// Minimum latency of the slowest operations, milliseconds.
    threshold_ms: f64,
}

impl Breakdown {
    /// Creates the breakdown of operations with these latencies, to which each must be added.
    pub(crate) fn of(latencies: &Sorted) -> Self {
        let threshold_ms = percentile(latencies, 0.95).filter(|_| !Statistic::P95.is_undersampled(latencies.len()));
        let slowest = threshold_ms.map_or(0, |threshold_ms| latencies.len() - latencies.count_below(threshold_ms));
        Breakdown {
            all: MeanBreakdown::of(latencies.len()),
            slowest: MeanBreakdown::of(slowest),
            threshold_ms: threshold_ms.unwrap_or(f64::INFINITY),
        }
    }

    /// Adds one operation.
    pub(crate) fn add(&mut self, latency_ms: f64, components: &Components) {
        let slowest = self.slowest.iter_mut().filter(|_| latency_ms >= self.threshold_ms);
        self.all.iter_mut().chain(slowest).for_each(|means| means.add(latency_ms, components));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breakdown::{Component, LinkParameters};
    use crate::timings::Timings;

    fn operation(latency_ms: f64, retransmits: u32) -> Timings {
        Timings {
            latency_ms,
            rtt_ms: Some(latency_ms),
            server_ms: Some(1.0),
            tcp_min_rtt_ms: Some(2.0),
            tcp_retransmits: Some(retransmits),
            ..Timings::default()
        }
    }

    fn breakdown(operations: &[Timings]) -> Breakdown {
        let mut breakdown = Breakdown::of(&operations.iter().map(|operation| operation.latency_ms).collect());
        for operation in operations {
            breakdown.add(operation.latency_ms, &Components::of(operation, LinkParameters::default()));
        }
        breakdown
    }

    #[test]
    fn means_of_components_add_up_and_the_slowest_show_the_stalls() {
        let mut operations = vec![operation(3.0, 0); 190];
        operations.extend([operation(203.0, 1); 10]);
        let Breakdown { all, slowest, .. } = breakdown(&operations);
        let (all, slowest) = (all.unwrap(), slowest.unwrap());
        assert_eq!((all.n, slowest.n), (200, 10));
        assert!((all.latency_ms - 13.0).abs() < 1e-9 && (all.components.total() - 13.0).abs() < 1e-9, "{all:?}");
        assert!((all.components.get(Component::Retransmission) - 10.0).abs() < 1e-9, "{all:?}");
        assert!((slowest.components.get(Component::Retransmission) - 200.0).abs() < 1e-9, "{slowest:?}");
    }

    #[test]
    fn an_undersampled_p95_gives_no_slowest_operations() {
        let got = breakdown(&[operation(3.0, 0); 199]);
        assert!(got.all.is_some() && got.slowest.is_none());
        assert!(breakdown(&[]).all.is_none());
    }
}
